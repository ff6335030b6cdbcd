"""The one error of a start that cannot go on."""


class StartError(Exception):
    """Why the stack cannot start, in one line for the person who started it."""
