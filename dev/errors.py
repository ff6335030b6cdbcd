"""The error of a failed start."""


class StartError(Exception):
    """The stack cannot start; the message is one line for the user."""
