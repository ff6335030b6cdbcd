"""The origin of a connection's requests, as it is stated to upstreams."""

import asyncio

from gateway.messages.client_address import Address, TrustedProxies, network_of, origin_lines, parse_node
from gateway.messages.request import Request
from gateway.quota import Consumer

_SCHEMES = (b"http", b"https")


class Origin:
    """The origin of each request on a connection: the peer, or the client that a trusted proxy names.

    `counts_for` is the network for which the connection counts, None for a trusted proxy, which serves many clients.
    """

    __slots__ = ("_lines", "_network", "_peer", "_proxies", "_proxy", "_scheme", "counts_for")

    def __init__(self, transport: asyncio.BaseTransport, proxies: TrustedProxies, *, secure: bool) -> None:
        name = transport.get_extra_info("peername")
        peer = parse_node(str(name[0]).encode()) if name else None
        trusted = peer is not None and peer in proxies
        self._scheme = b"https" if secure else b"http"
        self._peer = peer
        self._lines = origin_lines(peer, self._scheme)
        self._network = network_of(peer)
        self.counts_for = None if trusted else self._network
        self._proxies = proxies
        self._proxy = peer if trusted else None

    def client(self, request: Request) -> Address | None:
        """The client that sent `request`, or None if it has no address. The other methods take it as `client`."""
        return self._peer if self._proxy is None else self._proxies.client(self._proxy, request.headers)

    def network(self, client: Address | None) -> Consumer:
        """The network whose share is used by the requests of `client`."""
        return self._network if client is self._peer else network_of(client)

    def lines(self, request: Request, client: Address | None) -> bytes:
        """The gateway's own header lines on the origin of `request` and the host that it asked for."""
        lines = self._lines if self._proxy is None else self._lines_behind_proxy(request, client)
        host = request.host
        # Always quoted, since a port or an IPv6 address must be.
        return b'%b;host="%b"\r\nx-forwarded-host: %b\r\n' % (lines, host, host) if host else lines + b"\r\n"

    def _lines_behind_proxy(self, request: Request, client: Address | None) -> bytes:
        schemes = request.headers.get(b"x-forwarded-proto", [])
        scheme = schemes[0] if len(schemes) == 1 and schemes[0] in _SCHEMES else self._scheme
        return origin_lines(client, scheme)
