"""The tables do not grow without end: partitions are added and dropped daily, and expired rows are deleted."""

import asyncio
import contextlib
import time
from datetime import timedelta

import asyncpg
import pytest

from auth_service.app import FORMATS
from auth_service.backends import dead_sessions
from auth_service.backends.dead_sessions import DeadSessions
from auth_service.backends.upkeep import tidy_tables
from auth_service.core.errors import UnavailableError
from auth_service.core.tokens.stored import stored_token
from servicekit.postgres import connect

from .service import REFRESHING
from .serving import eventually

DAY = 86400
FOUR_MONTHS = 120 * DAY


@pytest.fixture
async def own_service(start, database_url):
    """auth-service after its first round, which deleted an expired session. The test runs the following rounds."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO sessions (id, client_id, scope, idle_expires_at, expires_at) VALUES (1, 'web', '{}', now(), now())"
    )
    await connection.close()
    service = await start()
    await eventually(lambda: count(service, "sessions"), lambda number: number == 0)
    return service


@contextlib.asynccontextmanager
async def database_of(service):
    async with connect(service.database_url, pool_size=1, unavailable=UnavailableError) as database:
        yield database


async def tidy(service):
    async with database_of(service) as database:
        await tidy_tables(database, DeadSessions(database))


async def partitions(service):
    query = (
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = $1::text::regclass"
    )
    return {int(row["relname"].removeprefix("access_tokens_")) for row in await service.rows(query, "access_tokens")}


async def add_partition(service, day):
    await service.rows(f"CREATE TABLE access_tokens_{day} PARTITION OF access_tokens FOR VALUES IN ({day})")


async def all_tables(service):
    return {row["relname"] for row in await service.rows("SELECT relname FROM pg_class WHERE relkind = 'r'")}


async def count(service, table):
    return (await service.rows(f"SELECT count(*) FROM {table}"))[0]["count"]


async def test_a_partition_is_made_when_it_is_first_needed(own_service):
    party = await own_service.register("doorkeeper", access_token_lifetime=FOUR_MONTHS)
    drop_day = int((time.time() + FOUR_MONTHS) // DAY) + 1
    assert drop_day not in await partitions(own_service)
    logins = await asyncio.gather(*(own_service.login(party, own_service.users.add()) for _ in range(20)))
    refreshed = await own_service.refresh(party, logins[0].refresh)
    assert {drop_day} == {day for day in await partitions(own_service) if day > time.time() / DAY + 10}
    for reply in (*logins, refreshed):
        assert await own_service.verdict(reply.access) == 200


async def test_a_refresh_that_finds_no_partition_rotates_once(own_service, parties):
    party = parties["cubux"]
    login = await own_service.login(party, own_service.users.add())
    for day in await partitions(own_service):
        await own_service.rows(f"DROP TABLE access_tokens_{day}")
    replies = await asyncio.gather(*(own_service.refresh(party, login.refresh) for _ in range(10)))
    assert len({reply.refresh for reply in replies}) == 1
    assert {await own_service.verdict(reply.access) for reply in replies} == {200}
    assert [row["counter"] for row in await own_service.rows("SELECT counter FROM sessions")] == [1]


async def test_a_day_that_is_over_is_dropped_with_all_its_tokens(own_service, parties):
    login = await own_service.login(parties["cubux"], own_service.users.add())
    today = int(time.time() // DAY)
    for day in (today - 400, today - 1):
        await add_partition(own_service, day)
        columns = "(digest, drop_day, session_id, scope, expires_at)"
        await own_service.rows(f"INSERT INTO access_tokens {columns} VALUES ('digest', $1, 1, '{{}}', now())", day)
    await tidy(own_service)
    left = await partitions(own_service)
    assert left >= {today, today + 1, today + 2}
    assert min(left) == today
    assert {
        name for name in await all_tables(own_service) if name.endswith((f"_{today - 1}", f"_{today - 400}"))
    } == set()
    assert await own_service.verdict(login.access) == 200


async def test_a_day_that_is_over_is_kept_while_a_token_of_it_is_alive(own_service, parties):
    """If the clock was wrong when a token was made, the token carries an earlier day, and is valid all the same."""
    login = await own_service.login(parties["cubux"], own_service.users.add())
    day = int(time.time() // DAY) - 3
    await add_partition(own_service, day)
    token = FORMATS["cubux"].access_token.draft((day - 1) * DAY)
    assert token.stored.drop_day == day
    move = "UPDATE access_tokens SET digest = $1, drop_day = $2 WHERE digest = $3"
    stored = stored_token(login.access, bytes.fromhex(login.access))
    await own_service.rows(move, token.stored.digest, day, stored.digest)
    await tidy(own_service)
    assert await own_service.verdict(token.text) == 200
    await own_service.age(2 * DAY)
    await tidy(own_service)
    assert day not in await partitions(own_service)


async def test_replicas_that_tidy_at_once_are_not_in_each_other_s_way(own_service):
    yesterday = int(time.time() // DAY) - 1
    await own_service.rows(
        f"CREATE TABLE access_tokens_{yesterday} PARTITION OF access_tokens FOR VALUES IN ({yesterday})"
    )
    await asyncio.gather(*(tidy(own_service) for _ in range(4)))
    assert yesterday not in await partitions(own_service)


async def test_a_reader_that_takes_long_delays_the_drop_and_nothing_else(own_service, parties):
    """While a dump is running, no verification waits long, and the partition is dropped later."""
    yesterday = int(time.time() // DAY) - 1
    login = await own_service.login(parties["cubux"], own_service.users.add())
    await own_service.rows(
        f"CREATE TABLE access_tokens_{yesterday} PARTITION OF access_tokens FOR VALUES IN ({yesterday})"
    )
    reader = await asyncpg.connect(own_service.database_url)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM access_tokens")
        tidying = asyncio.create_task(tidy(own_service))
        while not tidying.done():
            begun = time.monotonic()
            assert await own_service.verdict(login.access) == 200
            assert time.monotonic() - begun < 2  # a statement may take three seconds
        with pytest.raises(UnavailableError):
            await tidying
    await reader.close()
    await tidy(own_service)
    assert yesterday not in await partitions(own_service)


async def test_sessions_are_deleted_when_they_have_expired_and_not_before(own_service, parties):
    short = await own_service.register("rfc6749", access_token_lifetime=10, idle_lifetime=10, session_lifetime=100)
    login = await own_service.login(short, own_service.users.add())
    successor = await own_service.refresh(short, login.refresh)
    long = await own_service.login(parties["passport"], own_service.users.add())
    for _ in range(3):
        assert (await own_service.token(short, "client_credentials")).status == 200
    assert await count(own_service, "sessions") == 5
    await own_service.age(50)
    await tidy(own_service)
    assert await count(own_service, "sessions") == 2
    assert (await own_service.refresh(short, login.refresh)).error == (400, "invalid_grant")
    await own_service.age(51)
    await tidy(own_service)
    assert await count(own_service, "sessions") == 1
    assert [await own_service.verdict(reply.access) for reply in (successor, long)] == [401, 200]
    assert (await own_service.refresh(short, successor.refresh)).error == (400, "invalid_grant")


async def test_reuse_is_still_noticed_after_tidying(own_service, parties):
    party = parties["rfc6749"]
    login = await own_service.login(party, own_service.users.add())
    successor = await own_service.refresh(party, login.refresh)
    await own_service.age(29 * 60)
    await tidy(own_service)
    assert (await own_service.refresh(party, login.refresh)).error == (400, "invalid_grant")
    assert (await own_service.refresh(party, successor.refresh)).error == (400, "invalid_grant")


async def test_an_epoch_is_kept_for_as_long_as_it_ends_anything(own_service, parties, monkeypatch):
    party, user, gone = parties["cubux"], own_service.users.add(), own_service.users.add()
    login = await own_service.login(party, user)
    for changed in (user, gone):
        await own_service.users.end_sessions(changed)
    await tidy(own_service)
    assert await count(own_service, "user_epochs") == 2
    await own_service.rows("UPDATE user_epochs SET raised_at = raised_at - interval '25 hours'")
    with monkeypatch.context() as patched:
        patched.setattr(dead_sessions, "_STEPS", 0)  # this round does not reach dead sessions
        await tidy(own_service)
    rows = await own_service.rows("SELECT user_id FROM user_epochs")
    assert [row["user_id"] for row in rows] == [user.id]
    assert await own_service.verdict(login.access) == 401
    await tidy(own_service)
    assert [await count(own_service, table) for table in ("user_epochs", "sessions")] == [0, 0]
    assert await own_service.verdict(login.access) == 401


async def refusal(service, party, login):
    """The answer to a refresh, in full: it must not change when the session's row is deleted."""
    reply = await service.refresh(party, login.refresh)
    assert reply.json["error"] == "invalid_grant"
    return reply.status, reply.body


@pytest.mark.parametrize("dialect", REFRESHING)
async def test_a_revoked_session_is_deleted_a_day_later(own_service, parties, dialect):
    party, user = parties[dialect], own_service.users.add()
    revoked, kept = [await own_service.login(party, user) for _ in range(2)]
    await own_service.request("POST", "/oauth/revoke", json={**party.credentials, "token": revoked.access})
    refused, denied = await refusal(own_service, party, revoked), (await own_service.verify(revoked.access)).body
    await own_service.age(DAY - 60)
    await tidy(own_service)
    assert await count(own_service, "sessions") == 2
    await own_service.rows("UPDATE sessions SET revoked_at = revoked_at - interval '2 minutes'")
    await tidy(own_service)
    assert [row["revoked_at"] for row in await own_service.rows("SELECT revoked_at FROM sessions")] == [None]
    assert await refusal(own_service, party, revoked) == refused
    denial = await own_service.verify(revoked.access)
    assert denial.status == 401
    if dialect != "doorkeeper":  # its answer says that the access token has expired, whatever became of the session
        assert denial.body == denied
    assert (await own_service.refresh(party, kept.refresh)).status == 200


async def test_a_session_is_deleted_a_day_after_it_was_idle_for_too_long(own_service):
    party = await own_service.register("rfc6749", access_token_lifetime=10, idle_lifetime=50, session_lifetime=9 * DAY)
    idle, used = [await own_service.login(party, own_service.users.add()) for _ in range(2)]
    await own_service.age(55)
    used = await own_service.refresh(party, used.refresh)
    await own_service.age(6)
    refused = await refusal(own_service, party, idle)
    for seconds, left in ((DAY - 15, 2), (20, 1), (60, 0)):
        await own_service.age(seconds)
        await tidy(own_service)
        assert await count(own_service, "sessions") == left
        assert await refusal(own_service, party, idle) == refused
    assert await refusal(own_service, party, used) == refused


async def test_a_session_that_its_user_s_epoch_ended_is_deleted_a_day_later(own_service, parties):
    party, user = parties["rfc6749"], own_service.users.add()
    ended = await own_service.login(party, user)
    await own_service.users.end_sessions(user)
    later = await own_service.login(party, user)
    for hours, left in ((23, 2), (2, 1)):
        await own_service.rows("UPDATE user_epochs SET raised_at = raised_at - make_interval(hours => $1)", hours)
        await tidy(own_service)
        assert await count(own_service, "sessions") == left
        assert [await own_service.verdict(reply.access) for reply in (ended, later)] == [401, 200]


async def test_a_round_reads_a_part_of_the_table_and_the_next_one_goes_on(own_service, monkeypatch):
    monkeypatch.setattr(dead_sessions, "_PAGES_AT_A_TIME", 1)
    copies = """
        INSERT INTO sessions (id, client_id, user_id, scope, idle_expires_at, expires_at, revoked_at)
        SELECT n, 'web', n, '{}', now() + interval '9 days', now() + interval '9 days', now() - $1::interval
        FROM generate_series(1, 3000) n
    """
    await own_service.rows(copies, timedelta(days=2))
    async with database_of(own_service) as database:
        walk = DeadSessions(database)
        deleted = [await walk.delete() for _ in range(9)]
        assert 0 < deleted[0] < 1500
        assert sum(deleted) == 3000
        await own_service.rows(copies, timedelta(days=2))  # into the pages that have become free, once they are known
        assert sum([await walk.delete() for _ in range(18)]) == 3000


@pytest.mark.parametrize("dialect", ["rfc6749", "passport"])
async def test_a_refresh_of_a_signed_token_adds_no_row(own_service, parties, dialect):
    tables = sorted(name for name in await all_tables(own_service) if not name.startswith(("pg_", "sql_")))
    login = await own_service.login(parties[dialect], own_service.users.add())
    before = [await count(own_service, table) for table in tables]
    for _ in range(10):
        login = await own_service.refresh(parties[dialect], login.refresh)
    assert [await count(own_service, table) for table in tables] == before
