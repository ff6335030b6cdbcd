"""Replicas that fail or hang: how they are left out, and how they come back."""

import math

import pytest
from structlog.testing import capture_logs

from servicekit.upstreams import replicas

from .stage import ANSWER, FIRST, LOOK, SECOND, THIRD, Client, Stage, eject, until

# Ejection


async def test_five_failures_in_a_row_eject(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        for _ in range(2):
            for _ in range(4):
                first.failed()
            first.succeeded()
        assert not stage.ejected()
        for _ in range(7):
            first.failed()
    assert stage.ejected() == [FIRST]
    assert [(line["event"], line["address"]) for line in lines] == [("replica ejected", f"{FIRST}:{stage.port}")]
    assert {client.host for client in await stage.through(20)} == {SECOND}
    await until(lambda: not stage.servers[FIRST].open)


async def test_refused_connections_eject(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST, SECOND)
    clients = await stage.clients(40)
    assert {client.host for client in clients} == {FIRST}
    assert stage.ejected() == [SECOND]


async def test_never_more_than_half_are_ejected(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND, THIRD)
    await stage.open(FIRST)
    first = await stage.replica(FIRST)
    await eject(first)
    assert stage.ejected() == []
    stage.names.hosts = [FIRST, SECOND, THIRD]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 3)  # type: ignore[arg-type]
    first, second = await stage.replica(FIRST), await stage.replica(SECOND)
    await eject(second)
    await eject(first)
    assert stage.ejected() == [SECOND]


async def test_one_on_trial_still_counts_among_the_ejected(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first, second = await stage.replica(FIRST), await stage.replica(SECOND)
    await eject(first)
    await until(lambda: not stage.ejected())
    await eject(second)
    assert not stage.ejected()


async def test_those_ejected_are_needed_again_when_the_others_are_gone(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    await eject(await stage.replica(FIRST))
    stage.names.hosts = [FIRST]
    await until(lambda: not stage.ejected())
    assert (await stage.answered()).host == FIRST


async def test_one_ejected_is_tried_before_a_request_is_given_up(stage: Stage) -> None:
    _, two = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    await eject(await stage.replica(FIRST))
    two.stop()
    await until(lambda: stage.count("idle") == 0)
    assert (await stage.answered()).host == FIRST
    assert stage.ejected() == [FIRST]


async def test_a_replica_comes_back_slowly(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    monkeypatch.setattr(replicas, "RAMP", math.inf)
    one, _ = await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        await eject(first)
        await until(lambda: not stage.ejected())
        clients = await stage.clients(20)
        assert sum(client.host == FIRST for client in clients) == 1
        await until(lambda: all(client.ended for client in clients))
        for client in clients:
            client.release()
        assert lines[-1]["event"] == "replica ejected"
        first.succeeded()
        assert [line["event"] for line in lines] == ["replica ejected", "replica returned"]
    requests = one.requests
    await stage.through(20)
    assert one.requests == requests  # its share is still nothing
    monkeypatch.setattr(replicas, "RAMP", 4 * (stage.upstream._replicas.now - first.since + 0.5))
    assert 0 < await share_of(stage, FIRST) < 0.4
    monkeypatch.setattr(replicas, "RAMP", 0.0)
    await stage.looks(2)
    assert 0.35 < await share_of(stage, FIRST) < 0.65


async def share_of(stage: Stage, host: str) -> float:
    clients = await stage.through(100)
    return sum(client.host == host for client in clients) / len(clients)


async def test_one_that_fails_on_trial_is_out_for_longer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        stage.upstream._replicas.eject_hanging(first)
        await until(lambda: not stage.ejected())
        first.failed()
        assert stage.ejected() == [FIRST]
        await until(lambda: not stage.ejected())
        first.failed()
    assert [line["seconds"] for line in lines] == pytest.approx([0.1, 0.2, 0.3])


async def test_ejections_are_forgotten_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "EJECTION", 0.1)
    monkeypatch.setattr(replicas, "RAMP", 0.0)
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    first = await stage.replica(FIRST)
    with capture_logs() as lines:
        for longest in (replicas.LONGEST_EJECTION, 2 * LOOK):
            await eject(first)
            await until(lambda: not stage.ejected())
            first.succeeded()
            with monkeypatch.context() as patch:
                patch.setattr(replicas, "LONGEST_EJECTION", longest)
                await stage.looks(4)
        await eject(first)
    ejections = [line["seconds"] for line in lines if "seconds" in line]
    assert ejections == pytest.approx([0.1, 0.2, 0.1])


# Silence


async def stalling(stage: Stage, *hosts: str, number: int = 2) -> list[Client]:
    """By turns who may ask again and who may not, all of the first address, which is silent from now on."""
    await stage.serve(*hosts)
    await stage.open(*hosts, stall_timeout=5 * LOOK)
    first = await stage.replica(FIRST)
    others = [replica for replica in stage.upstream._replicas.all if replica is not first]
    stage.servers[FIRST].answer = b""
    clients = [stage.client(safe=turn % 2 == 0) for turn in range(number)]
    for client in clients:
        for other in others:
            other.in_flight += 1000
        client.ask()
        for other in others:
            other.in_flight -= 1000
    await until(lambda: all(client.connection for client in clients))
    assert {client.host for client in clients} == {FIRST}
    return clients


async def test_one_that_hangs_is_ejected_and_safe_requests_are_told(stage: Stage) -> None:
    safe, unsafe, *others = await stalling(stage, FIRST, SECOND, number=4)
    for other in others:
        other.status = 200  # its answer has begun
    await stage.looks(1)
    assert not safe.settled
    await until(lambda: safe.settled)
    assert safe.lost == "stalled"
    assert stage.ejected() == [FIRST]
    await stage.looks(5)
    assert not any(client.settled for client in (unsafe, *others))
    for peer in stage.servers[FIRST].open:
        peer.transport.write(ANSWER)
    await until(lambda: unsafe.ended)


async def test_one_that_hangs_is_not_tried_even_when_no_other_is_left(stage: Stage) -> None:
    safe, _ = await stalling(stage, FIRST, SECOND)
    await until(lambda: safe.settled)
    stage.servers[SECOND].stop()
    await until(lambda: stage.count("idle") == 0)
    assert (await stage.answered()).refused == "none"


async def test_a_single_one_that_hangs_is_waited_for(stage: Stage) -> None:
    safe, unsafe = await stalling(stage, FIRST)
    await stage.looks(7)
    assert not stage.ejected()
    assert not safe.settled
    assert not unsafe.settled


async def test_one_that_hangs_and_is_gone(stage: Stage) -> None:
    safe, unsafe = await stalling(stage, FIRST, SECOND)
    stage.names.hosts = [SECOND]
    await until(lambda: safe.settled)
    assert safe.lost == "stalled"
    assert not unsafe.settled


async def test_one_that_answers_others_does_not_hang(stage: Stage) -> None:
    safe, _ = await stalling(stage, FIRST, SECOND)
    for _ in range(8):
        await stage.looks(1)
        stage.servers[FIRST].peers[-1].transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert not stage.ejected()
    assert not safe.settled


async def test_one_from_whom_no_answer_is_due_does_not_hang(stage: Stage) -> None:
    clients = await stalling(stage, FIRST, SECOND)
    for client in clients:
        client.status = 200  # the answer has begun, or the request is not whole yet
    await stage.looks(8)
    assert not stage.ejected()
    for client in clients:
        client.status = 0
    await stage.looks(1)
    assert not stage.ejected()
    await until(stage.ejected)
