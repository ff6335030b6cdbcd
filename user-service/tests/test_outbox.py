"""The outbox: the changes that auth-service is told of, the time of each event, and its removal."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from user_service.app import ACCOUNTS

PASSWORD = "correct horse battery"


def event(user_id: int, epoch: int, kind: str = "sessions_ended", **more: Any) -> dict[str, Any]:
    return {"type": kind, "user_id": user_id, "epoch": epoch, "keep_session": None, "email": None} | more


async def events(service: Any, wait: float = 0) -> list[dict[str, Any]]:
    """Acknowledge and return, without their ids, the events that are pending or arrive during the wait."""
    pending = await service.events(wait)
    assert [sorted(entry) for entry in pending] == [
        ["email", "epoch", "id", "keep_session", "type", "user_id"] for _ in pending
    ]
    await service.acknowledge(*(entry["id"] for entry in pending))
    return [{name: value for name, value in entry.items() if name != "id"} for entry in pending]


async def test_a_password_change_ends_all_sessions_but_the_one_it_came_from(service: Any) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    body = {"current_password": PASSWORD, "password": "a completely new one"}
    sid = "00ff00ff00ff00ff"
    request = service.request("POST", f"/api/v1/users/{user.id}/password", body, user=user.id, sid=sid)
    changing = asyncio.create_task(request)
    [entry] = await service.events(wait=5)
    assert {name: value for name, value in entry.items() if name != "id"} == event(user.id, 1, keep_session=sid)
    await service.acknowledge(entry["id"])
    assert (await changing).status == 204


async def test_disabling_ends_all_sessions_and_enabling_none(service: Any) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    accounts = service.app[ACCOUNTS]
    assert (await accounts.set_disabled(user.id, True)).disabled
    await accounts.set_disabled(user.id, True)
    assert await events(service) == [event(user.id, 1)]
    assert not (await accounts.set_disabled(user.id, False)).disabled
    assert await events(service) == []
    assert (await service.check("a@x.com", PASSWORD))["epoch"] == 1


async def test_a_new_role_and_a_new_address_are_told_apart(service: Any) -> None:
    user = await service.add(email="a@x.com", username="a")
    admin = await service.add(username="admin", role="admin")

    async def change(**fields: Any) -> list[dict[str, Any]]:
        request = service.request("PATCH", f"/api/v1/users/{user.id}", {"user": fields}, user=admin.id)
        changing = asyncio.create_task(request)
        seen = await events(service, wait=0.2)
        assert (await changing).status == 200
        return seen + await events(service)

    assert await change(username="b") == []
    assert await change(email="B@x.com") == [event(user.id, 0, "email_changed", email="B@x.com")]
    assert await change(email=None) == [event(user.id, 0, "email_changed")]
    assert await change(role="default") == []
    assert await change(role="admin") == [event(user.id, 1)]
    both = await change(role="default", email="a@x.com")
    assert both == [event(user.id, 2, "email_changed", email="a@x.com"), event(user.id, 2)]


async def test_a_deletion_ends_all_sessions(service: Any) -> None:
    user = await service.add(email="a@x.com")
    deleting = asyncio.create_task(service.request("DELETE", f"/api/v1/users/{user.id}", user=user.id))
    [entry] = await service.events(wait=5)
    assert (entry["type"], entry["user_id"], entry["epoch"]) == ("sessions_ended", user.id, 1)
    await service.acknowledge(entry["id"])
    assert (await deleting).status == 204


async def test_a_refused_change_leaves_no_event(service: Any) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    await service.add(email="taken@x.com")
    path = f"/api/v1/users/{user.id}"
    assert (await service.request("PATCH", path, {"user": {"email": "taken@x.com"}}, user=user.id)).status == 409
    body = {"current_password": "wrong", "password": "a completely new one"}
    assert (await service.request("POST", f"{path}/password", body, user=user.id)).status == 422
    assert await service.events() == []


async def test_events_stay_until_acknowledged_and_come_oldest_first_a_hundred_at_a_time(service: Any) -> None:
    await service.rows(
        "INSERT INTO outbox (type, user_id, epoch) SELECT 'sessions_ended', n, 1 FROM generate_series(1, 130) n"
    )
    first = await service.events()
    assert [entry["user_id"] for entry in first] == list(range(1, 101))
    assert await service.events() == first
    await service.acknowledge(*(entry["id"] for entry in first[:99]), 2**63 - 1)
    assert [entry["user_id"] for entry in await service.events()] == list(range(100, 131))


async def test_without_events_the_answer_is_empty_at_once_or_when_the_wait_is_over(service: Any) -> None:
    started = time.monotonic()
    assert await service.events() == []
    assert time.monotonic() - started < 2
    assert await service.events(wait=0.6) == []
    assert time.monotonic() - started >= 0.6


@pytest.mark.parametrize("replicas", [1, 2])
async def test_who_waits_hears_of_an_event_when_it_is_committed_in_any_replica(
    start: Callable[..., Any], replicas: int
) -> None:
    services = [await start() for _ in range(replicas)]
    user = await services[0].add(email="a@x.com")
    waiting = asyncio.create_task(services[-1].events(wait=20))
    await listening_connections(services[0], replicas)
    await services[0].app[ACCOUNTS].set_disabled(user.id, True)
    started = time.monotonic()
    assert [entry["user_id"] for entry in await waiting] == [user.id]
    assert time.monotonic() - started < 1


async def test_a_request_that_ends_sessions_answers_once_another_replica_has_the_acknowledgement(
    start: Callable[..., Any],
) -> None:
    services = [await start(), await start()]
    await listening_connections(services[0], 2)
    user = await services[0].add(email="a@x.com")
    async with services[1].acknowledging():
        started = time.monotonic()
        assert (await services[0].request("DELETE", f"/api/v1/users/{user.id}", user=user.id)).status == 204
        assert time.monotonic() - started < 1


async def test_a_request_that_ends_sessions_is_503_while_auth_service_has_not_heard_of_it(service: Any) -> None:
    user = await service.add(email="a@x.com")
    admin = await service.add(username="admin", role="admin")
    path, change = f"/api/v1/users/{user.id}", {"user": {"role": "admin"}}
    started = time.monotonic()
    replies = [await service.request("PATCH", path, change, user=admin.id) for _ in range(2)]
    assert [(reply.status, reply.headers["Retry-After"]) for reply in replies] == [(503, "1")] * 2
    assert 3.8 < time.monotonic() - started < 8
    assert await service.events() != []
    async with service.acknowledging():
        assert (await service.request("PATCH", path, change, user=admin.id)).status == 200


async def test_a_password_change_that_was_not_confirmed_can_be_sent_again(service: Any) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    body = {"current_password": PASSWORD, "password": "a completely new one"}

    async def change(**fields: str) -> int:
        reply = await service.request("POST", f"/api/v1/users/{user.id}/password", body | fields, user=user.id)
        status: int = reply.status
        return status

    assert await change() == 503
    async with service.acknowledging():
        assert await change() == 204
        assert await change(password="another completely new one") == 422
        assert (await service.check("a@x.com", body["password"]))["epoch"] == 1
        await service.rows("UPDATE users SET password_changed_at = now() - interval '11 minutes'")
        assert await change() == 422


async def test_an_event_is_found_though_the_connection_that_listens_was_lost(service: Any) -> None:
    user = await service.add(email="a@x.com")
    waiting = asyncio.create_task(service.events(wait=20))
    await listening_connections(service, 1)
    await service.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
    await service.app[ACCOUNTS].set_disabled(user.id, True)
    started = time.monotonic()
    assert [entry["user_id"] for entry in await waiting] == [user.id]
    assert time.monotonic() - started < 1.5


async def waiting_for_events(service: Any, client: Any, wait: float) -> Any:
    """The streamed answer, once its head has arrived."""
    headers = {"Authorization": f"Bearer {service.issuer.service_token('events:consume')}"}
    return client.get(f"{service.url}/internal/events?wait={wait}", headers=headers)


async def test_who_waits_is_told_three_times_a_second_that_it_is_waited_for(service: Any, client: Any) -> None:
    async with await waiting_for_events(service, client, 1.5) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        times, body = [time.monotonic()], b""
        async for part in response.content.iter_any():
            times.append(time.monotonic())
            body += part
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.7
    assert body.lstrip(b" ") == b'{"events":[]}'
    assert len(body) - len(body.lstrip(b" ")) >= 4


async def test_who_waits_is_not_told_that_there_is_nothing_when_nobody_knows(
    service: Any, client: Any, postgres: str
) -> None:
    database = urlsplit(service.database_url).path.removeprefix("/")
    administrator = await asyncpg.connect(postgres)
    try:
        async with await waiting_for_events(service, client, 10) as response:
            assert await response.content.readany() == b" "
            await administrator.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
            await administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database
            )
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
    finally:
        await administrator.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        await administrator.close()


async def test_an_acknowledgement_waits_for_none_that_froze_in_the_middle(service: Any) -> None:
    await service.rows(
        "INSERT INTO outbox (type, user_id, epoch) VALUES ('sessions_ended', 1, 1), ('sessions_ended', 2, 1)"
    )
    first, second = [entry["id"] for entry in await service.events()]
    frozen = await asyncpg.connect(service.database_url)
    try:
        async with frozen.transaction():
            await frozen.execute("DELETE FROM outbox WHERE id = $1", first)
            started = time.monotonic()
            await service.acknowledge(first, second)
            assert time.monotonic() - started < 1
            assert [entry["id"] for entry in await service.events()] == [first]
    finally:
        await frozen.close()


async def listening_connections(service: Any, number: int) -> None:
    """Return when `number` database connections are listening."""
    async with asyncio.timeout(5):
        while True:
            rows = await service.rows(
                "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN %acknowledged%' AND datname = current_database()"
            )
            if len(rows) >= number:
                return
            await asyncio.sleep(0.02)
