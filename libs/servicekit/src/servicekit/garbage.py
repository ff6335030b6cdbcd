"""The garbage collector of a process that serves."""

import gc


def pass_over_what_is_there() -> None:
    """To be called just before a process listens: what there is then, modules above all, stays as long as it does.

    A full collection that looks through it holds the loop up for tens of milliseconds, and so long on a busy machine
    that a process which serves already would take the pause for a standstill and refuse the requests it had read.
    """
    gc.collect()
    gc.freeze()
