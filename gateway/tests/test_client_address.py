"""The client's address behind proxies, and that a client cannot forge it."""

import asyncio
import contextlib

import pytest

from gateway.messages.client_address import MOST_HOPS
from gateway.settings import Settings
from wire import Connection, request_bytes, until

TOKEN = "/oauth/token"
ME = "/api/v1/users/me"
TRUSTED = "127.0.0.1, ::1, 10.0.0.0/8, 2001:db8:1::/48"
PROXY, STRANGER = "127.0.0.1", "127.0.0.9"
CLIENT = "203.0.113.7"
FORGED = tuple(
    (name, "1.2.3.4")
    for name in ("X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP", "Client-IP")
)


@pytest.fixture
async def behind(start_gateway):
    """A gateway that trusts some proxies, including 127.0.0.1."""
    return await start_gateway(trusted_proxies=TRUSTED)


@contextlib.asynccontextmanager
async def _connected(port, local="127.0.0.1", host="127.0.0.1"):
    connection = Connection(*await asyncio.open_connection(host, port, local_addr=(local, 0)))
    with contextlib.closing(connection):
        yield connection


async def _told(gateway, *headers, local=PROXY, host="127.0.0.1"):
    """The client's address that an upstream is told for a request with these headers."""
    async with _connected(gateway.port, local, host) as connection:
        await connection.send(request_bytes("GET", TOKEN, *headers))
        assert (await connection.response()).status == 200
    return gateway.auth.requests[-1]


def _chain(*lines):
    return [("X-Forwarded-For", line) for line in lines]


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([CLIENT], CLIENT),
        ([f"1.2.3.4, {CLIENT}"], CLIENT),
        ([f"1.2.3.4,{CLIENT} ,\t10.1.2.3"], CLIENT),
        ([f"10.9.9.9, {CLIENT}, 10.1.2.3, 2001:db8:1::5"], CLIENT),
        (["1.2.3.4", CLIENT], CLIENT),
        ([f"1.2.3.4, {CLIENT}", "10.0.0.1", "10.0.0.2"], CLIENT),
        ([CLIENT, "1.2.3.4"], "1.2.3.4"),
        (["10.0.0.2, 10.0.0.1"], "10.0.0.2"),
        ([], PROXY),
    ],
)
async def test_the_client_is_the_right_most_who_is_not_trusted(behind, lines, client):
    message = await _told(behind, *_chain(*lines))
    assert message.get("X-Forwarded-For") == client
    assert message.get("Forwarded") == f'for={client};proto=http;host="api.example"'
    assert message.get("X-Forwarded-Host") == "api.example"


@pytest.mark.parametrize(
    ("entry", "client"),
    [
        (f"{CLIENT}:4711", CLIENT),
        (f'"{CLIENT}:4711"', CLIENT),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"[::FFFF:{CLIENT}]:4711", CLIENT),
        ("::ffff:cb00:7107", CLIENT),
        ("2001:DB8:0::8", "2001:db8::8"),
        ("[2001:db8::8]", "2001:db8::8"),
        ("[2001:db8::8]:4711", "2001:db8::8"),
        ('"[2001:db8::8]:4711"', "2001:db8::8"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:80", "fe80::1"),
        ("[fe80::1%25eth0]", "fe80::1"),
    ],
)
@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
async def test_ports_zones_brackets_and_quotes_say_no_more(behind, name, entry, client):
    quoted = entry if entry[0] == '"' else f'"{entry}"'
    said = f"{entry}, [::ffff:10.0.0.1]:80" if name == "X-Forwarded-For" else f'for={quoted}, For="10.0.0.1:80"'
    message = await _told(behind, (name, said))
    assert message.get("X-Forwarded-For") == client
    node = f'"[{client}]"' if ":" in client else client
    assert message.get("Forwarded") == f'for={node};proto=http;host="api.example"'


GARBAGE = (
    *("None", "unknown", "_hidden", "", '"', '""', "1.2.3", "1.2.3.400", "01.2.3.4", "1.2.3.4.5", "1.2.3.4:", "1"),
    *(
        "1.2.3.4:123456",
        "1.2.3.4/32",
        "1.2.3.4 5.6.7.8",
        "1.2.3.4;",
        '"1.2.3.4',
        "[1.2.3.4]",
        "1.2.3.4%eth0",
        "a::b::c",
    ),
    *("[::1", "::1]", "[::1]80", "::1%", "::g", "fe80::1%a b", "::ffff:1.2.3.4:80", "é", "x" * 5000, ":" * 5000),
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize(("right", "client"), [("", PROXY), (", 10.0.0.1", "10.0.0.1"), (f", {CLIENT}", CLIENT)])
async def test_a_chain_is_believed_up_to_what_is_garbage(behind, garbage, right, client):
    message = await _told(behind, *_chain(f"9.9.9.9, {garbage}{right}"))
    assert message.get("X-Forwarded-For") == client


async def test_of_a_long_chain_no_more_than_a_bound_is_read(behind):
    hops = [f"10.0.{number // 250}.{number % 250}" for number in range(500)]
    message = await _told(behind, *_chain(", ".join([CLIENT, *hops])))
    assert message.get("X-Forwarded-For") == hops[-MOST_HOPS]
    message = await _told(behind, *_chain(", ".join([*hops, CLIENT, *hops[1:MOST_HOPS]])))
    assert message.get("X-Forwarded-For") == CLIENT


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([f"for={CLIENT}"], CLIENT),
        ([f"by=10.0.0.3; FOR={CLIENT} ;proto=https;host=evil.example"], CLIENT),
        ([f"for=1.2.3.4, for={CLIENT};proto=http, for=10.0.0.1"], CLIENT),
        (["for=1.2.3.4", f'for="{CLIENT}:80"', 'for="[2001:db8:1::9]"'], CLIENT),
        (["for=1.2.3.4, for=unknown, for=10.0.0.1"], "10.0.0.1"),
        (["for=1.2.3.4, by=10.0.0.1"], PROXY),
        (["for=1.2.3.4;for=5.6.7.8"], PROXY),
        ([CLIENT], PROXY),
        (["for=2001:db8::8"], PROXY),
        (["for=1.2.3.4;"], PROXY),
        # A client's stray quote neither hides what a proxy has added after it nor is read as more than that.
        (['for="1.2.3.4', f"for={CLIENT}"], CLIENT),
        ([f'for={CLIENT};host="a, for=1.2.3.4"'], PROXY),
        ([f'for={CLIENT};host="a, for=1.2.3.4;b=\\""'], PROXY),
        ([f'for={CLIENT};host="\\", for=1.2.3.4;b=\\"c"'], PROXY),
    ],
)
async def test_where_there_is_no_other_chain_that_of_forwarded_is_read(behind, lines, client):
    message = await _told(behind, *[("Forwarded", line) for line in lines])
    assert message.get("X-Forwarded-For") == client
    assert message.get("Forwarded") == f'for={client};proto=http;host="api.example"'


@pytest.mark.parametrize(("given", "client"), [(CLIENT, CLIENT), ("", PROXY), ("None", PROXY)])
async def test_of_two_chains_one_is_read(behind, given, client):
    message = await _told(behind, ("Forwarded", "for=1.2.3.4"), *_chain(given))
    assert message.get("X-Forwarded-For") == client


@pytest.mark.parametrize("local", [PROXY, STRANGER])
async def test_what_else_is_said_of_a_client_changes_nothing(behind, local):
    message = await _told(behind, *FORGED, ("X-Forwarded-Host", "evil.example"), ("X_Forwarded_For", "1"), local=local)
    assert message.get("X-Forwarded-For") == local
    assert message.get("X-Forwarded-Host") == "api.example"
    assert all("1.2.3.4" not in value for _, value in message.headers)


async def test_a_stranger_says_nothing_about_itself(behind):
    said = (*_chain("1.2.3.4"), ("Forwarded", "for=1.2.3.4;proto=https"), ("X-Forwarded-Proto", "https"))
    message = await _told(behind, *FORGED, *said, local=STRANGER)
    assert message.get("X-Forwarded-For") == STRANGER
    assert message.get("Forwarded") == f'for={STRANGER};proto=http;host="api.example"'
    assert message.get("X-Forwarded-Proto") == "http"


@pytest.mark.parametrize(
    ("given", "scheme"),
    [(["https"], "https"), (["http"], "http"), ([], "http")]
    + [([given], "http") for given in ("HTTPS", "wss", "https, http", "https,https", "", '"https"')]
    + [(["https", "https"], "http")],
)
async def test_a_proxy_says_how_the_client_came(behind, given, scheme):
    message = await _told(behind, *_chain(CLIENT), *[("X-Forwarded-Proto", value) for value in given])
    assert message.get("X-Forwarded-Proto") == scheme
    assert message.get("Forwarded") == f'for={CLIENT};proto={scheme};host="api.example"'


async def test_each_request_of_a_proxys_connection_has_its_own_client(behind):
    clients = (CLIENT, "203.0.113.8", PROXY, CLIENT)
    async with behind.connect() as connection:
        for client in clients:
            lines = _chain(client) if client != PROXY else ()
            await connection.send(request_bytes("GET", ME, ("Authorization", "Bearer good"), *lines))
            assert (await connection.response()).status == 200
    assert [message.get("X-Forwarded-For") for message in behind.users.requests] == list(clients)


async def test_an_address_of_ipv6_is_written_as_each_header_wants_it(start_gateway):
    gateway = await start_gateway(host="::1")
    message = await _told(gateway, *_chain(CLIENT), local="::1", host="::1")
    assert message.get("X-Forwarded-For") == "::1"
    assert message.get("Forwarded") == 'for="[::1]";proto=http;host="api.example"'


async def test_a_trusted_proxy_may_come_over_ipv6(start_gateway):
    gateway = await start_gateway(host="::1", trusted_proxies=TRUSTED)
    message = await _told(gateway, *_chain(CLIENT), local="::1", host="::1")
    assert message.get("X-Forwarded-For") == CLIENT


@pytest.mark.parametrize(("host", "said"), [("api.example:8080", '"api.example:8080"'), ("[::1]:80", '"[::1]:80"')])
async def test_a_host_is_told_as_it_was_asked_for(behind, host, said):
    async with behind.connect() as connection:
        await connection.send(f"GET {TOKEN} HTTP/1.1\r\nHost: {host}\r\n\r\nGET {TOKEN} HTTP/1.0\r\n\r\n".encode())
        await connection.rest()
    first, second = behind.auth.requests
    assert (first.get("Forwarded"), first.get("X-Forwarded-Host")) == (f"for={PROXY};proto=http;host={said}", host)
    assert (second.get("Forwarded"), second.get("X-Forwarded-Host")) == (f"for={PROXY};proto=http", None)


async def test_a_proxys_connections_are_not_counted_as_one_clients(start_gateway):
    gateway = await start_gateway(connections_per_address=1, trusted_proxies=TRUSTED)
    async with contextlib.AsyncExitStack() as stack:
        for local in (PROXY, PROXY, PROXY, STRANGER):
            held = await stack.enter_async_context(_connected(gateway.port, local))
            await held.send(request_bytes("GET", TOKEN))
            assert (await held.response()).status == 200
        for number in range(5):
            turned_away = await stack.enter_async_context(_connected(gateway.port, STRANGER))
            await turned_away.send(request_bytes("GET", TOKEN, *_chain(f"10.0.0.{number}"), *FORGED))
            assert (await turned_away.response()).status == 503
    assert gateway.counter("refused_connections_of_address") == 5
    await until(lambda: gateway.serving.statuses()[0]["connections"] == 0)
    assert (await _told(gateway, local=STRANGER)).get("X-Forwarded-For") == STRANGER


async def test_proxies_may_be_none_or_have_commas_to_spare(start_gateway):
    for trusted, client in (("", PROXY), (" , ", PROXY), (f",{PROXY}/32,", CLIENT)):
        gateway = await start_gateway(trusted_proxies=trusted)
        assert (await _told(gateway, *_chain(CLIENT))).get("X-Forwarded-For") == client


@pytest.mark.parametrize(
    "faulty",
    [
        *(
            "proxy.example",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/",
            "10.0.0",
            "10.0.0.1 10.0.0.2",
        ),
        *("0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "2001:db8::1/32", "fe80::1%eth0", "[::1]", "10.0.0.1:80"),
    ],
)
def test_what_is_no_proxy_is_refused_at_start(faulty):
    with pytest.raises(ValueError, match=r"trusted_proxies\n.*at place 2") as refused:
        Settings(trusted_proxies=f"10.0.0.1, {faulty}, ::1")
    assert faulty not in str(refused.value).replace("such as 10.0.0.0/8", "").replace("but /0", "")
