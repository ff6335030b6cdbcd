"""The holder of a client's connection: the one object that is told whatever happens on it."""


class Holder:
    """A connection has one holder at a time: its intake, an exchange, an upload, a relay, a tunnel or a lingering end.

    Each method does nothing here, so that a holder says only what it reacts to.
    """

    __slots__ = ()

    # No request is being served.
    idle = False

    def on_client_data(self, data: bytes) -> None:
        """The client has sent this."""

    def on_client_eof(self) -> None:
        """The client sends no more. Unless the holder keeps the connection open, the event loop closes it."""

    def on_client_gone(self) -> None:
        """The connection has ended. The holder hears no more of it."""

    def on_client_congested(self) -> None:
        """The client reads more slowly than is written."""

    def on_client_drained(self) -> None:
        """The client has caught up."""

    def on_shutdown(self) -> None:
        """The gateway is about to stop: end the connection as soon as no request is in flight on it."""

    def expire(self) -> None:
        """The connection's deadline has passed."""


NOBODY = Holder()
