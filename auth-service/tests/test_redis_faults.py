"""Redis is killed, hangs, is emptied or is full: no login fails because of it, and guesses remain limited."""

import asyncio
import contextlib
import json
import signal

import pytest

from .guesses import WRONG, address, evaluated, guess, statuses
from .serving import eventually


@pytest.fixture
async def pair(start_process, own_redis):
    """Two processes that count in one Redis, which the test may break."""
    often = {"throttle_login_attempts": "10000/minute"}  # each user of `traffic` logs in continuously
    one = start_process(redis_url=own_redis.url, throttle_exempt="", **often)
    started = await asyncio.gather(one, start_process(redis_url=own_redis.url, throttle_exempt="", **often))
    return [process for process, _ in started], [service for _, service in started]


async def kill(redis):
    await redis.kill()


async def suspend(redis):
    redis.send(signal.SIGSTOP)


async def empty(redis):
    await redis.client.flushall()


async def fill(redis):
    await redis.client.config_set("maxmemory", "1")


async def forget_scripts(redis):
    await redis.client.script_flush()


async def restart(redis):
    await redis.kill()
    await redis.start()


async def resume(redis):
    redis.send(signal.SIGCONT)


async def make_room(redis):
    await redis.client.config_set("maxmemory", "0")


TOGETHER, ALONE = 5, 2 * 3  # guesses at one account that both processes together evaluate
# Each fault with its remedy, and the number of guesses evaluated meanwhile.
FAULTS = {
    kill: (lambda redis: redis.start(), ALONE),
    suspend: (resume, ALONE),
    fill: (make_room, ALONE),
    # Right afterwards, a process may reach Redis late and briefly count for itself.
    empty: (None, TOGETHER + ALONE),
    forget_scripts: (None, TOGETHER + ALONE),
    restart: (None, TOGETHER + ALONE),
}


@contextlib.asynccontextmanager
async def traffic(services, party):
    """Concurrent users who log in continuously; yields the statuses of their answers."""
    seen = []

    async def log_in(number):
        user, place = services[0].users.add(), address()
        while True:
            reply = await guess(services[number % 2], party, user, place, user.password)
            seen.append(reply.status)

    tasks = [asyncio.create_task(log_in(number)) for number in range(6)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def more(seen, number):
    wanted = len(seen) + number

    async def count():
        return len(seen)

    await eventually(count, lambda reached: reached >= wanted)


async def events(processes, event):
    return [line for process in processes for line in process.output.splitlines() if f'"event": "{event}"' in line]


@pytest.mark.parametrize("fault", FAULTS)
async def test_in_the_middle_of_traffic(pair, own_redis, parties, fault):
    processes, services = pair
    party, (mend, most) = parties["rfc6749"], FAULTS[fault]
    revoked = await services[0].login(party, services[0].users.add())
    await services[0].request("POST", "/oauth/revoke", json={**party.credentials, "token": revoked.access})
    async with traffic(services, party) as seen:
        await more(seen, 100)
        await fault(own_redis)
        await more(seen, 200)
        user = services[0].users.add()
        replies = await asyncio.gather(*(guess(services[n % 2], party, user, "192.0.2.9") for n in range(60)))
        assert evaluated(services[0], user) <= most
        assert set(statuses(replies)) == {400, 429}
        assert [await service.verdict(revoked.access) for service in services] == [401, 401]
        if mend is not None:
            await eventually(lambda: events(processes, "redis away"))
            await mend(own_redis)

            async def back():
                return await events(processes, "redis back")

            await eventually(back, lambda lines: len(lines) >= 2)
        await more(seen, 100)
    assert set(seen) == {200}


async def test_who_guesses_meanwhile_is_limited_by_each_process(pair, own_redis, parties):
    processes, services = pair
    party, home = parties["doorkeeper"], address()
    owner, user = services[0].users.add(), services[0].users.add()
    for service in services:
        assert (await guess(service, party, owner, home, owner.password)).status == 200
    await own_redis.kill()
    strangers = [await guess(services[n % 2], party, user, address()) for n in range(60)]
    assert 2 * 10 <= evaluated(services[0], user) <= 2 * 14
    assert strangers[-1].status == 429
    others = [await guess(services[n % 2], party, services[0].users.add(), home) for n in range(110)]
    assert statuses(others) == {401: 2 * 50, 429: 10}
    for service in services:
        assert (await guess(service, party, owner, home, owner.password)).status == 200, "it is known here"
    for process, service in zip(processes, services, strict=True):
        assert len(await events([process], "redis away")) == 1
        counters = (await service.request("GET", "/stats")).json["counters"]
        assert counters["redis failures"] > 0
        assert counters["decided in this process"] > 50


async def test_an_owner_is_known_though_redis_was_emptied(pair, own_redis, parties):
    _, services = pair
    party, home, owner = parties["doorkeeper"], address(), services[0].users.add()
    assert (await guess(services[0], party, owner, home, owner.password)).status == 200
    await own_redis.client.flushall()
    for n in range(40):
        await guess(services[n % 2], party, owner, address())
    assert (await guess(services[0], party, owner, address(), owner.password)).status == 429
    assert (await guess(services[0], party, owner, home, owner.password)).status == 200


async def test_without_redis_a_process_says_so_and_counts_alone(start_process, parties):
    process, service = await start_process(throttle_exempt="")
    line = json.loads(process.output.splitlines()[0])
    assert (line["event"], line["level"]) == ("no REDIS_URL", "warning")
    user, place = service.users.add(), address()
    replies = [await guess(service, parties["doorkeeper"], user, place) for _ in range(5)]
    assert statuses(replies) == {401: 3, 429: 2}
    replies = await asyncio.gather(
        *(guess(service, parties["bongo"], service.users.add(), place, WRONG) for _ in range(60))
    )
    assert statuses(replies) == {401: 47, 429: 13}


async def test_a_process_alone_counts_all_names_of_a_user_together(start, parties):
    service = await start(throttle_exempt="")
    user, place = service.users.add(), address()
    names = [user, *(service.users.add_name(user, name) for name in ("+491710000001", "somebody@example.com"))]
    replies = await asyncio.gather(*(guess(service, parties["doorkeeper"], names[n % 3], place) for n in range(60)))
    assert statuses(replies) == {401: 3, 429: 57}


async def test_a_process_alone_has_wide_networks_too(start, parties):
    service = await start(throttle_exempt="", throttle_login_account=1000, throttle_login_network="10/15minute")
    party, user = parties["doorkeeper"], service.users.add()
    replies = [await guess(service, party, user, f"2001:db8:0:{n:x}::1") for n in range(50)]
    assert statuses(replies) == {401: 4 * 3, 429: 50 - 4 * 3}
    replies = [await guess(service, party, service.users.add(), f"2001:db8:1:{n // 4:x}::1") for n in range(50)]
    assert statuses(replies) == {401: 4 * 5, 429: 50 - 4 * 5}


async def test_a_process_alone_limits_right_logins_too(start, parties):
    service = await start(throttle_exempt="", throttle_login_attempts="12/minute")
    user, place = service.users.add(), address()
    replies = await asyncio.gather(*(guess(service, parties["rfc6749"], user, place, user.password) for _ in range(40)))
    assert statuses(replies) == {200: 6, 429: 34}


async def test_a_redis_that_is_away_at_the_start_holds_nothing_up(start_process, own_redis, parties):
    await own_redis.kill()
    _, service = await start_process(redis_url=own_redis.url, throttle_exempt="")
    user = service.users.add()
    assert (await service.login(parties["rfc6749"], user)).status == 200
    await own_redis.start()
    place = address()

    async def counted_there():
        await guess(service, parties["rfc6749"], user, place, user.password)
        return await own_redis.lifetimes()

    lifetimes = await eventually(counted_there)
    assert min(lifetimes.values()) > 0
