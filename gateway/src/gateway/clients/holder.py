"""The holder of a client's connection: the object that receives all its events."""


class Holder:
    """Receives the events of a client's connection, which has one holder at a time.

    These are its intake between requests, then an exchange, an upload, a relay, a tunnel, or a lingering close. By
    default each event is ignored.
    """

    __slots__ = ()

    # True if no request is in flight.
    idle = False

    def on_client_data(self, data: bytes) -> None:
        """The client has sent `data`."""

    def on_client_eof(self) -> None:
        """The client has closed its sending side. The event loop closes the connection afterwards."""

    def on_client_gone(self) -> None:
        """The connection has ended. No further events follow."""

    def on_client_congested(self) -> None:
        """The client reads more slowly than is written."""

    def on_client_drained(self) -> None:
        """The client has caught up."""

    def on_shutdown(self) -> None:
        """The gateway is stopping: close the connection unless a request is in flight."""

    def expire(self) -> None:
        """The connection's deadline has passed."""


# The holder of a connection that was not admitted, or that has ended.
NOBODY = Holder()
