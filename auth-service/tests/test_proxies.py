"""The samples for other proxies, run with the real programs: the requests they forward, and the answers they return."""

import asyncio
import contextlib
import re
from urllib.parse import urlsplit

import jwt
import pytest
from aiohttp import web
from yarl import URL

from servicekit.testing import ServiceServer

from .processes import free_port
from .proxies import PROXIES

# Many programs take each of these for X-Parley-Sub.
ODD = ("x-parley-sub", "X-PARLEY-SUB", "X-Parley-sub", "x_parley_sub", "X_Parley_Sub", "X-Parley_Sub", "X.Parley.Sub")
OF_CALLERS = ("X-Parley-Timeout",)


class Orders:
    """A company's own service behind the proxy, which records the requests it receives."""

    def __init__(self):
        self.requests = []

    async def handle(self, request):
        self.requests.append((request.raw_headers, await request.read()))
        return web.Response(status=int(request.query.get("status", "200")))

    def identity(self):
        """The identity headers of the only request, by the names that a lenient program gives them."""
        ((headers, _body),) = self.requests
        read = ((re.sub("[_.]", "-", name.decode().lower()), value.decode()) for name, value in headers)
        identity = [(name, value) for name, value in read if re.match("x-parley|authorization$", name)]
        assert len(dict(identity)) == len(identity)
        return dict(identity)


class Door:
    """A port that forwards to the port `target`. If that is None, nobody answers."""

    def __init__(self):
        self.port = free_port()
        self.target = None
        self._server = None
        self._writers = set()

    async def open(self, target):
        self.target = target
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def shut(self):
        """Refuse new connections and abort the existing ones."""
        self._server.close()
        self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader, writer):
        self._writers.add(writer)
        if self.target is None:
            return
        with contextlib.suppress(OSError):
            behind_reader, behind = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._copy(reader, behind), self._copy(behind_reader, writer))
        self._writers.discard(writer)

    @staticmethod
    async def _copy(reader, writer):
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
        writer.close()


class Behind:
    """A proxy in front of `orders`, which reaches auth-service through `door`."""

    def __init__(self, proxy, url, door, orders, service):
        self.proxy, self.url, self.door, self.orders, self.service = proxy, url, door, orders, service

    async def ask(self, *headers, method="GET", path="/orders/1?x=y", body=None):
        """Status, headers and body of the answer to a request with these headers, in this order."""
        url = URL(self.url + path, encoded=True)
        async with self.service.http.request(method, url, headers=list(headers), data=body) as response:
            return response.status, response.headers, await response.read()


@pytest.fixture(scope="module")
async def orders():
    return Orders()


@pytest.fixture(scope="module", params=PROXIES, ids=lambda proxy: proxy.program)
async def started(request, shared_service, orders, tmp_path_factory):
    proxy = request.param
    if proxy.path is None:
        pytest.skip(f"{proxy.program} is not installed")
    door, app = Door(), web.Application(client_max_size=2**20)
    app.add_routes([web.route("*", "/{path:.*}", orders.handle)])
    await door.open(urlsplit(shared_service.url).port)
    async with ServiceServer(app) as server:
        directory = tmp_path_factory.mktemp(proxy.program)
        async with proxy.started(directory, door.port, server.port) as proxy_url:
            yield Behind(proxy, proxy_url, door, orders, shared_service)
        await door.shut()


@pytest.fixture
async def behind(started, service):
    port = urlsplit(service.url).port
    started.orders.requests.clear()
    yield started
    if started.door.target != port:
        await started.door.shut()
        await started.door.open(port)


def bearer(token):
    return "Authorization", f"Bearer {token}"


async def facts_of(service, token):
    """The headers of a verdict on the token, by their names in lower case."""
    reply = await service.verify(token)
    return {name.lower(): value for name, value in reply.headers.items() if name.lower().startswith("x-parley-")}


async def assert_told(behind, token):
    """The service was told whom the token acts for, by the verdict alone."""
    told, wanted = behind.orders.identity(), await facts_of(behind.service, token)
    internal = jwt.decode(told.pop("authorization").removeprefix("Bearer "), options={"verify_signature": False})
    assert (internal["sub"], internal["aud"]) == (wanted["x-parley-sub"], "internal")
    assert 0 <= int(told.pop("x-parley-expires-in")) - int(wanted.pop("x-parley-expires-in")) < 60
    assert told == wanted


async def token_of(service, party, **parameters):
    return (await service.login(party, service.users.add(), **parameters)).access


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper"])
async def test_the_service_is_told_by_the_verdict_alone(behind, parties, dialect):
    """Tokens of rfc6749 have a scope here. Tokens of doorkeeper have none, so their verdict lacks that header."""
    token = await token_of(behind.service, parties[dialect])
    names = [*await facts_of(behind.service, await token_of(behind.service, parties["rfc6749"])), *ODD, *OF_CALLERS]
    forged = [(name, value) for name in names for value in ("1", "admin")]
    status, _headers, _body = await behind.ask(*forged, bearer(token), *forged)
    assert status == 200
    await assert_told(behind, token)


@pytest.mark.parametrize("lines", [["{}"], ["keep-alive, {}"], ["keep-alive", "{}"]])
async def test_a_client_takes_nothing_of_the_verdict_away(behind, parties, lines):
    """A header named in `Connection` is for one hop (RFC 9110 section 7.6.1): a proxy does not forward it."""
    token = await token_of(behind.service, parties["rfc6749"])
    names = ", ".join(await facts_of(behind.service, token))
    for listed in (names, names.upper(), names.replace(", ", ","), "X-Parley-Scope", "Authorization"):
        headers = [("Connection", line.format(listed)) for line in lines]
        status, _headers, _body = await behind.ask(bearer(token), *headers)
        assert status == 200 or (status == 401 and listed == "Authorization")
        if status == 200:
            await assert_told(behind, token)
        behind.orders.requests.clear()


async def test_a_client_that_acts_for_itself_is_no_user(behind, parties):
    login = await behind.service.token(parties["cubux"], "client_credentials", scope="SignUp")
    assert (await behind.ask(("X-Parley-Sub", "1"), bearer(login.access)))[0] == 200
    assert behind.orders.identity()["x-parley-sub"] == "client:MY_CLIENT_ID"
    await assert_told(behind, login.access)


@pytest.mark.parametrize("presented", [[], [bearer("garbage")], [bearer("0" * 64)], [("Authorization", "Basic Zm9v")]])
async def test_a_denial_reaches_the_client(behind, presented):
    accepted = ("Accept", "application/msgpack")
    denied = await behind.service.request("GET", "/verify-token", headers=[*presented, accepted])
    status, headers, body = await behind.ask(*presented, accepted, ("X-Parley-Sub", "1"))
    assert status == denied.status == 401
    assert headers.getall("WWW-Authenticate") == [denied.headers["WWW-Authenticate"]]
    if behind.proxy.relays_denials:
        assert (headers["Content-Type"], body) == (denied.headers["Content-Type"], denied.body)
    assert not behind.orders.requests


async def test_two_tokens_are_none(behind, parties):
    token = bearer(await token_of(behind.service, parties["cubux"]))
    assert (await behind.ask(token, bearer("garbage")))[0] in (400, 401)
    assert (await behind.ask(token, token))[0] in (400, 401)
    assert not behind.orders.requests


async def test_a_body_passes_and_is_no_token(behind, parties):
    token = await token_of(behind.service, parties["cubux"])
    body = b'{"token": "' + token.encode() + b'"}'
    kind = ("Content-Type", "application/json")
    assert (await behind.ask(kind, method="POST", body=body))[0] == 401
    assert not behind.orders.requests
    for method in ("POST", "PUT", "DELETE"):
        assert (await behind.ask(kind, bearer(token), method=method, body=body * 1000))[0] == 200
        assert behind.orders.requests.pop()[1] == body * 1000


async def test_nobody_is_let_in_or_logged_out_while_auth_service_is_away(behind, parties):
    token = bearer(await token_of(behind.service, parties["cubux"]))
    await behind.door.shut()
    refused = await behind.ask(token)
    await behind.door.open(target=None)
    silent = await behind.ask(token)
    assert [(answer[0], answer[1].get("Retry-After")) for answer in (refused, silent)] == [(503, "1")] * 2
    assert not behind.orders.requests


async def test_what_auth_service_cannot_tell_is_503(behind, parties, cut_off_service, relay):
    token = bearer(await token_of(behind.service, parties["cubux"]))
    await behind.door.shut()
    await behind.door.open(urlsplit(cut_off_service.url).port)
    await relay.cut()
    status, headers, _body = await behind.ask(token)
    assert (status, headers.get("Retry-After")) == (503, "1")
    assert not behind.orders.requests


async def test_a_failure_of_the_service_itself_reaches_the_client(behind, parties):
    token = bearer(await token_of(behind.service, parties["cubux"]))
    for status in (401, 403, 404, 500, 503):
        assert (await behind.ask(token, path=f"/orders/1?status={status}"))[0] == status


@pytest.mark.parametrize("headers", [[(f"X-{number}", "x") for number in range(300)], [("X-Long", "x" * 7000)] * 20])
async def test_many_headers_are_no_failure_of_ours(behind, parties, headers):
    token = bearer(await token_of(behind.service, parties["cubux"]))
    for presented in (token, bearer("garbage")):
        assert (await behind.ask(presented, *headers))[0] in (200, 400, 401, 431)


async def test_a_token_that_is_too_long_is_no_failure_of_ours(behind):
    for length in (7000, 15_000, 30_000):
        assert (await behind.ask(bearer("x" * length)))[0] in (400, 401, 431)


@pytest.mark.parametrize("path", ["/" + "x" * 7000, "/x?y=" + "z" * 9000, "/x" * 150, "/%2e%2e/%00", "//x//"])
async def test_an_odd_path_is_no_failure_of_ours(behind, parties, path):
    """Envoy sends the path with its question to auth-service."""
    token = bearer(await token_of(behind.service, parties["cubux"]))
    assert (await behind.ask(token, path=path))[0] in (200, 400, 404, 414)
    assert (await behind.ask(bearer("garbage"), path=path))[0] in (400, 401, 404, 414)
    assert len(behind.orders.requests) <= 1
