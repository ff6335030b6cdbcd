"""Bad requests to every public endpoint are refused in its own words, without an echo, and nothing is written."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import hdrs

from drivers import BONGO, DRIVERS, RFC6749, TOKEN_PATHS, Driver, assert_problem
from exchange import FORM, JSON, Reply, bearer, send
from faults import BODY_FAULTS, FORM_FAULTS, MARKER, Fault
from people import Administrator, Person, signed_up

OAUTH_STATUSES = {"unreadable": 400, "text": 400, "type": 400, "large": 413, "encoding": 415, "field": 400}
API_STATUSES = {"unreadable": 400, "text": 422, "type": 415, "large": 413, "encoding": 415, "field": 422}


@dataclass(frozen=True)
class Endpoint:
    """A target for request bodies, with members that are valid there. `fields` are the required ones.

    `driver` speaks for a token endpoint; `words` is the dialect of errors when the client is not identified.
    `watched` names what would change if the request were obeyed. `World.at` fills in the placeholders in braces.
    """

    name: str
    target: str
    members: dict[str, Any]
    fields: tuple[str, ...]
    watched: str
    words: Driver | None = RFC6749
    driver: Driver | None = None
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    statuses: dict[str, int] = field(default_factory=lambda: OAUTH_STATUSES)
    forms: bool = True

    @property
    def inside(self) -> dict[str, Any]:
        """The members to test; the user API nests them in another one."""
        inside: dict[str, Any] = self.members.get("user", self.members)
        return inside

    def changed(self, name: str, value: Any) -> dict[str, Any]:
        """The members with another value for a field, or without the field if the value is None."""
        changed = {key: value if key == name else kept for key, kept in self.inside.items()}
        if value is None:
            del changed[name]
        return {"user": changed} if "user" in self.members else changed

    def assert_refused(self, reply: Reply, kind: str) -> None:
        words = self.driver if kind == "field" and self.driver else self.words
        if kind == "framing":  # without a clear end, a request goes no further than the gateway
            assert assert_problem(reply, 400)["error"] == "invalid_request"
        elif words is None:
            assert_problem(reply, self.statuses[kind])
        else:
            words.assert_error(reply, self.statuses[kind], "invalid_request")
        reply.assert_silent_about(MARKER, *(text for text in self.inside.values() if len(text) > len("password")))


def _token_endpoints() -> Iterator[Endpoint]:
    for driver in DRIVERS:
        for path in TOKEN_PATHS:
            members = driver.password_request(**({} if path == driver.path else driver.identity))
            fields = ("grant_type", *driver.login)
            yield Endpoint(f"{driver.name} at {path}", path, members, fields, driver.name, driver=driver)


TOKEN_ENDPOINTS = tuple(_token_endpoints())
MANAGEMENT_ENDPOINTS = tuple(
    Endpoint(path, path, {**RFC6749.identity, "token": "{token}"}, ("token",), "rfc6749")
    for path in ("/oauth/revoke", "/oauth/introspect")
)
VERIFICATION = Endpoint(
    "bongo verify",
    "/api/oauth/{id}/verify-token/v1/",
    {"access_token": "{token}"},
    (),
    "bongo",
    words=BONGO,
    statuses=OAUTH_STATUSES | {"type": 415},
    forms=False,
)
USER_ENDPOINTS = tuple(
    Endpoint(name, target, members, fields, "users", None, method=name.split()[0], statuses=API_STATUSES, forms=False)
    for name, target, members, fields in (
        (
            "POST user",
            "/api/v1/users",
            {"user": {"email": "new@example.com", "password": "long enough"}},
            ("password",),
        ),
        ("PATCH user", "/api/v1/users/{id}", {"user": {"username": "changed"}}, ()),
        (
            "POST password",
            "/api/v1/users/{id}/password",
            {"current_password": "a long enough password", "password": "another password"},
            ("current_password", "password"),
        ),
    )
)
FORM_ENDPOINTS = (*TOKEN_ENDPOINTS, *MANAGEMENT_ENDPOINTS)
ENDPOINTS = (*FORM_ENDPOINTS, VERIFICATION, *USER_ENDPOINTS)

named = {"ids": lambda endpoint: endpoint.name}
by_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, **named)


class World:
    """The state that must not change: the sessions of the users that log in here, and all users."""

    def __init__(self, http: aiohttp.ClientSession, person: Person, tokens: dict[str, str], bongo_id: int) -> None:
        self._http = http
        self._tokens = tokens
        self._bongo_id = bongo_id
        self._before: dict[str, bytes] = {}
        self.person = person

    async def note(self) -> None:
        self._before = {name: await self._state(name) for name in self._tokens}

    async def changed(self, watched: str) -> bool:
        """True if the state has changed since the last check."""
        before, self._before[watched] = self._before[watched], await self._state(watched)
        return before != self._before[watched]

    async def _state(self, watched: str) -> bytes:
        users = f"/api/v1/users?after={self.person.id - 1}"
        path = users if watched == "users" else "/api/v1/sessions"
        reply = await send(self._http, "GET", path, bearer(self._tokens[watched]))
        assert reply.status == 200, reply
        return reply.body

    def at(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with ids and tokens of this world; requests to the user API are the person's own."""
        token = self._tokens[endpoint.watched]
        members = {name: token if text == "{token}" else text for name, text in endpoint.members.items()}
        ids = {"users": self.person.id, "bongo": self._bongo_id}
        target = endpoint.target.replace("{id}", str(ids.get(endpoint.watched)))
        headers = tuple(bearer(self._tokens["person"]).items()) if endpoint.watched == "users" else ()
        return replace(endpoint, target=target, members=members, headers=headers)

    async def send(self, endpoint: Endpoint, content_type: str | None, body: Any, query: str = "") -> Reply:
        typed = [] if content_type is None else [(hdrs.CONTENT_TYPE, content_type)]
        return await send(self._http, endpoint.method, endpoint.target + query, [*endpoint.headers, *typed], body)

    async def send_fault(self, endpoint: Endpoint, fault: Fault) -> Reply:
        sent = fault.make(endpoint.members)
        return await send(self._http, endpoint.method, endpoint.target, [*endpoint.headers, *sent.headers], sent.body)


@pytest.fixture(scope="module")
async def world(client: aiohttp.ClientSession, administrator: Administrator) -> AsyncIterator[World]:
    async with signed_up(client, administrator) as person:
        tokens = {driver.name: (await driver.log_in(client)).access_token for driver in DRIVERS}
        tokens["users"] = await administrator.token()
        tokens |= {"person": (await RFC6749.log_in(client, **person.login)).access_token}
        bongo_id = (await BONGO.me(client, tokens["bongo"])).json()["id"]
        world = World(client, person, tokens, bongo_id)
        await world.note()
        yield world
        assert (await RFC6749.log_in(client, **person.login)).access_token


@by_endpoint
async def test_body_that_cannot_be_read(world: World, endpoint: Endpoint) -> None:
    endpoint = world.at(endpoint)
    for fault in (*BODY_FAULTS, *(FORM_FAULTS if endpoint.forms else ())):
        endpoint.assert_refused(await world.send_fault(endpoint, fault), fault.kind)
    if not endpoint.forms:
        form = urlencode({"note": MARKER, **endpoint.members})
        endpoint.assert_refused(await world.send(endpoint, FORM, form), "type")
    assert not await world.changed(endpoint.watched)


@by_endpoint
async def test_field_of_another_type_empty_or_missing(world: World, endpoint: Endpoint) -> None:
    endpoint = world.at(endpoint)
    for name in endpoint.inside:
        reply = await world.send(endpoint, JSON, json.dumps(endpoint.changed(name, [MARKER])))
        endpoint.assert_refused(reply, "unreadable" if name == "client_id" else "field")
    for name in endpoint.fields:
        for value in (None, ""):
            members = endpoint.changed(name, value)
            reply = await world.send(endpoint, JSON, json.dumps(members))
            endpoint.assert_refused(reply, "field")
            if endpoint.forms:
                reply = await world.send(endpoint, FORM, urlencode(members))
                endpoint.assert_refused(reply, "field")
    assert not await world.changed(endpoint.watched)


@pytest.mark.parametrize("endpoint", FORM_ENDPOINTS, **named)
async def test_field_in_the_query(world: World, endpoint: Endpoint) -> None:
    """A field in addition to the body or instead of it: the query may hold only `grant_type`, and only once in all."""
    endpoint = world.at(endpoint)
    secret = endpoint.fields[-1]
    in_query = {secret: endpoint.members[secret], "grant_type": "password"}
    members = json.dumps({**endpoint.members, secret: None})
    endpoint.assert_refused(
        await world.send(endpoint, JSON, members, "?" + urlencode({secret: in_query[secret]})), "field"
    )
    form = urlencode({"grant_type": "password", **endpoint.members})
    for name, value in in_query.items():
        endpoint.assert_refused(await world.send(endpoint, FORM, form, "?" + urlencode({name: value})), "field")
    assert not await world.changed(endpoint.watched)


@pytest.mark.parametrize("endpoint", [*TOKEN_ENDPOINTS, VERIFICATION], **named)
async def test_the_same_without_a_fault_is_obeyed(world: World, endpoint: Endpoint) -> None:
    """This proves that each refusal above is for the fault alone, and that a write would have been noticed."""
    endpoint = world.at(endpoint)
    reply = await world.send(endpoint, JSON, json.dumps({**endpoint.members, "note": MARKER}))
    assert reply.status == (endpoint.driver.status if endpoint.driver else 200)
    assert await world.changed(endpoint.watched) == bool(endpoint.driver)
