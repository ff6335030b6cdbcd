"""CORS: pages of the configured origins may call the API and read the gateway's errors; others may not."""

import pytest

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"
ORIGIN = "https://app.example"
NAMES = ("Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers")


@pytest.fixture
async def open_gateway(start_gateway):
    return await start_gateway(cors_origins=f"{ORIGIN}, http://localhost:3000")


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
@pytest.mark.parametrize("target", [ME, TOKEN, "/api/v1/users/157?x=1"])
async def test_a_preflight_is_answered_here(open_gateway, origin, target):
    headers = (("Origin", origin), ("Access-Control-Request-Method", "PATCH"))
    answer = await open_gateway.request("OPTIONS", target, *headers, token=None)
    assert answer.status == 204
    assert answer.get("Access-Control-Allow-Origin") == origin
    assert "PATCH" in answer.get("Access-Control-Allow-Methods").split(", ")
    assert {"authorization", "content-type"} <= set(answer.get("Access-Control-Allow-Headers").lower().split(", "))
    assert answer.get("Vary") == "Origin"
    assert answer.get("Access-Control-Allow-Credentials") is None
    assert open_gateway.nothing_sent()


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil-app.example",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://APP.example",
        "https://app.example/",
        "*",
        "",
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
async def test_no_other_origin_is_allowed(open_gateway, origin, method):
    headers = (("Origin", origin), ("Access-Control-Request-Method", "GET"))
    answer = await open_gateway.request(method, ME, *headers)
    assert all(not name.startswith("access-control-") for name in answer.names)
    assert answer.get("Vary") == "Origin"


async def test_an_upstream_does_not_say_who_may_call(open_gateway):
    open_gateway.users.answers(200, b"x", ("Access-Control-Allow-Origin", "*"), ("Vary", "Accept"))
    answer = await open_gateway.request("GET", ME, ("Origin", ORIGIN))
    assert answer.get("Access-Control-Allow-Origin") == ORIGIN
    assert answer.all("Vary") == ["Accept", "Origin"]
    assert "Retry-After" in answer.get("Access-Control-Expose-Headers")


async def test_errors_can_be_read_by_the_page(open_gateway):
    origin = ("Origin", ORIGIN)

    async def sees(status, method, target, *headers, **more):
        answer = await open_gateway.request(method, target, origin, *headers, **more)
        assert (answer.status, answer.get("Access-Control-Allow-Origin")) == (status, ORIGIN)

    await sees(404, "GET", "/nowhere")
    await sees(405, "DELETE", "/api/v1/users")
    await sees(413, "PATCH", "/api/v1/users/157", body=bytes(64 * 1024 + 1))
    await sees(400, "GET", ME, ("Authorization", "Bearer a b"), token=None)
    open_gateway.auth.allows(scope="Other")
    await sees(403, "GET", ME)
    open_gateway.auth.judges(401, b"words")
    await sees(401, "GET", ME)
    open_gateway.auth.judges(503)
    await sees(503, "GET", ME)


async def test_without_origins_nothing_is_said_of_any(gateway):
    headers = (("Origin", ORIGIN), ("Access-Control-Request-Method", "GET"))
    answer = await gateway.request("GET", ME, *headers)
    assert "vary" not in answer.names
    assert (await gateway.request("OPTIONS", ME, *headers)).status == 405
    assert (await gateway.request("OPTIONS", TOKEN, *headers)).status == 200
    assert [message.method for message in gateway.auth.requests] == ["OPTIONS"]
