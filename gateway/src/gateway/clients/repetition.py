"""Decides whether a request may be sent a second time, and keeps the body to send with it."""

# Of a body that may have to be sent again; the routes on which that is so read no more.
_MOST_HELD = 64 * 1024
# Longer than a healthy replica takes for what may be asked for twice, the wait for a password's hash included. If one
# is silent for longer, and answers probes, it is taken to have forgotten the connection.
LONGEST_SILENCE = 4.0


class Repetition:
    """The second chance of one request. `harmless` says that it may be executed twice."""

    __slots__ = ("_left", "body")

    def __init__(self, *, harmless: bool) -> None:
        self._left = harmless
        self.body = b""  # what has gone up so far, as it was framed

    def __bool__(self) -> bool:
        return self._left

    def hold(self, content: bytes) -> None:
        """Keep a part of the body that goes up. One that is too large to be kept is sent once only."""
        if self._left and len(self.body) + len(content) <= _MOST_HELD:
            self.body += content
        else:
            self.give_up()

    def take(self) -> None:
        """The request is sent for the second time."""
        self._left = False

    def give_up(self) -> None:
        self._left = False
        self.body = b""
