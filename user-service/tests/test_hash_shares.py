"""No network and no account gets more than its share of the hashes while others wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from .hashing import OUTDATED, PASSWORD, add_users, check, costly_hash, hashing_goes_on, locked_users, until

HERE, ELSEWHERE = "203.0.113.1/32", "198.51.100.1/32"
NEW = "a completely new one"


class Busy:
    """A service whose only thread is busy for a second, and the order in which it answers requests made meanwhile."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.answered: list[str] = []

    async def start(self) -> None:
        await add_users(self.service, costly=costly_hash(80), a=OUTDATED, b=OUTDATED)
        self.costly = asyncio.create_task(check(self.service, "costly", "192.0.2.1/32"))
        await hashing_goes_on()

    async def ask(self, name: str, request: Awaitable[Any]) -> Any:
        reply = await request
        self.answered.append(name)
        return reply


@pytest.fixture
async def busy(start: Any) -> AsyncIterator[Busy]:
    busy = Busy(await start(hash_threads=1, hash_deadline=60))
    await busy.start()
    yield busy
    await busy.costly


async def asked_in_order(busy: Busy, *requests: tuple[str, Awaitable[Any]]) -> None:
    async with asyncio.TaskGroup() as waiting:
        for name, request in requests:
            waiting.create_task(busy.ask(name, request))
            await hashing_goes_on(0.03)
        assert not busy.answered


async def test_networks_take_turns(busy: Busy) -> None:
    many = [("many", check(busy.service, f"user{number}", HERE)) for number in range(4)]
    await asked_in_order(busy, *many, ("one", check(busy.service, "b", ELSEWHERE)))
    assert "one" in busy.answered[:2]


async def test_networks_of_one_wide_network_take_turns(busy: Busy) -> None:
    many = [("many", check(busy.service, f"user{number}", HERE)) for number in range(4)]
    await asked_in_order(busy, *many, ("one", check(busy.service, "b", "203.0.113.2/32")))
    assert "one" in busy.answered[:2]


@pytest.mark.parametrize("networks", ["203.0.113.{}/32", "2001:db8:0:{}::/64"])
async def test_wide_networks_take_turns_with_however_many_networks(busy: Busy, networks: str) -> None:
    many = [("many", check(busy.service, f"user{number}", networks.format(number))) for number in range(4)]
    await asked_in_order(busy, *many, ("one", check(busy.service, "b", ELSEWHERE)))
    assert "one" in busy.answered[:2]


async def test_accounts_whose_network_is_not_named_take_turns_with_networks(busy: Busy) -> None:
    named = [("named", check(busy.service, "a", HERE)) for _ in range(4)]
    unnamed = [("unnamed", check(busy.service, f"user{number}")) for number in range(4)]
    await asked_in_order(busy, *named, *unnamed)
    assert busy.answered[:6].count("unnamed") == 4


async def test_accounts_of_one_network_take_turns(busy: Busy) -> None:
    many = [("many", check(busy.service, "a", HERE)) for _ in range(4)]
    await asked_in_order(busy, *many, ("one", check(busy.service, "b", HERE)))
    assert "one" in busy.answered[:2]


async def test_all_names_of_a_user_are_one_account(busy: Busy) -> None:
    await busy.service.add(username="many", email="many@x.com", phone_number="+8801700000000")
    names = ("many", "many@x.com", "+8801700000000")
    many = [("many", check(busy.service, name, HERE)) for name in names * 2]
    await asked_in_order(busy, *many, ("one", check(busy.service, "b", HERE)))
    assert "one" in busy.answered[:2]


async def test_changes_of_password_take_turns_for_both_of_their_hashes(busy: Busy) -> None:
    user_id = (await busy.service.rows("SELECT id FROM users WHERE username = 'a'"))[0]["id"]
    body = {"current_password": PASSWORD, "password": NEW}
    path, headers = f"/api/v1/users/{user_id}/password", {"X-Forwarded-For": HERE.partition("/")[0]}

    def change() -> Awaitable[Any]:
        return busy.service.request("POST", path, body, user=user_id, headers=headers)

    async with busy.service.acknowledging():
        await asked_in_order(
            busy,
            *(("change", change()) for _ in range(4)),
            *(("login", check(busy.service, "b", ELSEWHERE)) for _ in range(4)),
        )
    assert busy.answered[:4].count("login") >= 3


async def test_a_flood_of_one_account_makes_room_for_everybody_else(start: Any) -> None:
    service = await start(hash_threads=1, hash_deadline=2)
    await add_users(service, a=OUTDATED)
    async with locked_users(service.database_url):
        flood = [asyncio.create_task(check(service, "a", HERE)) for _ in range(160)]
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)  # there is no more room
        names = {f"other{number}": HERE if number % 2 else ELSEWHERE for number in range(6)}
        others = [asyncio.create_task(check(service, name, network)) for name, network in names.items()]
        await refused(service, 6, "pushed_out")
    assert {reply.status for reply in await asyncio.gather(*others)} == {200}
    for task in done:
        reply = await task
        # With that header, auth-service would send fewer requests for everybody.
        assert (reply.status, "X-Parley-Overload" in reply.headers) == (503, False)
    assert 0 < [reply.status for reply in await asyncio.gather(*flood)].count(503) < 160


async def test_over_its_share_a_name_that_nobody_has_is_answered_like_any_other(start: Any) -> None:
    service = await start(hash_threads=1, hash_deadline=2)
    await add_users(service, known=costly_hash(2))
    async with locked_users(service.database_url) as users:
        other = asyncio.create_task(check(service, "other", ELSEWHERE))
        await users.wait_for(1)
        floods = [[asyncio.create_task(check(service, name, HERE)) for _ in range(60)] for name in ("known", "nobody")]
        await refused(service, 60, "over_share", "pushed_out")
    known, unknown = [{(reply.status, reply.body) for reply in await asyncio.gather(*flood)} for flood in floods]
    assert known == unknown
    assert {status for status, _ in known} == {200, 503}
    await other


async def refused(service: Any, number: int, *reasons: str) -> None:
    """Wait until this many hashes have been refused for these reasons."""

    async def counted() -> bool:
        counters = (await service.request("GET", "/stats")).json["counters"]
        return sum(counters.get(f"passwords not hashed: {reason}", 0) for reason in reasons) >= number

    await until(counted)
