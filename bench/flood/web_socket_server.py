"""`python -m bench.flood.web_socket_server PORT BEHIND`: adds WebSockets to user-service, which has none.

It accepts every WebSocket and reads from it; it forwards all other requests to the port `BEHIND`.
"""

import asyncio
import base64
import hashlib
import re
import sys

import uvloop

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class FromGateway(asyncio.Protocol):
    """A connection from the gateway. It sends one request at a time, so a part that contains `Upgrade` is a head."""

    def __init__(self, behind: int) -> None:
        self.is_web_socket = False
        self._behind = behind
        self._parts: list[bytes] = []  # waiting for a connection to user-service
        self._connecting: asyncio.Task[None] | None = None
        self._upstream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.is_web_socket:
            return
        if re.search(rb"\r\nupgrade: *websocket\r\n", data, re.IGNORECASE):
            self.is_web_socket = True
            self.transport.write(_acceptance(data))
        elif self._upstream is not None:
            self._upstream.write(data)
        else:
            self._parts.append(data)
            self._connecting = self._connecting or asyncio.ensure_future(self._connect())

    def connection_lost(self, _: Exception | None) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.abort()

    async def _connect(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            upstream, _ = await loop.create_connection(lambda: FromService(self), "127.0.0.1", self._behind)
        except OSError:
            self.transport.abort()
            return
        upstream.writelines(self._parts)
        self._upstream = upstream


class FromService(asyncio.Protocol):
    """The connection to user-service for one connection from the gateway."""

    def __init__(self, gateway: FromGateway) -> None:
        self._gateway = gateway

    def data_received(self, data: bytes) -> None:
        self._gateway.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self._gateway.is_web_socket:
            self._gateway.transport.close()


def _acceptance(head: bytes) -> bytes:
    key = re.search(rb"\r\nsec-websocket-key: *(\S+)\r\n", head, re.IGNORECASE)
    accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


async def serve(port: int, behind: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: FromGateway(behind), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
