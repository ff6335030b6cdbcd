"""Headers in both directions: those that are dropped, those that are added, and those that stay unchanged."""

import re

import pytest

from gateway.messages import request
from gateway.messages.headers import Names
from gateway.messages.parser import RequestHead

ME = "/api/v1/users/me"
HOP_BY_HOP = (
    ("Connection", "close"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authenticate", "Basic"),
    ("Proxy-Authorization", "Basic YTpi"),
    ("TE", "trailers"),
    ("Trailer", "X-User-Id"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
)
CLAIMS = (
    *("X-User-Id", "X-User-Roles", "X-Auth-User", "X-Auth-Request-Email", "X-Parley-Sub", "X-Parley-Scope"),
    *("X-Internal-Token", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method"),
    *("X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-User", "X-Forwarded-Client-Cert"),
    *("X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-Original-Host", "True-Client-IP", "CF-Connecting-IP"),
    *("X-Client-IP", "X-Cluster-Client-IP", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"),
    *("Remote-User", "X-Remote-User", "X-WEBAUTH-USER", "X-Accel-Redirect", "Cookie"),
)
ROUTES = (("POST", "/oauth/token", "auth"), ("GET", ME, "users"), ("POST", "/api/v1/users", "users"))
SAID_BY_GATEWAY = {
    *("host", "x-request-id", "x-parley-timeout"),
    *("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"),
}


@pytest.fixture(params=ROUTES, ids=lambda route: route[1])
def sent(request, gateway):
    """Call with headers to get the request that an upstream receives, for each kind of route."""
    method, path, name = request.param
    backend = {"auth": gateway.auth, "users": gateway.users}[name]

    async def send(*headers, token=None if method == "POST" else "good"):
        assert (await gateway.request(method, path, *headers, token=token)).status == 200
        return backend.requests[-1]

    return send


@pytest.mark.parametrize("header", HOP_BY_HOP, ids=lambda header: header[0])
async def test_hop_by_hop_headers_stay_here(sent, header):
    assert header[0].lower() not in (await sent(header)).names


@pytest.mark.parametrize("name", CLAIMS)
async def test_a_client_says_nothing_about_itself_that_only_the_gateway_knows(sent, name):
    spellings = (name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "."), name)
    message = await sent(*((spelling, "admin") for spelling in spellings), (name, ""))
    assert "admin" not in [value for _, value in message.headers]
    assert name.lower() not in {given.replace("_", "-").replace(".", "-") for given in message.names}


async def test_where_a_request_came_from_is_said_by_the_connection(sent):
    forged = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")]
    forged.append(("Forwarded", "for=1.2.3.4;proto=https;host=evil.example"))
    message = await sent(*forged, *forged, ("X_Forwarded_For", "1.2.3.4"), ("X-Real-IP", "1.2.3.4"))
    assert message.get("Forwarded") == 'for=127.0.0.1;proto=http;host="api.example"'
    assert message.get("X-Forwarded-For") == "127.0.0.1"
    assert message.get("X-Forwarded-Proto") == "http"
    assert message.get("X-Forwarded-Host") == "api.example"
    assert message.get("Host").startswith("127.0.0.1:")


# Without trusted proxies, the peer is taken for the client.
@pytest.mark.parametrize(
    "given", ["1.2.3.4, " * 500 + "5.6.7.8", "fe80::1%eth0", "1.2.3.4:80", "None, 1.2.3.4", '"', ""]
)
async def test_what_is_said_to_stand_behind_a_client_is_not_passed_on(sent, given):
    message = await sent(("X-Forwarded-For", given), ("Forwarded", f'for="{given}"'))
    assert message.get("X-Forwarded-For") == "127.0.0.1"
    assert message.get("Forwarded") == 'for=127.0.0.1;proto=http;host="api.example"'


async def test_how_long_an_answer_is_waited_for_is_not_the_clients_to_say(sent):
    spellings = ("X-Parley-Timeout", "x-parley-timeout", "X_Parley_Timeout", "X.Parley.Timeout")
    message = await sent(*((name, "3600") for name in spellings), ("Connection", "x-parley-timeout"))
    assert message.get("X-Parley-Timeout") == "30"
    assert "3600" not in [value for _, value in message.headers]


@pytest.mark.parametrize(
    ("seconds", "said"), [(3600, "3600"), (10, "10"), (0.25, "0.25"), (1.23456, "1.235"), (0.0001, "0.001")]
)
async def test_upstreams_are_told_how_long_an_answer_is_waited_for(start_gateway, seconds, said):
    gateway = await start_gateway(read_timeout=seconds)
    async with gateway.connect() as connection:
        await connection.send(gateway.bytes("GET", "/oauth/token"))
        assert (await gateway.auth.arrival()).get("X-Parley-Timeout") == said


@pytest.mark.parametrize("connection", ["X-Custom", "close, x-custom", "keep-alive,\tX-CUSTOM ,"])
async def test_nominated_headers_stay_here(sent, connection):
    message = await sent(("Connection", connection), ("X-Custom", "a"), ("X-Other", "b"))
    assert "x-custom" not in message.names
    assert message.get("X-Other") == "b"


@pytest.mark.parametrize("form", [str, str.upper, str.title])
async def test_what_the_gateway_says_cannot_be_nominated_away(gateway, form):
    names = [form(name) for name in ("close", "authorization", "x-request-id", "x-forwarded-for", "content-length")]
    headers = [("Connection", ", ".join(names[:2])), ("Connection", ", ".join([*names[2:], form("forwarded")]))]
    await gateway.request("POST", "/api/v1/users", *headers, body=b"{}")
    message = gateway.users.requests[0]
    assert message.get("Authorization") == "Bearer internal.token.157"
    assert message.get("X-Forwarded-For") == "127.0.0.1"
    assert message.get("Forwarded") is not None
    assert message.get("X-Request-Id") is not None
    assert message.body == b"{}"


async def test_nothing_is_invented(sent):
    message = await sent()
    assert message.names - {"authorization", "content-length"} == SAID_BY_GATEWAY


async def test_everything_else_goes_on_as_it_came(sent):
    headers = (
        ("Accept", "a/b;q=0.5"),
        ("accept", "*/*"),
        ("Accept-Encoding", "br, gzip"),
        ("User-Agent", 'x/1 (";,é)'),
        ("X-Custom", ""),
        ("X-Custom", "second"),
        ("If-None-Match", '"a", W/"b"'),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    message = await sent(*headers)
    expected = [(name.lower(), value) for name, value in headers]
    assert [
        header for header in ((name.lower(), value) for name, value in message.headers) if header in expected
    ] == expected


@pytest.mark.parametrize("name", ["X-Custom", "Authorization", "Cookie", "Accept"])
async def test_a_header_that_is_not_utf8_is_refused(gateway, name):
    await gateway.refuses(gateway.bytes("POST", "/oauth/token", (name, "a\udcff")))


@pytest.mark.parametrize("value", ["Bearer good ", "\t Bearer good \t"])
async def test_space_around_a_value_is_no_part_of_it(gateway, value):
    assert (await gateway.request("GET", ME, ("Authorization", value), token=None)).status == 200
    assert gateway.auth.questions[0].get("Authorization") == "Bearer good"


@pytest.mark.parametrize("name", ["Content-Type", "User-Agent", "Content-Range"])
async def test_a_header_that_there_is_one_of_is_not_given_twice(gateway, name):
    await gateway.refuses(gateway.bytes("POST", "/oauth/token", (name, "a/b"), (name.lower(), "c/d")))


@pytest.mark.parametrize("given", ["abcdefgh", "0f8fad5b-d9cb-469f-a165-70867728950e"])
async def test_a_request_id_travels(gateway, given):
    answer = await gateway.request("GET", ME, ("X-Request-Id", given))
    ids = [message.get("X-Request-Id") for message in gateway.auth.received + gateway.users.received]
    assert [answer.get("X-Request-Id"), *ids] == [given] * 3


@pytest.mark.parametrize("given", ["short", "x" * 65, "a b c d e f g", "abcdefgh;x", "{abcdefgh}", ""])
@pytest.mark.parametrize("target", [ME, "/nowhere"])
async def test_a_malformed_request_id_is_replaced(gateway, given, target):
    answer = await gateway.request("GET", target, ("X-Request-Id", given))
    assert answer.get("X-Request-Id") not in (None, given)
    ids = {message.get("X-Request-Id") for message in gateway.auth.received + gateway.users.received}
    assert ids <= {answer.get("X-Request-Id")}


async def test_response_headers_keep_order_and_number(gateway):
    headers = (
        ("Set-Cookie", "a=1"),
        ("Link", "</a>"),
        ("Set-Cookie", "b=2; Path=/"),
        ("WWW-Authenticate", "Basic"),
        ("WWW-Authenticate", 'Bearer realm="parley"'),
        ("ETag", 'W/"x"'),
        ("Content-Type", "text/html;charset=utf-8"),
        ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
    )
    gateway.users.answers(200, b"x", *headers)
    answer = await gateway.request("GET", ME)
    assert [header for header in answer.headers if header in headers] == list(headers)


@pytest.mark.parametrize(
    "header",
    [
        *HOP_BY_HOP[1:],
        ("Server", "Python/3.11 aiohttp/3.14"),
        ("X-Powered-By", "Python"),
        ("X-User-Id", "1"),
        ("X-Parley-Sub", "1"),
        ("x-parley-timeout", "30"),
        ("Authorization", "Bearer internal.token.157"),
        ("Forwarded", "for=10.0.0.7"),
        ("X-Forwarded-For", "10.0.0.7"),
        ("X-Forwarded-Client-Cert", "By=spiffe://inside"),
        ("X-Accel-Redirect", "/internal"),
        ("Access-Control-Allow-Origin", "*"),
        ("X-Request-Id", "of-the-upstream"),
    ],
    ids=lambda header: header[0],
)
async def test_response_headers_of_the_inside_stay_here(gateway, header):
    gateway.users.answers(200, b"x", header)
    answer = await gateway.request("GET", ME)
    assert answer.status == 200
    assert header not in answer.headers


async def test_a_reason_is_not_passed_on(gateway):
    async def script(_message, _reader, writer):
        writer.write(b"HTTP/1.1 201 xxx\x01xxx\r\nContent-Length: 0\r\n\r\n")

    gateway.users.script = script
    assert (await gateway.request("GET", ME)).start == "HTTP/1.1 201 Created"


async def test_an_upstream_that_closes_does_not_close_the_clients_connection(gateway):
    gateway.users.answers(200, b"x", ("Connection", "close"))
    async with gateway.connect() as connection:
        for _ in range(2):
            await connection.send(gateway.bytes("GET", ME, ("Authorization", "Bearer good")))
            assert (await connection.response()).get("Connection") is None


async def test_nominated_response_headers_stay_here(gateway):
    gateway.users.answers(200, b"x", ("Connection", "X-Custom, x-request-id"), ("X-Custom", "a"), ("X-Other", "b"))
    answer = await gateway.request("GET", ME)
    assert (answer.get("X-Custom"), answer.get("X-Other")) == (None, "b")
    assert answer.get("X-Request-Id") is not None


@pytest.mark.parametrize("value", ["a\udcff", "a\x01b"])
async def test_a_response_header_that_cannot_be_sent_is_no_answer(gateway, value):
    gateway.users.answers(200, b"secret", ("X-Custom", value))
    answer = await gateway.request("GET", ME)
    assert answer.status == 502
    assert b"secret" not in answer.body


async def test_a_response_without_a_content_type_stays_so(gateway):
    gateway.users.answers(200, b"x")
    answer = await gateway.request("GET", ME)
    assert answer.get("Content-Type") is None
    assert answer.get("Server") is None


async def test_a_cookie_of_one_user_is_not_sent_for_another(gateway):
    gateway.users.answers(200, b"", ("Set-Cookie", "session=a; Path=/"))
    gateway.auth.allows(sub="1")
    await gateway.request("GET", ME, token="a")
    gateway.auth.allows(sub="2")
    await gateway.request("GET", ME, token="b")
    assert all("cookie" not in message.names for message in gateway.users.requests + gateway.auth.received)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/internal/events", "http://169.254.169.254/"])
async def test_a_redirect_is_relayed_and_not_followed(gateway, status, location):
    gateway.auth.answers(status, b"", ("Location", location))
    answer = await gateway.request("POST", "/oauth/token", token=None)
    assert (answer.status, answer.get("Location")) == (status, location)
    assert len(gateway.auth.received) == 1


@pytest.mark.parametrize("token", [None, "good"])
async def test_what_was_answered_to_one_user_is_not_cached_for_all(gateway, token):
    gateway.users.answers(200, b"{}", ("ETag", '"a"'))
    answer = await gateway.request("POST", "/api/v1/users", token=token)
    assert answer.get("Cache-Control") == ("private" if token else None)
    gateway.users.answers(200, b"{}", ("Cache-Control", "no-store"))
    assert (await gateway.request("POST", "/api/v1/users", token=token)).get("Cache-Control") == "no-store"


def test_what_is_remembered_of_names_is_bounded():
    names = Names(re.compile(b"x-drop-.*"), frozenset(), frozenset(), lower=True)
    assert names[b"X-" + b"x" * 8000][0]
    for number in range(10_000):
        assert names[b"X-Drop-%d" % number] == (b"", b"")
        assert names[b"X-Pass-%d" % number] == (b"x-pass-%d: " % number, b"")
        request.Request(RequestHead(b"GET / HTTP/1.1\r\nHost: host-%d\r\n\r\n" % number))
    assert len(names) < 5_000
    assert max(map(len, names)) < 100
    assert len(request._HOSTS) < 100
