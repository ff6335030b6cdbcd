"""Request targets are forwarded byte for byte, and refused if two programs could read them differently."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EXACT = (
    "/api/v1/users/157?",
    "/api/v1/users/157??",
    "/api/v1/users/157?a=%2B&b=+&c=%27&d=%zz&e=a%20b",
    "/api/v1/users/157?%41=%41&%e4=%E4&x=..%2f../&y=//&z=\\",
    "/api/v1/users/157?next=http://evil.example/?q=%25",
    "/api/v1/users/157?a=b?c=d/./../e;f",
    "/api/v1/users/157?'\"<>{}|^`[]",
    "/api/v1/users/157?&&=&=%",
)
REFUSED = (
    "/public/../verify-token",
    "/oauth/token/..",
    "/..",
    "/.",
    "/./oauth/token",
    "/oauth/./token",
    "/oauth/%2e%2e/verify-token",
    "/oauth/%2E%2e/verify-token",
    "/oauth/.%2e/verify-token",
    "/oauth/%2e/token",
    "/oauth/..%2fverify-token",
    "/oauth/..%2Fverify-token",
    "/oauth/%252e%252e/verify-token",
    "/oauth%2ftoken",
    "/oauth%2Ftoken",
    "/oauth%252ftoken",
    "/healthz/../api/v1/users/me",
    "/oauth/token%25",
    "//verify-token",
    "///oauth/token",
    "//evil.example/oauth/token",
    "/oauth//token",
    "/oauth/token//",
    "/oauth\\token",
    "/oauth%5ctoken",
    "/oauth%5Ctoken",
    "/oauth/token;x=1",
    "/oauth/token%3bx",
    "/oauth/token%3Bx",
    "/oauth/..;/verify-token",
    "/oauth/token%00",
    "/oauth/token%0d%0aX:%20y",
    "/oauth/token%7f",
    "/oauth/token%C2%80",
    "/oauth/token%09",
    "/oauth/token%23",
    "/oauth/token%3f",
    "/oauth/token#fragment",
    "/oauth/token?q#fragment",
    "/verify-token#/oauth/token",
    "/oauth/token%",
    "/oauth/token%2",
    "/oauth/token%zz",
    "/oauth/token%ff",
    "/oauth/token%c0%ae",
    "/oauth/%c0%ae%c0%ae/verify-token",
    "/oauth/token%ed%a0%80",
    "/oauth/token%e4%bd",
    "/oauth/tokén",
    "/oauth/token?é",
    "/oauth/<token>",
    "/oauth/{token}",
    "/oauth/token|",
    "/oauth/token^",
    "http://api.example/oauth/token",
    "http://evil.example/oauth/token",
    "HTTP://evil.example/oauth/token",
    "https://api.example/oauth/token",
    "ftp://api.example/oauth/token",
    "http://user:password@api.example/oauth/token",
    "http://169.254.169.254/latest/meta-data",
    "http://a:99999/",
    "http://[::1/",
    "http://a:443:443/",
    "http:///oauth/token",
    "oauth/token",
    "api.example:80",
    "?x",
    "*",
)
_QUERY = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40)
_PIECES = st.lists(
    st.sampled_from(
        (
            *(
                "/oauth/token",
                "/api/v1/users",
                "/",
                "//",
                ".",
                "..",
                "%2e",
                "%2F",
                "%5c",
                "\\",
                ";",
                "%3B",
                "%25",
                "%00",
            ),
            *("%", "%zz", "%c0%ae", "%41", "#", "?", "*", "oauth", "token", "verify-token", "internal", "api", "v1"),
            *("users", "157", "a", "http:", "evil", "é"),
        )
    ),
    max_size=8,
)


@pytest.mark.parametrize("target", EXACT)
async def test_a_target_goes_on_byte_for_byte(gateway, target):
    await gateway.request("GET", target)
    assert [message.target for message in gateway.users.requests] == [target]


@settings(max_examples=150, deadline=None)
@given(query=_QUERY)
async def test_any_query_goes_on_byte_for_byte(shared_gateway, query):
    gateway = shared_gateway
    gateway.auth.reset()
    target = f"/oauth/token?{query}"
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", target))
        assert (await connection.response()).status == 200
    assert [message.target for message in gateway.auth.received] == [target]


@settings(max_examples=200, deadline=None)
@given(pieces=_PIECES)
async def test_no_path_leads_out_of_the_public_api(shared_gateway, pieces):
    gateway = shared_gateway
    gateway.auth.reset()
    gateway.users.reset()
    target = "".join(pieces) or "/"
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("POST", target))
        status = (await connection.response()).status
    public = target.partition("?")[0] in ("/oauth/token", "/api/v1/users")
    assert status == 200 if public else status in (400, 404, 405)
    assert [message.target for message in gateway.auth.received + gateway.users.received] == [target] * public


@pytest.mark.parametrize("target", REFUSED)
async def test_an_ambiguous_target_is_refused(gateway, target):
    message = await gateway.refuses(gateway.bytes("POST", target))
    assert message.get("Content-Type").startswith("application/problem+json")
    assert b"evil" not in message.body
    assert b"password" not in message.body


async def test_an_over_long_target_is_not_echoed(gateway):
    message = await gateway.refuses(gateway.bytes("GET", "/" + "secret" * 2000), 414)
    assert b"secret" not in message.body
