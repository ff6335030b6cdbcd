"""Replicas that fail or hang: how they are ejected, and how they return."""

import math

import pytest
from structlog.testing import capture_logs

from servicekit.upstreams import replicas

from .stage import FIRST, LOOK, SECOND, THIRD, Stage, eject, until

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
    assert one.requests == requests  # its share is still zero
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
        await eject(first)
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
