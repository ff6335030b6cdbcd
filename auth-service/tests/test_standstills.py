"""A process that was suspended does not carry out requests from before; it answers them with 503."""

import asyncio

import pytest

from .serving import eventually


@pytest.fixture
async def frozen(shared_processes, parties):
    """A replica to be suspended, recovered from the last time, and another one that keeps running."""
    process, other = shared_processes
    service = process.service
    service.users.before_answer = None

    async def serves():
        return (await service.login(parties["doorkeeper"], service.users.add())).status == 200

    await eventually(serves)
    return process, service, other.service


@pytest.mark.parametrize("seconds", [1, 3])
async def test_a_refresh_that_waited_in_the_socket_is_not_taken_for_theft(frozen, parties, seconds):
    process, service, other = frozen
    party = parties["rfc6749"]
    first = await service.login(party, service.users.add())
    standstills = process.output.count('"event": "stood still"')
    with process.stopped():
        stuck = [asyncio.create_task(service.refresh(party, first.refresh)) for _ in range(4)]
        second = await other.refresh(party, first.refresh)
        third = await other.refresh(party, second.refresh)
        await asyncio.sleep(seconds)
    replies = await asyncio.gather(*stuck)
    assert {(reply.status, reply.headers["Retry-After"]) for reply in replies} == {(503, "1")}
    assert await other.verdict(third.access) == 200
    assert (await other.refresh(party, third.refresh)).status == 200

    async def noted():
        return process.output.count('"event": "stood still"') > standstills

    await eventually(noted)


async def test_a_login_that_was_half_done_opens_no_session(frozen, parties):
    """user-service's answer arrives, but the caller may have asked another replica meanwhile."""
    process, service, _ = frozen
    user, party = service.users.add(), parties["rfc6749"]
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hold(_user):
        asked.set()
        await answer.wait()

    service.users.before_answer = hold
    login = asyncio.create_task(service.login(party, user))
    await asyncio.wait_for(asked.wait(), 5)
    with process.stopped():
        answer.set()
        await asyncio.sleep(1)
    assert (await login).status == 503
    assert await service.rows("SELECT FROM sessions WHERE user_id = $1", user.id) == []


async def test_a_verdict_of_before_is_not_given(frozen, parties):
    process, service, other = frozen
    party = parties["doorkeeper"]
    login = await service.login(party, service.users.add())
    with process.stopped():
        stuck = asyncio.create_task(service.verdict(login.access))
        body = {**party.credentials, "token": login.access}
        assert (await other.request("POST", "/oauth/revoke", json=body)).status == 200
        await asyncio.sleep(1)
    assert await stuck == 503


async def test_soon_after_everything_is_answered_again(frozen, parties):
    process, service, _ = frozen
    with process.stopped():
        await asyncio.sleep(1)
    login = service.login(parties["rfc6749"], service.users.add())
    async with asyncio.timeout(3):
        while (reply := await login).status == 503:
            login = service.login(parties["rfc6749"], service.users.add())
    assert reply.status == 200
