"""Both ends of a WebSocket through the gateway: clients that open one, and an upstream that accepts it."""

import asyncio
import contextlib

from wire import request_bytes

ME = "/api/v1/users/me"
OPENING = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "chat"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
)
ACCEPTANCE = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
AUTHORIZATION = ("Authorization", "Bearer good")
GOING_AWAY, POLICY_VIOLATION = b"\x88\x02\x03\xe9", b"\x88\x02\x03\xf0"


def frame(payload, mask=b""):
    """A binary frame. A client's frame has a mask of four bytes."""
    size = len(payload)
    masked = 0x80 if mask else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 2**16:
        length = bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([masked | 127]) + size.to_bytes(8, "big")
    return b"\x82" + length + mask + payload


class Peer:
    """The upstream's end of a WebSocket, once it is accepted."""

    def __init__(self, backend):
        self._accepted = asyncio.Event()
        self._ended = asyncio.Event()
        backend.script = self._accept

    async def _accept(self, _message, reader, writer):
        self.reader, self.writer = reader, writer
        writer.write(ACCEPTANCE)
        self._accepted.set()
        await self._ended.wait()

    async def accepted(self):
        await asyncio.wait_for(self._accepted.wait(), 5)
        return self

    def end(self):
        self._ended.set()
        self.writer.close()


async def opened(gateway, connection, peer, more=b"", token="good"):
    await connection.send(gateway.bytes("GET", ME, *OPENING, ("Authorization", f"Bearer {token}")) + more)
    answer = await connection.head()
    assert answer.status == 101
    return answer, await peer.accepted()


async def flood(writer):
    while True:
        writer.write(frame(bytes(64 * 1024)))
        await writer.drain()


async def closing_code(reader):
    head = await asyncio.wait_for(reader.readexactly(8), 5)
    assert head[:2] == b"\x88\x82", "it is masked, as what a client sends must be"
    return int.from_bytes(bytes(byte ^ key for byte, key in zip(head[6:], head[2:4], strict=True)), "big")


def accepting(backend):
    """Accept every WebSocket, and keep it open until its client leaves."""

    async def accept(_message, reader, writer):
        writer.write(ACCEPTANCE)
        await reader.read()
        raise ConnectionResetError

    backend.script = accept


@contextlib.asynccontextmanager
async def websockets(gateway, number):
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(gateway.connect()) for _ in range(number)]
        for connection in connections:
            await connection.send(request_bytes("GET", ME, *OPENING, AUTHORIZATION))
            assert (await connection.head()).status == 101
        yield connections
