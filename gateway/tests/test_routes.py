"""The route table: its paths can be reached from outside, and nothing else."""

import pytest

ORDINARY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TOKEN_PATHS = (
    "/oauth/token",
    "/oauth2/token",
    "/oauth/revoke",
    "/oauth/introspect",
    "/api/oauth/access-token/v1/",
    "/api/oauth/157/verify-token/v1/",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
)
VERIFIED = (
    ("GET", "/api/v1/sessions", "auth"),
    ("DELETE", "/api/v1/sessions", "auth"),
    ("DELETE", "/api/v1/sessions/00000000000000aa", "auth"),
    ("DELETE", "/api/v1/sessions/current", "auth"),
    ("POST", "/api/v1/users", "users"),
    ("GET", "/api/v1/users", "users"),
    ("GET", "/api/v1/users?after=5&limit=2", "users"),
    ("GET", "/api/v1/users/me", "users"),
    ("GET", "/api/v1/users/157", "users"),
    ("HEAD", "/api/v1/users/157", "users"),
    ("GET", "/api/v1/users/157?null=", "users"),
    ("PATCH", "/api/v1/users/157", "users"),
    ("DELETE", "/api/v1/users/157", "users"),
    ("POST", "/api/v1/users/157/password", "users"),
)
UNREACHABLE = (
    "/",
    "/verify-token",
    "/verify-token/",
    "/verify-token/oauth/token",
    "/verify-token?x=/oauth/token",
    "/Verify-Token",
    "/verify%2Dtoken",
    "/%76erify-token",
    "/internal/credentials/check",
    "/internal/credentials/account",
    "/internal/events",
    "/%69nternal/events",
    "/metrics",
    "/healthz",
    "/readyz",
    "/re%61dyz",
    "/api",
    "/api/v1/users/",
    "/api/v1/users/0x1",
    "/api/v1/users/1%30",
    "/api/v1/users/12345678901234567890",
    "/api/v1/users/157/role",
    "/api/v1/users/me/password",
    "/API/V1/USERS/157",
    "/api/v1/sessions/157",
    "/api/v1/sessions/00000000000000AA",
    "/oauth/token/",
    "/oauth/token/x",
    # No path in the table needs encoding, so an encoded one is valid but not found.
    "/o%61uth/token",
    "/a%20b",
    "/%E4%BD%A0",
    "/api/oauth/verify-token/v1/",
    "/api/oauth/me/verify-token/v1/",
    "/api/oauth/1/verify-token/v1",
    "/x/oauth/token",
)


@pytest.mark.parametrize("path", TOKEN_PATHS)
@pytest.mark.parametrize("method", ORDINARY)
async def test_a_token_path_passes_every_ordinary_method(gateway, method, path):
    answer = await gateway.request(method, path, token=None)
    assert answer.status == 200
    assert [message.start for message in gateway.auth.received] == [f"{method} {path} HTTP/1.1"]
    assert gateway.users.received == []


@pytest.mark.parametrize(("method", "target", "upstream"), VERIFIED)
async def test_a_resource_is_reached_with_a_token(gateway, method, target, upstream):
    answer = await gateway.request(method, target)
    assert answer.status == 200
    backends = {"auth": gateway.auth, "users": gateway.users}
    assert [message.start for message in backends.pop(upstream).requests] == [f"{method} {target} HTTP/1.1"]
    assert [backend.requests for backend in backends.values()] == [[]]


@pytest.mark.parametrize("target", UNREACHABLE)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_else_is_there(gateway, method, target):
    answer = await gateway.request(method, target)
    assert answer.status == 404
    assert answer.json()["error"] == "not_found"
    assert gateway.nothing_sent()


async def test_a_query_chooses_no_route(gateway):
    gateway.auth.judges(401)
    answer = await gateway.request("GET", "/api/v1/users/me?x=/oauth/token", token=None)
    assert answer.status == 401
    assert gateway.users.received == gateway.auth.requests == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/v1/sessions", "GET, HEAD, DELETE"),
        ("GET", "/api/v1/sessions/current", "DELETE"),
        ("DELETE", "/api/v1/users", "POST, GET, HEAD"),
        ("OPTIONS", "/api/v1/users", "POST, GET, HEAD"),
        ("PATCH", "/api/v1/users/me", "GET, HEAD"),
        ("PUT", "/api/v1/users/157", "GET, HEAD, PATCH, DELETE"),
        ("GET", "/api/v1/users/157/password", "POST"),
    ],
)
async def test_an_unknown_method_of_a_resource_is_answered_here(gateway, method, path, allow):
    answer = await gateway.request(method, path)
    assert answer.status == 405
    assert answer.get("Allow") == allow
    assert gateway.nothing_sent()


@pytest.mark.parametrize("target", ["/oauth/token", "/api/v1/users/157", "/nowhere"])
@pytest.mark.parametrize("method", ["TRACE", "PROPFIND"])
async def test_a_method_out_of_the_ordinary_is_answered_here(gateway, method, target):
    message = await gateway.refuses(gateway.bytes(method, target, ("Authorization", "Bearer secret")), 405)
    assert "GET" in message.get("Allow")
    assert b"secret" not in message.body


@pytest.mark.parametrize("target", ["127.0.0.1:8081", "auth-service:80"])
async def test_connect_opens_no_tunnel(gateway, target):
    await gateway.refuses(gateway.bytes("CONNECT", target), 405)


async def test_options_of_the_server_is_answered_here(gateway):
    answer = await gateway.request("OPTIONS", "*", token=None)
    assert answer.status == 204
    assert "POST" in answer.get("Allow")
    assert gateway.nothing_sent()


async def test_an_error_speaks_messagepack_to_who_asks_for_it(gateway):
    answer = await gateway.request("GET", "/nowhere", ("Accept", "application/msgpack"))
    assert answer.get("Content-Type") == "application/msgpack"
    assert b"\xa5error\xa9not_found" in answer.body
