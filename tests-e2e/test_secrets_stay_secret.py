"""No secret is written anywhere: not to a debug log, PostgreSQL's log of every statement, or a database."""

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg
import pytest

import operations
from canaries import NAME, SECRET, Kept, found, new_name, new_secret
from dev import testing
from drivers import DRIVERS, Driver
from exchange import bearer, send
from marks import needs_own_stack
from planting import FORGED, Planting

pytestmark = needs_own_stack

REQUEST_ID = "X-Request-Id"
SERVICES = ("gateway", "auth-service", "user-service")
LOG_LEVELS = dict.fromkeys(("GATEWAY_LOG_LEVEL", "AUTH_LOG_LEVEL", "USERS_LOG_LEVEL"), "debug")
# Every statement with its parameters, including those of failed statements.
POSTGRESQL_LOGS = {"log_statement": "all", "log_parameter_max_length_on_error": "-1"}
RELATIONS = {"users": ["users", "outbox"], "auth": ["clients", "sessions", "live_sessions", "access_tokens"]}


@dataclass
class Evidence:
    """The secrets, and everything that was written; the logs by file, the dumps by database."""

    kept: Kept = field(default_factory=Kept)
    drivers: list[Driver] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)
    dumps: dict[str, bytes] = field(default_factory=dict)

    def service_logs(self) -> dict[str, bytes]:
        return {service: self.logs[f"{service}.log"] for service in SERVICES}


@pytest.fixture(scope="module")
def own_stack(new_data_dir: Callable[..., Path]) -> Iterator[testing.Stack]:
    with testing.running(new_data_dir(), **LOG_LEVELS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def evidence(own_stack: testing.Stack) -> Evidence:
    """The traces of requests of every kind, of an operator and of outages."""
    evidence = Evidence()
    await _log_everything(own_stack)
    await _operate(own_stack, evidence)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(own_stack.url, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as http:
        await _plant(own_stack, http, evidence)
    evidence.dumps = {database: await _dump(own_stack, database) for database in RELATIONS}
    own_stack.stop()
    evidence.logs = {path.name: path.read_bytes() for path in _written(own_stack)}
    return evidence


async def _log_everything(stack: testing.Stack) -> None:
    async with _connected(stack, "postgres") as connection:
        for name, value in POSTGRESQL_LOGS.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await connection.execute("SELECT pg_reload_conf()")


@contextlib.asynccontextmanager
async def _connected(stack: testing.Stack, database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await operations.connect(stack, database)
    try:
        yield connection
    finally:
        await connection.close()


async def _operate(stack: testing.Stack, evidence: Evidence) -> None:
    """Use secrets on the command line as an operator does."""
    evidence.kept.keep("master key", operations.master_key(stack))
    registered = (operations.register_like(stack, driver, new_secret()) for driver in DRIVERS)
    password = new_secret() + "\n"
    added = operations.users(stack, "add", "--username", new_name(), "--password-stdin", stdin=password)
    *evidence.drivers, _ = await asyncio.gather(*registered, added)
    made = await operations.clients(stack, "add", "made", "--dialect=doorkeeper_jwt")
    evidence.kept.keep("client secret", made["client_secret"])
    evidence.kept.keep("new client secret", (await operations.clients(stack, "rotate-secret", "made"))["client_secret"])


async def _plant(stack: testing.Stack, http: aiohttp.ClientSession, evidence: Evidence) -> None:
    planting = Planting(http, stack.url, evidence.kept, evidence.drivers)
    member, sessions = await planting.everyday()
    token = sessions["rfc6749"].access_token
    evidence.kept.keep("internal token", await operations.internal_token(stack, token))
    await planting.refused_log_ins(member)
    await planting.refused_users(member, token)
    await planting.refused_tokens()
    await planting.malformed()
    for driver in evidence.drivers:
        evidence.request_ids.append(secrets.token_hex(16))
        headers = {REQUEST_ID: evidence.request_ids[-1]}
        reply = await send(http, "GET", "/api/v1/users/me", {**bearer(sessions[driver.name].access_token), **headers})
        assert (reply.status, reply.headers[REQUEST_ID]) == (200, headers[REQUEST_ID])
    async with _relations_renamed(stack):
        replies = await planting.unwell(member, sessions)
        assert {reply.status for reply in replies} == {503}
    async with _connected(stack, "postgres") as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('auth', 'users')"
        )
    replies = await planting.unwell(member, sessions)
    assert {reply.status for reply in replies} <= {200, 201, 400, 401, 503}


@contextlib.asynccontextmanager
async def _relations_renamed(stack: testing.Stack) -> AsyncIterator[None]:
    """Make every statement of the services fail while the context lasts, in a way that none of them expects."""
    try:
        await _rename(stack, "{0}", "{0}_gone")
        yield
    finally:
        await _rename(stack, "{0}_gone", "{0}")


async def _rename(stack: testing.Stack, old: str, new: str) -> None:
    for database, relations in RELATIONS.items():
        async with _connected(stack, database) as connection:
            for name in relations:
                await connection.execute(f"ALTER TABLE IF EXISTS {old.format(name)} RENAME TO {new.format(name)}")


async def _dump(stack: testing.Stack, database: str) -> bytes:
    """Every row of every table as text, with binary values in hex."""
    async with _connected(stack, database) as connection:
        names = await connection.fetch(
            """
            SELECT oid::regclass::text AS name FROM pg_class
            WHERE relkind = 'r' AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
            """
        )
        tables = [await connection.fetch(f"SELECT t::text AS row FROM {row['name']} t") for row in names]
    return "\n".join(row["row"] for rows in tables for row in rows).encode()


def _written(stack: testing.Stack) -> list[Path]:
    """The logs, and the supervisor's output."""
    assert stack.data_dir is not None
    return [*(stack.data_dir / "logs").iterdir(), stack.data_dir / "output"]


def test_no_secret_was_written(evidence: Evidence) -> None:
    wanted = {"a planted secret": SECRET, **evidence.kept.secrets}
    assert found(wanted, evidence.logs | evidence.dumps) == []


def test_login_names_are_records_and_nothing_else(evidence: Evidence) -> None:
    """PostgreSQL was told to log the parameters of statements, so it logs the names that clients asked for.

    A session in the one dialect whose tokens contain the e-mail address keeps it until the session is deleted.
    """
    written = {name: content for name, content in evidence.logs.items() if name != "postgres.log"}
    rows = evidence.dumps["auth"].splitlines()
    written["auth"] = b"\n".join(row for row in rows if b"doorkeeper_jwt" not in row)
    assert found({"a login name": NAME}, written) == []


def test_search_finds_what_the_design_keeps(evidence: Evidence) -> None:
    """Otherwise the search might be unable to find anything."""
    assert set(evidence.logs) >= {"gateway.log", "auth-service.log", "user-service.log", "postgres.log", "output"}
    assert found({"a login name": NAME}, {"users": evidence.dumps["users"], "log": evidence.logs["postgres.log"]})
    assert evidence.dumps["users"].count(b"$argon2id$v=19$m=19456,t=2,p=1$") > 2
    for driver in evidence.drivers:
        digest = hashlib.sha256(driver.identity["client_secret"].encode()).hexdigest()
        assert digest.encode() in evidence.dumps["auth"], driver.name
        assert digest.encode() in evidence.logs["postgres.log"], driver.name
    assert b"ERROR:  relation" in evidence.logs["postgres.log"]
    assert b'"unexpected error"' in evidence.logs["user-service.log"]
    assert b'"unexpected error"' in evidence.logs["auth-service.log"]


def test_every_line_of_a_service_is_one_json_object_and_none_is_forged(evidence: Evidence) -> None:
    for service, log in evidence.service_logs().items():
        lines = [json.loads(line) for line in log.decode().splitlines()]
        assert all({"event", "level", "timestamp", "service"} <= line.keys() for line in lines)
        assert {line["service"] for line in lines} == {service}
        assert sum(line["event"] == "request" for line in lines) > 100
        assert FORGED.encode() not in log


def test_request_id_runs_through_all_services(evidence: Evidence) -> None:
    for service, log in evidence.service_logs().items():
        lines = [json.loads(line) for line in log.splitlines()]
        known = {line.get("request_id") for line in lines if line["event"] == "request" and line["status"] == 200}
        assert known >= set(evidence.request_ids), service
