"""The garbage collector of a process that serves."""

import gc


def pass_over_what_is_there() -> None:
    """To be called once a process serves: what there is then, modules above all, stays as long as it does.

    A full collection that looks through it holds the loop up for tens of milliseconds, and more on a busy machine.
    """
    gc.collect()
    gc.freeze()
