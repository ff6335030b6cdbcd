"""The process starts once its database is up, logs in JSON, and stops cleanly when it is told to."""

import asyncio
import json

import aiohttp
import pytest

from .processes import free_port, process, run

MASTER_KEY = "m1:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
SETTINGS = {"master_keys": MASTER_KEY, "issuer": "https://parley.example", "users_url": "http://127.0.0.1:1"}


@pytest.fixture
def empty_database_url(create_database):
    return create_database()


async def test_it_waits_for_the_database_and_stops_while_it_waits(relay, cut_off_service):
    settings = SETTINGS | {"database_url": relay.database_url, "master_keys": cut_off_service.master_keys}
    await relay.cut()
    async with process(settings) as patient, process(settings) as stopped:
        for one in (patient, stopped):
            await one.says("waiting for the database")
        assert await stopped.stop() == 0
        await relay.restore()
        await patient.says("listening")
        assert await patient.stop() == 0


async def use_until_told_to_stop(service):
    """Send requests over one connection until an answer closes it; every request must be answered."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        told = False
        while not told:
            async with session.get(service.url + "/healthz") as response:
                assert response.status == 200
                told = response.headers.get("Connection") == "close"


async def test_every_line_is_json_and_a_stop_is_clean(start_process, parties):
    started, service = await start_process()
    user = service.users.add()
    login = await service.login(parties["cubux"], user, {"X-Request-Id": "request-0001"})
    await service.verify(login.access)
    slow = asyncio.Event()

    async def wait(_user):
        slow.set()
        await asyncio.sleep(0.3)

    service.users.before_answer = wait
    in_flight = asyncio.create_task(service.login(parties["cubux"], user))
    in_use = asyncio.create_task(use_until_told_to_stop(service))
    await slow.wait()
    assert await started.stop() == 0
    assert (await in_flight).status == 200
    await in_use
    lines = [json.loads(line) for line in started.output.splitlines()]
    events = [line["event"] for line in lines]
    assert events[:2] == ["no REDIS_URL", "listening"]
    assert "stopping" in events
    issued = next(line for line in lines if line["event"] == "token issued")
    assert (issued["client_id"], issued["user_id"], issued["grant_type"]) == ("MY_CLIENT_ID", user.id, "password")
    assert issued["request_id"] == "request-0001"
    assert all(line["service"] == "auth-service" for line in lines)


async def test_a_stop_loses_no_line(start_process):
    started, service = await start_process()
    identifiers = [f"request-{number:04}" for number in range(500)]
    replies = [service.request("GET", "/metadata", headers={"X-Request-Id": one}) for one in identifiers]
    assert {reply.status for reply in await asyncio.gather(*replies)} == {404}
    assert await started.stop() == 0
    lines = [json.loads(line) for line in started.output.splitlines()]
    logged = [line["request_id"] for line in lines if line.get("request_id") in identifiers]
    assert sorted(logged) == identifiers


async def test_a_port_in_use_is_one_line(replicas):
    port = replicas[0].url.rpartition(":")[2]
    status, output, errors = await run(
        "serve",
        **SETTINGS | {"database_url": replicas[0].database_url, "master_keys": replicas[0].master_keys},
        port=port,
    )
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in output


async def test_a_schema_is_brought_up_to_date_by_several_at_once(empty_database_url):
    settings = SETTINGS | {"database_url": empty_database_url}
    status, _, errors = await run("serve", **settings, port=str(free_port()))
    assert (status, errors.count("\n")) == (1, 1)
    assert "python -m auth_service migrate" in errors
    outcomes = await asyncio.gather(*(run("migrate", database_url=empty_database_url) for _ in range(3)))
    assert [status for status, _, _ in outcomes] == [0, 0, 0]
    async with process(settings) as started:
        await started.says("listening")


async def test_a_wrong_master_key_is_one_line(replicas):
    settings = SETTINGS | {"database_url": replicas[0].database_url}
    status, _, errors = await run("serve", **settings, port=str(free_port()))
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("AUTH_MASTER_KEYS: no master key for ")


async def test_a_refused_connection_is_one_line(replicas):
    url = replicas[0].database_url
    urls = [url.replace("/test_", "/nowhere_"), url.replace("postgres:@", "nobody@"), url + "&sslmode=bogus"]
    outcomes = await asyncio.gather(
        *(run(command, **SETTINGS | {"database_url": url}) for url in urls for command in ("serve", "migrate"))
    )
    for status, _, errors in outcomes:
        assert (status, errors.count("\n")) == (1, 1), errors
        assert errors.startswith("the database")


async def test_a_migration_of_a_database_that_is_away_is_one_line():
    status, _, errors = await run("migrate", database_url="postgresql://auth:s3cr3t@127.0.0.1:1/auth")
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("the database cannot be reached")
    assert "s3cr3t" not in errors
