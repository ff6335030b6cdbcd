"""A real backup and restore: sessions ended in between stay ended in every dialect, and users log in as before."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest

import operations
from dev import testing
from drivers import DOORKEEPER, DRIVERS, REFRESHING, RFC6749, Driver, Tokens
from exchange import bearer, post_json, send
from marks import needs_own_stack
from members import Member, assert_accepted, assert_invalid_grant, assert_refused, new_member

pytestmark = needs_own_stack

NEW = "another password of fair length"
DUMPS = {"auth": ("auth.dump",), "users": ("users.dump",), "both": ("auth.dump", "users.dump")}
KINDS = ("untouched", "logged out", "new password", "disabled", "deleted", "rotated", "reused")

Issued = list[tuple[Driver, Tokens]]


@dataclass
class World:
    """A stack, its backup, the ids of users who signed up since, and all tokens that must never be accepted again."""

    data_dir: Path
    ports: dict[str, str]
    backup: Path
    stack: testing.Stack
    members: dict[str, Member] = field(default_factory=dict)
    ids: set[int | None] = field(default_factory=set)
    ended: Issued = field(default_factory=list)
    of_disabled_clients: Issued = field(default_factory=list)

    def start(self) -> None:
        """Start on the same ports: the issuer is part of signed tokens, and must not be the reason for a refusal."""
        self.stack = testing.start(self.data_dir, **self.ports)

    def backups(self, what: str, directory: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dev.backups", what, str(directory)]
        environment = {**os.environ, **self.ports, "DATA_DIR": str(self.data_dir)}
        return subprocess.run(
            command, env=environment, cwd=testing.REPOSITORY, capture_output=True, text=True, timeout=120, check=False
        )

    def restore(self, dumps: tuple[str, ...]) -> None:
        chosen = self.data_dir.parent / "chosen"
        shutil.rmtree(chosen, ignore_errors=True)
        chosen.mkdir()
        for dump in dumps:
            shutil.copy(self.backup / dump, chosen)
        done = self.backups("restore", chosen)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
async def world(new_data_dir: Callable[..., Path]) -> AsyncIterator[World]:
    """A backup, after which many sessions have ended."""
    data_dir, ports = new_data_dir(), testing.free_ports()
    world = World(data_dir, ports, data_dir.parent / "backup", testing.start(data_dir, **ports))
    try:
        async with connected(world) as http:
            await prepare(world, http)
        yield world
    finally:
        world.stack.stop()


def connected(world: World) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=30)
    return aiohttp.ClientSession(world.stack.url, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)


async def prepare(world: World, http: aiohttp.ClientSession) -> None:
    signed_up = await asyncio.gather(*(new_member().sign_up(http) for _ in KINDS))
    world.members = dict(zip(KINDS, signed_up, strict=True))
    opened = {kind: await member.log_in_everywhere(http) for kind, member in world.members.items()}
    # One with opaque tokens, and one with signed tokens.
    clients = await asyncio.gather(*(operations.register_like(world.stack, driver) for driver in (DOORKEEPER, RFC6749)))
    untouched = world.members["untouched"]
    world.of_disabled_clients = [(driver, await untouched.log_in(http, driver)) for driver in clients]
    saved = world.backups("save", world.backup)
    assert (saved.returncode, saved.stderr) == (0, "")

    rotated = await refreshed(http, opened["rotated"])
    for _ in range(2):
        opened["reused"] = await refreshed(http, first := opened["reused"])
        world.ended += in_pairs(first)
    world.ended += [pair for sessions in opened.values() for pair in in_pairs(sessions)] + in_pairs(rotated)
    await end_sessions(world, http, opened)
    disable = ("auth_service", "clients", "disable")
    await asyncio.gather(*(operations.command(world.stack, *disable, client.client_id) for client in clients))


def in_pairs(sessions: dict[str, Tokens]) -> Issued:
    return [(driver, sessions[driver.name]) for driver in DRIVERS if driver.name in sessions]


async def refreshed(http: aiohttp.ClientSession, sessions: dict[str, Tokens]) -> dict[str, Tokens]:
    return {
        driver.name: driver.tokens(await driver.refresh(http, sessions[driver.name].refresh_token))
        for driver in REFRESHING
    }


async def end_sessions(world: World, http: aiohttp.ClientSession, opened: dict[str, dict[str, Tokens]]) -> None:
    """End each kind of session in its own way, except the untouched and rotated ones."""
    for tokens in opened["logged out"].values():
        reply = await send(http, "DELETE", "/api/v1/sessions/current", bearer(tokens.access_token))
        assert reply.status == 204
    token = opened["new password"]["rfc6749"].access_token
    assert await change_password(http, world.members["new password"], token, NEW) == 204
    token = opened["deleted"]["rfc6749"].access_token
    path = f"/api/v1/users/{world.members['deleted'].id}"
    assert (await send(http, "DELETE", path, bearer(token))).status == 204
    await operations.users(world.stack, "disable", str(world.members["disabled"].id))
    spent = [tokens for _, tokens in world.ended if tokens.refresh_token][: len(REFRESHING)]
    for driver, tokens in zip(REFRESHING, spent, strict=True):
        assert_invalid_grant(driver, await driver.refresh(http, tokens.refresh_token))


async def change_password(http: aiohttp.ClientSession, member: Member, token: str, new: str) -> int:
    body = {"current_password": member.password, "password": new}
    return (await post_json(http, f"/api/v1/users/{member.id}/password", body, bearer(token))).status


async def logs_in(http: aiohttp.ClientSession, member: Member) -> bool:
    """True if this member can log in, which must be the same in every dialect."""
    replies = [(driver, await post_json(http, driver.path, member.request(driver))) for driver in DRIVERS]
    outcomes = {reply.status == driver.status for driver, reply in replies}
    assert len(outcomes) == 1
    return outcomes.pop()


async def assert_inactive(http: aiohttp.ClientSession, driver: Driver, token: str | None) -> None:
    reply = await post_json(http, "/oauth/introspect", {**driver.identity, "token": token})
    assert reply.json() == {"active": False} or reply.json()["error"] == "invalid_client", reply


async def assert_all_over(world: World, http: aiohttp.ClientSession) -> None:
    for driver, tokens in world.ended:
        await assert_refused(http, driver, tokens)
    for driver, tokens in world.of_disabled_clients:
        assert not await driver.accepts(http, tokens.access_token), driver.name
        if driver.refreshes:
            assert (await driver.refresh(http, tokens.refresh_token)).json()["error"].startswith("invalid_")
    for driver, tokens in [*world.ended, *world.of_disabled_clients]:
        if "client_secret" in driver.identity:
            await assert_inactive(http, driver, tokens.access_token)
            if tokens.refresh_token:
                await assert_inactive(http, driver, tokens.refresh_token)


async def assert_events_arrive(http: aiohttp.ClientSession, member: Member) -> Issued:
    """Check that a new password ends the other sessions and is accepted; returns the sessions that are still alive."""
    for new in (NEW, "a third password of fair length"):
        others = await member.log_in_everywhere(http)
        current = await member.log_in(http, RFC6749)
        assert await change_password(http, member, current.access_token, new) == 204
        for driver in DRIVERS:
            await assert_refused(http, driver, others[driver.name])
        assert await RFC6749.accepts(http, current.access_token)
        member = replace(member, password=new)
    return in_pairs(await member.log_in_everywhere(http))


@pytest.mark.parametrize("which", DUMPS)
async def test_after_a_restore_nothing_that_had_ended_is_accepted(world: World, which: str) -> None:
    """The same backup is restored repeatedly, over all changes made in between."""
    async with connected(world) as http:
        since = await new_member().sign_up(http)
        world.ids.add(since.id)
        world.ended += in_pairs(await since.log_in_everywhere(http))
        world.ended += in_pairs(await world.members["untouched"].log_in_everywhere(http))
    world.stack.stop()
    world.restore(DUMPS[which])
    world.start()

    users_are_older = which != "auth"
    async with connected(world) as http:
        await assert_all_over(world, http)
        assert await logs_in(http, since) is not users_are_older
        for kind in ("untouched", "rotated"):
            assert await logs_in(http, world.members[kind])
        for kind in ("new password", "disabled", "deleted"):
            assert await logs_in(http, world.members[kind]) is users_are_older, kind
        newcomer = await new_member().sign_up(http)
        assert newcomer.id not in world.ids
        world.ids.add(newcomer.id)
        for driver in DRIVERS:
            await assert_accepted(http, driver, await world.members["untouched"].log_in(http, driver))
        world.ended += await assert_events_arrive(http, world.members["logged out"])
        if which == "auth":
            await operations.users(world.stack, "enable", str(world.members["disabled"].id))
            await change_back(http, world)


async def change_back(http: aiohttp.ClientSession, world: World) -> None:
    """Restore the users' state for the next test: its member has the first password again."""
    member = replace(world.members["logged out"], password="a third password of fair length")
    token = (await member.log_in(http, RFC6749)).access_token
    assert await change_password(http, member, token, world.members["logged out"].password) == 204


async def test_a_restore_is_refused_while_the_services_run(world: World) -> None:
    done = world.backups("restore", world.backup)
    assert (done.returncode, done.stdout) == (1, "")
    assert "another stack is running" in done.stderr
    assert done.stderr.count("\n") == 1
    async with connected(world) as http:
        tokens = await world.members["untouched"].log_in(http, RFC6749)
        for name in ("auth", "users"):
            assert "is being accessed by other users" in await restored_by_hand(world, name)
        await assert_accepted(http, RFC6749, tokens)


async def restored_by_hand(world: World, name: str) -> str:
    """The errors of `pg_restore`, run as docs/handbook/backup.md says, while services are connected to the server."""
    programs = Path(world.stack.processes()["postgres"].exe()).parent
    url = world.stack.environment()["AUTH_DATABASE_URL"].replace("auth@/auth", "postgres@/postgres")
    process = await asyncio.create_subprocess_exec(
        *(str(programs / "pg_restore"), "--clean", "--if-exists", "--create", "--exit-on-error"),
        *(f"--dbname={url}", str(world.backup / f"{name}.dump")),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    return errors.decode()


def test_a_dump_is_for_its_owner_only(world: World) -> None:
    assert {path.name: path.stat().st_mode & 0o777 for path in world.backup.iterdir()} == {
        "auth.dump": 0o600,
        "users.dump": 0o600,
    }


def test_there_must_be_something_to_restore(world: World, tmp_path: Path) -> None:
    done = world.backups("restore", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"dev: {tmp_path}: there is neither auth.dump nor users.dump\n")
