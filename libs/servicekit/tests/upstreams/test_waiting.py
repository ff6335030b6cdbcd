"""Borrowers that wait for a connection, and the pool's state after everything has ended."""

import asyncio
import time
from collections.abc import Callable

import pytest

from servicekit import deadlines

from .stage import ANSWER, CLOSING_ANSWER, FIRST, SECOND, Stage, until

# Waiting


async def test_at_the_limit_they_wait_in_order(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, connections=2)
    held = await stage.clients(2)
    waiting = [stage.client().ask() for _ in range(3)]
    await until(lambda: all(client.ended for client in held))
    assert not any(client.connection for client in waiting)
    held[1].release()
    assert [client.connection for client in waiting] == [held[1].connection, None, None]
    held[0].release()
    assert [client.connection for client in waiting] == [held[1].connection, held[0].connection, None]
    await until(lambda: waiting[0].ended)
    waiting[0].release()
    await until(lambda: waiting[2].ended)
    assert len(server.peers) == 2


@pytest.mark.parametrize("how", ["lost", "closing", "aborted"])
async def test_for_a_connection_that_ends_another_is_opened_for_who_waits(stage: Stage, how: str) -> None:
    (server,) = await stage.serve(FIRST)
    server.answer = {"lost": b"", "closing": CLOSING_ANSWER, "aborted": b""}[how]
    await stage.open(FIRST, connections=1)
    (held,) = await stage.clients(1)
    waiting = stage.client().ask()
    await until(lambda: server.requests and (held.ended or how != "closing"))
    server.answer = ANSWER
    assert held.connection is not None
    if how == "lost":
        server.peers[0].transport.close()
    elif how == "closing":
        held.release()
    else:
        held.connection.abort()
    await until(lambda: held.settled or how == "aborted")
    assert stage.upstream.status()["connections"] == 1, "another one is being made already"
    await until(lambda: waiting.ended)
    assert len(server.peers) == 2


async def test_who_finds_no_place_in_time_is_told(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, connections=1, connect_timeout=0.2)
    held = await stage.answered()
    waiting = stage.client().ask()
    await stage.looks(1)
    assert not waiting.settled
    await until(lambda: waiting.settled)
    assert waiting.refused == "full"
    held.release()
    assert waiting.connection is None
    assert stage.count("idle") == 1
    assert len(server.peers) == 1


async def test_a_loop_that_was_held_up_costs_nobody_the_connection(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.serve(FIRST)
    monkeypatch.setattr(deadlines, "INTERVAL", 0.5)
    await stage.open(FIRST, connect_timeout=0.25)
    waiting = stage.client().ask()
    time.sleep(1.2)  # noqa: ASYNC251 - as a thousand simultaneous requests would
    await until(lambda: waiting.settled)
    assert waiting.ended


async def test_who_waits_no_longer_gets_no_place(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST, connections=1, connect_timeout=0.3)
    held = await stage.answered()
    gone, waiting = stage.client().ask(), stage.client().ask()
    stage.upstream.abandon(gone)
    held.release()
    await until(lambda: waiting.ended)
    await stage.looks(4)
    assert gone.connection is None
    assert not gone.settled


async def test_a_connection_made_for_who_has_left_is_the_next_ones(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, connections=1)
    gone = stage.client().ask()
    stage.upstream.abandon(gone)
    waiting = stage.client().ask()
    assert waiting.connection is None
    await until(lambda: waiting.ended)
    assert gone.connection is None
    assert len(server.peers) == 1


async def test_a_connection_made_for_nobody_is_kept(stage: Stage) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST)
    gone = stage.client().ask()
    stage.upstream.abandon(gone)
    await until(lambda: stage.count("idle") == 1)
    assert (await stage.answered()).ended
    assert len(server.peers) == 1


async def test_a_connection_released_serves_who_waits_for_one_being_made(
    stage: Stage, swallowing: Callable[[str], None]
) -> None:
    await stage.serve(FIRST)
    swallowing(SECOND)
    await stage.open(FIRST)
    held = await stage.answered()
    stage.names.hosts = [FIRST, SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    waiting = stage.client().ask(avoid=None)
    assert waiting.connection is None  # the less busy replica leaves connections pending
    held.release()
    assert waiting.connection is held.connection


async def test_who_waits_gets_no_connection_to_what_is_to_be_avoided(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, connections=1)
    held = await stage.answered()
    stage.names.hosts = [FIRST, SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    picky, waiting = stage.client().ask(avoid=held.replica), stage.client().ask()
    held.release()
    assert picky.connection is None
    assert waiting.connection is held.connection
    await until(lambda: waiting.ended)
    waiting.release()
    await until(lambda: picky.ended)
    assert picky.host == SECOND


async def test_who_waits_gets_no_connection_to_what_is_gone(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, connections=1)
    held = await stage.answered()
    waiting = stage.client().ask()
    stage.names.hosts = [SECOND]
    await stage.names.ask()
    held.release()
    await until(lambda: waiting.ended)
    assert waiting.host == SECOND


async def test_at_the_limit_an_idle_connection_makes_room_for_another_replica(stage: Stage) -> None:
    one, two = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, connections=4)
    clients = await stage.clients(4)
    await until(lambda: all(client.ended for client in clients))
    stage.names.hosts = [FIRST, SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    for client in clients:
        client.release()
    await stage.clients(4)
    await until(lambda: (len(one.open), len(two.open)) == (2, 2))


# The end


async def test_nothing_is_left_after_the_end(stage: Stage, swallowing: Callable[[str], None]) -> None:
    (server,) = await stage.serve(FIRST)
    before = asyncio.all_tasks()
    await stage.open(FIRST, connections=3, connect_timeout=5)
    await stage.through()
    server.answer = b""
    (busy,) = await stage.clients(1)
    idle = stage.client().ask()
    await until(lambda: server.requests == 3)
    server.peers[1].transport.write(ANSWER)
    await until(lambda: idle.ended)
    idle.release()
    swallowing(SECOND)
    stage.names.hosts = [SECOND]
    await until(lambda: stage.count("in_flight") == 0)
    waiting = [stage.client().ask() for _ in range(3)]
    assert len(asyncio.all_tasks()) > len(before) + 1
    await stage.upstream.close()
    assert asyncio.all_tasks() == before
    assert [client.refused for client in waiting] == ["unreachable"] * 3
    assert busy.lost == "closed"
    assert stage.client().ask().refused == "unreachable"
    await until(lambda: not server.open)
    assert stage.upstream.status()["connections"] == 0
