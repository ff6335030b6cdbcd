"""A DNS server for the names of replicas that can be silent, lie, or vary its answers."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Literal

Mode = Literal["honest", "silent", "failing", "lying", "dead-replica", "shuffling"]

_A, _IN = 1, 1
_SERVFAIL, _NXDOMAIN = 2, 3
_NOBODY = "127.9.9.9"
_TTL = 0


class NameServer(asyncio.DatagramProtocol):
    """Answers queries for A records from `addresses`; unknown names do not exist."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.mode: Mode = "honest"
        self.questions = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.questions += 1
        if self.mode != "silent":
            self._transport.sendto(self._answer(data), addr)  # type: ignore[attr-defined]

    def _answer(self, question: bytes) -> bytes:
        name, kind, end = _read(question)
        known = self.addresses.get(name)
        status = _SERVFAIL if self.mode == "failing" else _NXDOMAIN if known is None else 0
        found = self._told(known or []) if kind == _A and status == 0 else []
        head = question[:2] + struct.pack(">HHHHH", 0x8580 | status, 1, len(found), 0, 0)
        records = (
            b"\xc0\x0c" + struct.pack(">HHIH", _A, _IN, _TTL, 4) + socket.inet_aton(address) for address in found
        )
        return head + question[12:end] + b"".join(records)

    def _told(self, addresses: list[str]) -> list[str]:
        """The addresses in rotation. As the mode says, a dead one replaces or joins them, or one is missing."""
        turn = self.questions % max(len(addresses), 1)
        addresses = addresses[turn:] + addresses[:turn]
        if self.mode == "lying":
            return [_NOBODY]
        if self.mode == "dead-replica":
            return [_NOBODY, *addresses]
        return addresses[1:] if self.mode == "shuffling" and len(addresses) > 1 else addresses


def _read(question: bytes) -> tuple[str, int, int]:
    """The queried name, the record type, and the offset of the question's end."""
    labels, position = [], 12
    while length := question[position]:
        labels.append(question[position + 1 : position + 1 + length].decode("ascii"))
        position += 1 + length
    return ".".join(labels).lower(), struct.unpack_from(">H", question, position + 1)[0], position + 5


@contextlib.asynccontextmanager
async def running(address: str) -> AsyncIterator[NameServer]:
    """A name server on port 53 of `address`."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, local_addr=(address, 53))
    try:
        yield server
    finally:
        transport.close()
