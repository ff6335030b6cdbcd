"""The garbage collector of a process that serves."""

import gc


def pass_over_what_is_there() -> None:
    """Exempt all existing objects from collection; called just before a process listens.

    Those objects, mostly modules, last as long as the process. A full collection that scanned them would block the loop
    for tens of milliseconds, and on a busy machine for so long that a serving process would take the pause for a
    standstill and refuse the requests it had read.
    """
    gc.collect()
    gc.freeze()
