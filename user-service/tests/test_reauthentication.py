"""A token alone does not suffice to change login names or roles, delete a user or set another user's password."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import asyncpg
import msgpack
import msgspec
import pytest

PASSWORD = "correct horse battery"
PASSWORDS = {"somebody": PASSWORD, "admin": "trumpet oyster gravel"}
NEW = "a completely new one"
OLD = 302  # the age in seconds of a login that no longer counts as recent
CHALLENGE = r'Bearer error="insufficient_user_authentication", error_description="[^"]+", max_age=300'
WAITING = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
HERE, ELSEWHERE = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
MSGPACK = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


class Request(NamedTuple):
    """A request about the user `somebody`, and its sender."""

    who: str
    method: str
    path: str
    body: dict[str, Any]


RENAME = Request("somebody", "PATCH", "", {"user": {"email": "taken-over@x.com"}})
DELETE = Request("somebody", "DELETE", "", {})
RESET = Request("admin", "POST", "/password", {"password": NEW})
EVERY = [RENAME, DELETE, RENAME._replace(who="admin"), DELETE._replace(who="admin"), RESET]
every = pytest.mark.parametrize("asked", EVERY, ids=lambda asked: f"{asked.who} {asked.method}")


class Somebody:
    """A user and an administrator, and the requests that each of them sends."""

    def __init__(self, service: Any, ids: dict[str, int]) -> None:
        self.service = service
        self.ids = ids

    async def ask(
        self,
        asked: Request,
        login_age: int | None = OLD,
        password: str | None = None,
        *,
        dialect: str = "cubux",
        packed: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Any:
        token = self.service.issuer.token(str(self.ids[asked.who]), login_age=login_age, dialect=dialect)
        body = asked.body | ({"current_password": password} if password is not None else {})
        sent = dict(headers or {}) | (MSGPACK if packed else {"Content-Type": "application/json"})
        data = (msgpack.packb(body) if packed else msgspec.json.encode(body)) if body else None
        path = f"/api/v1/users/{self.ids['somebody']}{asked.path}"
        return await self.service.request(asked.method, path, data=data, headers=sent, token=token)

    async def untouched(self) -> bool:
        rows = await self.service.rows("SELECT FROM users WHERE email IS NULL AND epoch = 0 AND username = 'somebody'")
        logs_in = await self.service.check("somebody", PASSWORD) is not None
        return len(rows) == 1 and logs_in and not await self.service.events()


async def added(service: Any) -> Somebody:
    users = {name: await service.add(PASSWORDS[name], username=name, role=role) for name, role in ROLES.items()}
    return Somebody(service, {name: user.id for name, user in users.items()})


ROLES: Any = {"somebody": "default", "admin": "admin"}


@pytest.fixture
async def somebody(service: Any) -> Somebody:
    return await added(service)


@every
async def test_a_login_is_proof_for_five_minutes(somebody: Somebody, asked: Request) -> None:
    refused = await somebody.ask(asked)
    assert refused.status == 403
    assert refused.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert refused.json["error"] == "insufficient_user_authentication"
    assert "current_password" in refused.json["detail"]
    assert "log in again" in refused.json["detail"]
    assert "WWW-Authenticate" not in refused.headers
    assert await somebody.untouched()
    async with somebody.service.acknowledging():
        assert (await somebody.ask(asked, login_age=290)).status in (200, 204)
    assert not await somebody.untouched()


@pytest.mark.parametrize(
    ("asked", "packed"),
    [*((asked, False) for asked in EVERY), (RENAME, True), (DELETE, True), (RESET, True)],
    ids=lambda given: "MessagePack" if given is True else "JSON" if given is False else f"{given.who} {given.method}",
)
async def test_the_current_password_is_proof_and_a_wrong_one_is_refused(
    somebody: Somebody, asked: Request, packed: bool
) -> None:
    [others] = PASSWORDS.keys() - {asked.who}
    for login_age in (0, OLD):
        wrong = await somebody.ask(asked, login_age, PASSWORDS[others], packed=packed)
        assert wrong.status == 403
        problem = msgpack.unpackb(wrong.body) if packed else wrong.json
        assert problem["detail"] == "current_password is not your own password"
        assert "WWW-Authenticate" not in wrong.headers
    assert await somebody.untouched()
    async with somebody.service.acknowledging():
        assert (await somebody.ask(asked, password=PASSWORDS[asked.who], packed=packed)).status in (200, 204)
    assert not await somebody.untouched()


@every
async def test_a_client_of_the_standard_is_challenged(somebody: Somebody, asked: Request) -> None:
    for password in (None, "not the password"):
        reply = await somebody.ask(asked, password=password, dialect="rfc6749")
        assert reply.status == 403
        assert re.fullmatch(CHALLENGE, reply.headers["WWW-Authenticate"])
        assert f'"{reply.json["detail"]}"' in reply.headers["WWW-Authenticate"]


@every
async def test_while_auth_service_does_not_tell_when_somebody_logged_in_the_password_is_needed(
    somebody: Somebody, asked: Request
) -> None:
    """The previous version of auth-service does not state it."""
    reply = await somebody.ask(asked, login_age=None)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
    assert await somebody.untouched()
    async with somebody.service.acknowledging():
        assert (await somebody.ask(asked, login_age=None, password=PASSWORDS[asked.who])).status in (200, 204)


@pytest.mark.parametrize("who", ["somebody", "admin"])
@pytest.mark.parametrize("login_age", [OLD, None])
async def test_a_change_that_changes_nothing_needs_no_proof(
    somebody: Somebody, who: str, login_age: int | None
) -> None:
    same = {"user": {"username": "somebody", "email": None}}
    assert (await somebody.ask(RENAME._replace(who=who, body=same), login_age)).status == 200
    assert await somebody.untouched()


@pytest.mark.parametrize("asked", [RENAME, DELETE], ids=lambda asked: asked.method)
async def test_proof_of_a_password_that_changes_meanwhile_is_worth_nothing(somebody: Somebody, asked: Request) -> None:
    owner = await asyncpg.connect(somebody.service.database_url)
    try:
        async with owner.transaction():
            await owner.execute("UPDATE users SET epoch = epoch + 1, updated_at = now() WHERE username = 'somebody'")
            asking = asyncio.create_task(somebody.ask(asked, 0))
            async with asyncio.timeout(5):
                while not await somebody.service.rows(WAITING):  # noqa: ASYNC110 - PostgreSQL has no event for it
                    await asyncio.sleep(0.01)
    finally:
        await owner.close()
    assert (await asking).status == 409
    assert len(await somebody.service.rows("SELECT FROM users WHERE username = 'somebody' AND email IS NULL")) == 1


async def test_a_stolen_token_of_an_administrator_promotes_nobody(somebody: Somebody) -> None:
    promotion = RENAME._replace(who="admin", body={"user": {"role": "admin"}})
    assert (await somebody.ask(promotion, 302)).status == 403
    assert await somebody.untouched()
    async with somebody.service.acknowledging():
        promoted = await somebody.ask(promotion, 0)
    assert (promoted.status, promoted.json["role"]) == (200, "admin")


@every
async def test_wrong_passwords_use_up_the_budget_of_password_changes(start: Callable[..., Any], asked: Request) -> None:
    service = await start(throttle_exempt="", throttle_password_pair="6/hour")  # without Redis, half of it
    somebody = await added(service)
    replies = [await somebody.ask(asked, password=f"guess {number}", headers=HERE) for number in range(5)]
    assert [reply.status for reply in replies] == [403] * 3 + [429] * 2
    before = (await service.request("GET", "/stats")).json["counters"]["passwords hashed"]
    right = await somebody.ask(asked, password=PASSWORDS[asked.who], headers=HERE)
    assert (right.status, right.body) == (429, replies[-1].body)
    own = {"current_password": PASSWORDS[asked.who], "password": NEW}
    acting = somebody.ids[asked.who]
    changed = await service.request("POST", f"/api/v1/users/{acting}/password", own, user=acting, headers=HERE)
    assert changed.status == 429
    assert (await service.request("GET", "/stats")).json["counters"]["passwords hashed"] == before
    assert await somebody.untouched()
    async with service.acknowledging():
        assert (await somebody.ask(asked, password=PASSWORDS[asked.who], headers=ELSEWHERE)).status in (200, 204)


async def no_chunks() -> AsyncIterator[bytes]:
    """A body that is sent without a length and turns out to be empty."""
    for chunk in ():
        yield chunk


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b'{"password": "x"}', {}, 422),
        (b'{"current_password": 1}', {}, 422),
        (b'"x"', {}, 400),
        (b"x", {}, 400),
        (b"\x80", {}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}" + b" " * 65_536, {}, 413),
        (b"{}", {}, 204),
        (b"\x80", MSGPACK, 204),
        (b'{"current_password": null}', {}, 204),
        (b"", {}, 204),
        (no_chunks, {"Content-Type": "text/plain"}, 204),
    ],
)
async def test_a_deletion_may_have_a_body_that_can_be_read(
    somebody: Somebody, data: Any, headers: dict[str, str], status: int
) -> None:
    user, sent = somebody.ids["somebody"], data() if callable(data) else data
    async with somebody.service.acknowledging():
        reply = await somebody.service.request("DELETE", f"/api/v1/users/{user}", data=sent, headers=headers, user=user)
    assert reply.status == status
    assert (status == 204) != await somebody.untouched()


async def test_an_administrator_sets_a_password_which_ends_every_session(somebody: Somebody) -> None:
    service = somebody.service
    async with service.acknowledging():
        reply = await somebody.ask(RESET, login_age=0)
    assert (reply.status, reply.body) == (204, b"")
    assert await service.check("somebody", PASSWORD) is None
    assert (await service.check("somebody", NEW))["epoch"] == 1
    unconfirmed = await somebody.ask(RESET, login_age=0)
    assert (unconfirmed.status, unconfirmed.headers["Retry-After"]) == (503, "1")
    [event] = await service.events()
    assert (event["type"], event["epoch"], event["keep_session"]) == ("sessions_ended", 2, None)
    async with service.acknowledging():
        assert (await somebody.ask(RESET, login_age=0)).status == 204
    short = await somebody.ask(RESET._replace(body={"password": "somebody"}), login_age=0)
    assert (short.status, short.faulty_fields) == (422, {"password"})
    token = service.issuer.token(str(somebody.ids["admin"]))
    nobody = await service.request("POST", "/api/v1/users/987654321/password", {"password": NEW}, token=token)
    assert nobody.status == 404


async def test_an_administrator_s_own_password_is_changed_by_who_knows_it(somebody: Somebody) -> None:
    path, admin = f"/api/v1/users/{somebody.ids['admin']}/password", somebody.ids["admin"]
    reply = await somebody.service.request("POST", path, {"password": NEW}, user=admin)
    assert (reply.status, reply.faulty_fields) == (422, {"current_password"})
    assert await somebody.service.check("admin", PASSWORDS["admin"]) is not None


async def test_of_two_passwords_set_at_once_one_holds(somebody: Somebody) -> None:
    news = ["the first marmalade jar", "the second marmalade jar"]
    async with somebody.service.acknowledging():
        resets = (somebody.ask(RESET._replace(body={"password": new}), login_age=0) for new in news)
        replies = await asyncio.gather(*resets)
    assert sorted(reply.status for reply in replies) == [204, 409]
    winner = news[[reply.status for reply in replies].index(204)]
    assert [new for new in news if await somebody.service.check("somebody", new)] == [winner]
