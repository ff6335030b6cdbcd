"""Replicas that owe answers but are silent: which of them hang, the fate of their requests, and their return."""

import asyncio

import pytest
from structlog.testing import capture_logs

from servicekit.upstreams import probes, replicas

from .stage import ANSWER, FIRST, LOOK, SECOND, THIRD, Client, Stage, eject, until

PATIENCE = 5 * LOOK


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "AGAIN", 10 * LOOK)


async def silenced(stage: Stage, *hosts: str, lives: bool = False, number: int = 2) -> list[Client]:
    """Clients of the first address, which is silent from now on, and answers probes only if it `lives`."""
    if not stage.servers:
        await stage.serve(*hosts)
        await stage.open(*hosts, stall_timeout=PATIENCE)
    first = await stage.replica(FIRST)
    others = [replica for replica in stage.upstream._replicas.all if replica is not first]
    stage.servers[FIRST].answer = b""
    stage.servers[FIRST].lives = lives
    clients = [stage.client() for _ in range(number)]
    for client in clients:
        for other in others:
            other.in_flight += 1000
        client.ask()
        for other in others:
            other.in_flight -= 1000
    await until(lambda: all(client.connection for client in clients))
    assert {client.host for client in clients} == {FIRST}
    return clients


async def test_one_that_hangs_is_left_out_and_its_users_are_told(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND, number=4)
    begun, *waiting = clients
    begun.status = 200  # its answer has begun
    with capture_logs() as lines:
        await stage.looks(1)
        assert not any(client.settled for client in clients)
        await until(lambda: all(client.lost == "stalled" for client in waiting))
    assert [line["event"] for line in lines] == ["replica hangs"]
    assert stage.ejected() == [FIRST]
    assert not begun.settled
    asked = stage.servers[FIRST].requests
    assert {client.host for client in await stage.through(20)} == {SECOND}
    assert stage.servers[FIRST].requests == asked


async def test_one_that_answers_its_probe_is_waited_for_and_asked_again_only_after_a_while(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND, lives=True)
    server = stage.servers[FIRST]
    await until(lambda: server.probes == 1)
    await stage.looks(6)
    assert server.probes == 1
    await until(lambda: server.probes == 4)
    assert not stage.ejected()
    assert not any(client.settled for client in clients)
    for peer in server.open:
        peer.transport.write(ANSWER)
    await until(lambda: all(client.ended for client in clients))


async def test_one_that_lived_when_it_was_asked_is_found_when_it_freezes_later(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND, lives=True)
    await until(lambda: stage.servers[FIRST].probes == 1)
    stage.servers[FIRST].lives = False
    await until(lambda: all(client.lost == "stalled" for client in clients))


async def test_one_that_is_heard_while_it_is_asked_does_not_hang(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND)
    server = stage.servers[FIRST]
    await until(lambda: server.probes == 1)
    server.peers[-1].transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await until(lambda: stage.upstream._probes._running == {})
    assert not stage.ejected()
    assert not any(client.settled for client in clients)


async def test_one_that_answers_others_is_not_asked(stage: Stage) -> None:
    await silenced(stage, FIRST, SECOND)
    for _ in range(10):
        await stage.looks(1)
        stage.servers[FIRST].peers[-1].transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert stage.servers[FIRST].probes == 0


async def test_one_from_whom_no_answer_is_due_is_not_asked(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND)
    for client in clients:
        client.status = 200  # its answer has begun, or its request is not sent completely
    await stage.looks(10)
    assert stage.servers[FIRST].probes == 0
    for client in clients:
        client.status = 0
    await until(stage.ejected)


async def test_one_that_refuses_to_be_asked_finishes_its_requests(stage: Stage) -> None:
    """A service that is stopping no longer listens."""
    clients = await silenced(stage, FIRST, SECOND)
    listener = stage.servers[FIRST].listener
    assert listener is not None
    listener.close()
    await stage.looks(20)
    assert not stage.ejected()
    for peer in stage.servers[FIRST].open:
        peer.transport.write(ANSWER)
    await until(lambda: all(client.ended for client in clients))


async def test_a_single_one_that_hangs_is_waited_for(stage: Stage) -> None:
    clients = await silenced(stage, FIRST)
    await until(lambda: stage.servers[FIRST].probes == 2)
    assert not stage.ejected()
    assert not any(client.settled for client in clients)
    another = stage.client().ask()
    for peer in stage.servers[FIRST].open:
        peer.transport.write(ANSWER)
    await until(lambda: all(client.ended for client in clients))
    await until(lambda: stage.servers[FIRST].requests == 4)
    assert another.connection is not None


async def test_of_several_that_all_hang_none_is_left_out(stage: Stage) -> None:
    await silenced(stage, FIRST, SECOND)
    second = stage.servers[SECOND]
    second.answer, second.lives = b"", False
    await until(lambda: stage.ejected() == [FIRST])
    waiting = stage.client().ask()
    await until(lambda: second.requests > 0 and not stage.ejected())
    assert not waiting.settled
    stage.servers[FIRST].lives = True
    await until(lambda: waiting.lost == "stalled")  # now another replica can serve it


async def test_one_that_hangs_and_is_gone_from_the_name(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND)
    stage.names.hosts = [SECOND]
    await until(lambda: all(client.lost == "stalled" for client in clients))


async def test_one_that_hangs_is_not_tried_even_when_no_other_can_be_reached(stage: Stage) -> None:
    clients = await silenced(stage, FIRST, SECOND)
    await until(lambda: clients[0].settled)
    stage.servers[SECOND].stop()
    await until(lambda: stage.count("idle") == 0)
    assert (await stage.answered()).refused == "unreachable"


async def test_one_that_answers_again_comes_back_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "RAMP", 0.0)
    clients = await silenced(stage, FIRST, SECOND)
    await until(lambda: clients[0].settled)
    server = stage.servers[FIRST]
    asked = server.probes
    await until(lambda: server.probes >= asked + 2)
    assert stage.ejected() == [FIRST]
    server.answer, server.lives = ANSWER, True
    with capture_logs() as lines:
        await until(lambda: not stage.ejected())
    assert [line["event"] for line in lines] == ["replica returned"]
    assert FIRST in {client.host for client in await stage.through(20)}


async def test_one_that_was_ejected_because_it_hung_comes_back_when_it_answers(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND, stall_timeout=PATIENCE)
    stage.servers[FIRST].lives = False
    await eject(await stage.replica(FIRST))
    await until(lambda: stage.upstream.status()["replicas"][0]["hanging"])  # type: ignore[index]
    stage.servers[FIRST].lives = True
    await until(lambda: not stage.ejected(), patience=2.0)


@pytest.mark.parametrize("on_trial", [False, True])
async def test_those_ejected_are_taken_back_for_one_that_hangs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, on_trial: bool
) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND, stall_timeout=PATIENCE)
    second = await stage.replica(SECOND)
    monkeypatch.setattr(replicas, "EJECTION", 0.0 if on_trial else 10.0)
    await eject(second)
    await until(lambda: second.state is (replicas.ON_TRIAL if on_trial else replicas.EJECTED))
    clients = await silenced(stage, FIRST)
    await until(lambda: all(client.lost == "stalled" for client in clients))
    assert stage.ejected() == [FIRST]
    assert {client.host for client in await stage.clients(20)} == {SECOND}


async def test_each_that_hangs_is_left_out_whatever_share_of_all_they_are(stage: Stage) -> None:
    asked = await silenced(stage, FIRST, SECOND, THIRD)
    stage.servers[SECOND].answer, stage.servers[SECOND].lives = b"", False
    asked += [stage.client().ask() for _ in range(20)]
    await until(lambda: stage.ejected() == [FIRST, SECOND])
    await until(lambda: all(client.settled for client in asked))
    assert {client.host for client in asked if client.ended} == {THIRD}


async def test_nothing_is_left_of_a_probe_after_the_end(stage: Stage) -> None:
    await silenced(stage, FIRST, SECOND)
    await until(lambda: stage.servers[FIRST].probes == 1)
    (probe,) = stage.upstream._probes._running.values()
    await stage.upstream.close()
    assert probe.task not in asyncio.all_tasks()
    await until(lambda: stage.servers[FIRST].probes_left == 0)
