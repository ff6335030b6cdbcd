"""Connections of the pool: their reuse, the reading of answers, and the ways they end."""

import asyncio
import socket
from typing import Any

import pytest

from servicekit.upstreams import pool

from .stage import ANSWER, CLOSING_ANSWER, FIRST, LOOK, Client, Stage, until

# Reuse of connections


async def test_the_connection_used_last_is_used_first(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    one, two = await stage.clients(2)
    await until(lambda: one.ended and two.ended)
    two.release()
    one.release()
    again = await stage.answered()
    assert again.connection is one.connection
    assert (await stage.answered()).connection is two.connection
    assert len(server.peers) == 2


async def test_an_idle_connection_is_given_at_once(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    client = stage.client().ask()
    assert client.connection is not None


async def test_small_writes_do_not_wait(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    assert client.connection is not None
    sock = client.connection._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_connection_that_closes_while_idle_leaves_at_once(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    assert stage.count("idle") == 1
    server.peers[0].transport.close()
    await until(lambda: stage.count("idle") == 0)
    assert stage.upstream.status()["connections"] == 0
    (client,) = await stage.through()
    assert client.ended


async def test_what_nobody_asked_for_ends_an_idle_connection(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    server.peers[0].transport.write(ANSWER)
    await until(lambda: server.peers[0].closed)
    assert stage.count("idle") == 0


async def test_a_connection_that_was_idle_for_long_is_closed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE", 4 * LOOK)
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through()
    await stage.looks(1)
    assert len(server.open) == 1
    await until(lambda: not server.open)
    assert stage.upstream.status()["connections"] == 0


async def test_a_connection_of_age_is_closed_when_it_is_released(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AGE", (2 * LOOK, 2 * LOOK))
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    await stage.looks(3)
    assert len(server.open) == 1
    client.release()
    await until(lambda: not server.open)
    (again,) = await stage.through()
    assert again.connection is not client.connection


async def test_a_connection_serves_so_many_requests_and_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "REQUESTS", 3)
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    await stage.through(7)
    assert [peer.received.count(b"GET") for peer in server.peers] == [3, 3, 1]
    await until(lambda: len(server.open) == 1)


# Reading answers


@pytest.mark.parametrize(
    "answer",
    [CLOSING_ANSWER, ANSWER.replace(b"1.1", b"1.0"), ANSWER + b"!", ANSWER + ANSWER],
    ids=["close", "1.0", "more", "twice"],
)
async def test_a_whole_answer_after_which_the_connection_is_not_kept(stage: Stage, answer: bytes) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = answer
    await stage.open(FIRST)
    one, two = await stage.through(2)
    assert (one.ended, one.body, one.lost) == (True, b"OK", "")
    assert (two.ended, two.body, two.lost) == (True, b"OK", "")
    assert len(server.peers) == 2
    await until(lambda: not server.open)


async def test_an_answer_that_ends_with_its_connection(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b"HTTP/1.1 200 OK\r\n\r\nwhat"
    await stage.open(FIRST)
    client = stage.client().ask()
    await until(lambda: client.body == b"what")
    server.peers[0].transport.write(b"ever")
    server.peers[0].transport.close()
    await until(lambda: client.settled)
    assert (client.ended, client.body, client.lost) == (True, b"whatever", "")
    client.release()
    assert stage.upstream.status()["connections"] == 0


async def test_an_answer_cut_short(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = ANSWER[:-1]
    await stage.open(FIRST)
    client = stage.client().ask()
    await until(lambda: client.body == b"O")
    server.peers[0].transport.close()
    await until(lambda: client.settled)
    assert (client.ended, client.lost) == (False, "closed")
    assert stage.upstream.status()["connections"] == 0
    assert stage.count("in_flight") == 0


@pytest.mark.parametrize("answer", [b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 101 On\r\nUpgrade: websocket\r\n\r\n"])
async def test_a_malformed_answer(stage: Stage, answer: bytes) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = answer
    await stage.open(FIRST)
    client = await stage.answered()
    assert (client.ended, client.lost) == (False, "malformed")
    await until(lambda: not server.open)


async def test_a_connection_that_is_detached_takes_no_room(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST, connections=1)
    (held,) = await stage.clients(1)
    waiting = stage.client().ask()
    assert held.connection is not None
    stage.upstream.detach(held.connection)
    await until(lambda: waiting.connection)
    assert (stage.upstream.status()["connections"], stage.count("in_flight")) == (1, 1)
    held.connection.abort()
    await until(lambda: len(server.open) == 1)
    assert (stage.upstream.status()["connections"], stage.count("in_flight")) == (1, 1)
    stage.upstream.detach(waiting.connection)
    await stage.upstream.close()
    assert (held.lost, waiting.lost) == ("", "closed")
    await until(lambda: not server.open)


async def test_who_aborts_hears_no_more(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = ANSWER[:-1]
    await stage.open(FIRST)
    client = stage.client().ask()
    await until(lambda: client.body)
    assert client.connection is not None
    client.connection.abort()
    assert stage.upstream.status()["connections"] == stage.count("in_flight") == 0
    client.release()
    await until(lambda: not server.open)
    assert not client.settled
    assert stage.count("in_flight") == 0


async def test_who_aborts_at_the_head_hears_nothing_of_the_body(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    monkeypatch.setattr(Client, "on_head", lambda client, _head: client.connection.abort())
    client = stage.client().ask()
    await until(lambda: server.peers and server.peers[0].closed)
    asyncio.get_running_loop().set_exception_handler(None)
    assert (client.body, client.settled, errors) == (b"", False, [])


async def test_who_aborts_after_the_answer_ends_the_connection(stage: Stage) -> None:
    """A borrower aborts if its body is not written completely: the next request would be taken for the rest of it."""
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    assert client.connection is not None
    client.connection.abort()
    assert stage.count("idle") == 0
    await until(lambda: not server.open)


async def test_a_connection_released_before_its_answer_is_not_kept(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    client.release()
    assert stage.count("idle") == 0
    await until(lambda: server.peers and not server.open)


async def test_a_connection_that_is_still_congested_is_not_kept(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    await until(lambda: server.requests)
    server.peers[0].transport.pause_reading()
    assert client.connection is not None
    client.connection.write(bytes(16 * 1024 * 1024))
    server.peers[0].transport.write(ANSWER)
    await until(lambda: client.ended)
    client.release()
    assert stage.count("idle") == 0


async def test_reading_pauses_and_goes_on(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    assert client.connection is not None
    await until(lambda: server.requests)
    client.connection.pause()
    server.peers[0].transport.write(ANSWER)
    await stage.looks(1)
    assert client.status == 0
    client.connection.resume()
    await until(lambda: client.ended)


async def test_a_connection_released_while_it_does_not_read_reads_again(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    client = await stage.answered()
    assert client.connection is not None
    client.connection.pause()
    client.release()
    assert (await stage.answered()).connection is client.connection


async def test_a_replica_that_reads_slowly(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    await until(lambda: server.requests)
    server.peers[0].transport.pause_reading()
    assert client.connection is not None
    client.connection.write(bytes(16 * 1024 * 1024))
    assert client.flow == ["congested"]
    server.peers[0].transport.resume_reading()
    await until(lambda: client.flow == ["congested", "drained"])


async def test_one_that_says_no_more_and_reads_no_more(stage: Stage) -> None:
    """The data still to be written would otherwise keep the connection open for ever."""
    (server,) = await stage.serve(FIRST)
    server.answer = b""
    await stage.open(FIRST)
    (client,) = await stage.clients(1)
    await until(lambda: server.requests)
    server.peers[0].transport.pause_reading()
    assert client.connection is not None
    client.connection.write(bytes(16 * 1024 * 1024))
    server.peers[0].transport.write_eof()
    await until(lambda: client.settled)
    assert client.lost == "closed"
    assert client.connection.closing
