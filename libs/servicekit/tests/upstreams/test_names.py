"""Name resolution, and the choice of a replica among the addresses."""

import asyncio
import socket

import pytest
from structlog.testing import capture_logs

from servicekit.upstreams import pool, replicas

from .stage import ANSWER, FIRST, SECOND, THIRD, Stage, until

# Names


async def test_a_new_address_is_used_as_soon_as_it_is_known(stage: Stage) -> None:
    one, two = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST)
    await stage.through(20)
    assert (one.requests, two.requests) == (20, 0)
    stage.names.hosts = [SECOND, FIRST]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 2)  # type: ignore[arg-type]
    await stage.through(100)
    assert 35 <= two.requests <= 65


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), ValueError("odd"), None])
async def test_the_last_good_answer_is_kept(stage: Stage, error: Exception | None) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    with capture_logs() as lines:
        stage.names.hosts, stage.names.error = [], error
        await stage.names.ask()
        await stage.names.ask()
        assert (await stage.answered()).host == FIRST
        stage.names.hosts, stage.names.error = [FIRST], None
        await stage.names.ask()
    assert [line["event"] for line in lines] == ["name not resolved", "name resolved again"]


async def test_a_name_that_is_known_only_later(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open()
    assert stage.client().ask().refused == "unreachable"
    stage.names.hosts = [FIRST]
    await stage.names.ask()
    assert (await stage.answered()).ended


async def test_a_name_server_that_does_not_answer_holds_up_nothing(stage: Stage) -> None:
    await stage.serve(FIRST)
    never = asyncio.Event()

    async def hang(_host: str, _port: int) -> list[tuple[str, int]]:
        await never.wait()
        return []

    stage.names.resolve = hang  # type: ignore[method-assign]
    async with asyncio.timeout(1):
        await stage.open()


async def test_a_literal_address_is_not_asked_for(stage: Stage) -> None:
    await stage.serve(SECOND)
    await stage.open(host=SECOND)
    assert (await stage.answered()).host == SECOND
    assert stage.names.asked == 0


async def test_the_system_is_asked_for_a_name(stage: Stage) -> None:
    await stage.serve("localhost")
    stage.names.resolve = pool.ask_system  # type: ignore[method-assign]
    await stage.open(host="localhost")
    assert (await stage.answered()).ended


async def test_an_address_that_is_gone(stage: Stage) -> None:
    one, _ = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST)
    busy, idle = await stage.clients(2)
    await until(lambda: busy.ended and idle.ended)
    one.answer = b""
    late = stage.client().ask()
    await until(lambda: one.requests == 3)
    idle.release()
    stage.names.hosts = [SECOND]
    await until(lambda: len(one.open) == 2)  # the idle one is closed
    assert {client.host for client in await stage.through(10)} == {SECOND}
    one.peers[2].transport.write(ANSWER)
    await until(lambda: late.ended)  # the busy ones end by themselves
    late.release()
    busy.release()
    await until(lambda: not one.open)
    assert stage.upstream.status()["connections"] == 1


async def test_an_address_that_was_gone_comes_back(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST)
    client = await stage.answered()
    stage.names.hosts = [SECOND]
    await stage.names.ask()
    stage.names.hosts = [FIRST, SECOND]
    await stage.names.ask()
    client.release()
    assert await stage.replica(FIRST) is client.replica


# The choice


async def test_the_less_busy_of_two_is_chosen(stage: Stage) -> None:
    servers = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    for _ in range(10):
        await stage.clients(2)
        await until(lambda: len({len(server.peers) for server in servers}) == 1)


async def test_connections_being_made_count_as_busy(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    hosts = [client.host for client in await stage.clients(20)]
    assert hosts.count(FIRST) == hosts.count(SECOND)


async def test_three_share_what_comes(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND, THIRD)
    await stage.open(FIRST, SECOND, THIRD)
    hosts = [client.host for client in await stage.clients(60)]
    assert all(18 <= hosts.count(host) <= 22 for host in (FIRST, SECOND, THIRD))


async def test_another_one_is_given_where_one_is_to_be_avoided(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    assert {(await stage.answered(avoid=first)).host for _ in range(10)} == {SECOND}


async def test_the_one_to_be_avoided_is_given_where_there_is_no_other(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST, connections=1)
    client = await stage.answered()
    waiting = stage.client().ask(avoid=client.replica)
    client.release()
    await until(lambda: waiting.ended)


def test_the_one_to_be_avoided_is_given_before_one_that_is_ejected() -> None:
    known = replicas.Replicas("replicas.test")
    known.update([(f"127.0.0.{number}", 80) for number in range(1, 5)])
    avoided, tried, *ejected = known.all
    avoided.in_flight = 5
    for replica in ejected:
        known.eject(replica)
    assert {known.choose_except([tried], avoided) for _ in range(50)} == {avoided}
    assert known.choose_except([tried, avoided], None) in ejected
