"""A client's Authorization header: its syntax, and that its value never appears in a log or an answer."""

import pytest

ME = "/api/v1/users/me"
CHALLENGE = 'Bearer realm="parley"'


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  s3cr3t",
        "Bearer s3cr3t s3cr3t",
        "Bearer s3cr3t,s3cr3t",
        "Bearer s3cr3t,",
        "Bearer\ts3cr3t",
        "Bearer s3cr3t\ts",
        "Bearer,s3cr3t",
        "bearer =s3cr3t",
        "Bearer s3cr3t=x",
        'Bearer "s3cr3t"',
        "Bearer s3cr3té",
        "Bearer s3cr3t\udcff",
        "Bearer " + "s3cr3t" * 700,
        '"s3cr3t"',
        "Bearer: s3cr3t",
    ],
)
async def test_a_malformed_bearer_is_refused(gateway, value):
    answer = await gateway.request("GET", ME, ("Authorization", value), token=None)
    assert answer.status == 400
    assert answer.json()["error"] == "invalid_request"
    assert answer.get("WWW-Authenticate") in (f'{CHALLENGE}, error="invalid_request"', None)
    assert answer.get("Cache-Control") == "no-store"
    assert b"s3cr3t" not in answer.body
    assert gateway.nothing_sent()


@pytest.mark.parametrize("value", ["Bearer s3cr3t\x01", "Bearer s3cr3t\x7f", "Bearer s3cr3t\x00", "Bearer\x0bs3cr3t"])
async def test_a_control_character_is_refused(gateway, value):
    message = await gateway.refuses(gateway.bytes("GET", ME, ("Authorization", value)))
    assert b"s3cr3t" not in message.body


async def test_an_over_long_header_is_not_echoed(gateway):
    message = await gateway.refuses(gateway.bytes("GET", ME, ("Authorization", "Bearer " + "s3cr3t" * 2000)), 431)
    assert b"s3cr3t" not in message.body


@pytest.mark.parametrize("path", [ME, "/oauth/token", "/api/v1/users"])
@pytest.mark.parametrize("other", ["Bearer good", "Bearer other", "Basic YTpi", ""])
@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION"])
async def test_two_authorization_headers_are_refused(gateway, path, other, name):
    answer = await gateway.request("POST" if path != ME else "GET", path, (name, other))
    assert answer.status == 400
    assert answer.json()["error"] == "invalid_request"
    assert gateway.nothing_sent()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_case_insensitive(gateway, scheme):
    answer = await gateway.request("GET", ME, ("Authorization", f"{scheme} good"), token=None)
    assert answer.status == 200
    assert gateway.auth.questions[0].get("Authorization") == f"{scheme} good"


@pytest.mark.parametrize("length", [4096, 4097])
async def test_a_token_has_4096_characters_at_the_most(gateway, length):
    answer = await gateway.request("GET", ME, token="x" * length)
    assert answer.status == (200 if length == 4096 else 400)


@pytest.mark.parametrize("value", [None, "Basic YTpi", "Digest username=x", "Negotiate abc==", "Bearerx good"])
@pytest.mark.parametrize(("method", "path"), [("GET", ME), ("DELETE", "/api/v1/sessions")])
async def test_without_a_bearer_token_auth_service_words_the_challenge(gateway, method, path, value):
    gateway.auth.judges(401, b"words", ("WWW-Authenticate", CHALLENGE))
    headers = [("Authorization", value)] if value is not None else []
    answer = await gateway.request(method, path, *headers, token=None)
    assert (answer.status, answer.get("WWW-Authenticate"), answer.body) == (401, CHALLENGE, b"words")
    assert [question.get("Authorization") for question in gateway.auth.questions] == [None]
    assert gateway.auth.requests == gateway.users.requests == []


@pytest.mark.parametrize("query", ["access_token=good", "a=b&access_token=good", "access%5Ftoken=good", "access_token"])
async def test_a_token_in_header_and_query_is_refused(gateway, query):
    answer = await gateway.request("GET", f"{ME}?{query}")
    assert answer.status == 400
    assert answer.json()["error"] == "invalid_request"
    assert gateway.nothing_sent()


async def test_a_token_in_the_query_alone_is_no_token(gateway):
    gateway.auth.judges(401, b"", ("WWW-Authenticate", CHALLENGE))
    answer = await gateway.request("GET", f"{ME}?access_token=good", token=None)
    assert answer.status == 401
    assert gateway.auth.questions[0].get("Authorization") is None


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (("Cookie", "access_token=good"), b""),
        (("Content-Type", "application/x-www-form-urlencoded"), b"access_token=good"),
        (("X-Authorization", "Bearer good"), b""),
        (("Proxy-Authorization", "Bearer good"), b""),
    ],
)
async def test_a_token_elsewhere_is_no_token(gateway, header, body):
    gateway.auth.judges(401, b"", ("WWW-Authenticate", CHALLENGE))
    answer = await gateway.request("POST", "/api/v1/users/157/password", header, token=None, body=body)
    assert answer.status == 401
    assert gateway.auth.questions[0].get("Authorization") is None
    assert gateway.users.received == []


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer x y", "Bearer", "anything at all", None])
async def test_a_token_path_gets_the_header_as_it_is(gateway, value):
    headers = [("Authorization", value)] if value is not None else []
    await gateway.request("POST", "/oauth/token?access_token=x", *headers, token=None)
    assert [message.get("Authorization") for message in gateway.auth.received] == [value]
