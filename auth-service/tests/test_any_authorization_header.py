"""`/verify-token` answers every Authorization header with 200 or 401, all that nginx's auth_request knows."""

import asyncio
from urllib.parse import urlsplit

import pytest


async def raw_statuses(service, *requests: bytes) -> list[int]:
    """The status of each request, sent as these bytes on its own connection."""

    async def send(request: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.url).port)
        writer.write(request)
        status_line = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        return int(status_line.split()[1])

    return await asyncio.gather(*(send(request) for request in requests))


def asking(*headers: bytes) -> bytes:
    lines = [b"GET /verify-token HTTP/1.1", b"Host: auth", *headers]
    return b"\r\n".join([*lines, b"", b""])


@pytest.fixture
async def token(service, parties):
    return (await service.login(parties["cubux"], service.users.add())).access.encode()


async def test_the_scheme_may_be_spelled_in_any_case(service, token):
    headers = [
        b"Authorization: Bearer ",
        b"authorization: bearer ",
        b"AUTHORIZATION: BEARER ",
        b"Authorization:Bearer ",
    ]
    assert await raw_statuses(service, *(asking(header + token) for header in headers)) == [200] * 4


async def test_whatever_else_stands_there_is_denied(service, token):
    values = [b"", b" ", b"Bearer", b"Bearer ", b"Bearer  " + token, b"Bearer\t" + token, b"Bearer " + token + b", x"]
    values += [b"Bearer " + token + b" x", b"Bearer " + token + b"\t", b"Bearer=" + token, b"Token " + token, token]
    values += [
        b"Bearer " + b"\xff" * 40,
        b"Bearer " + "é".encode(),
        b"Bearer " + b"a.b.c",
        b"Bearer ..",
        b"Basic",
        b",",
    ]
    values += [b"Bearer " + token.upper(), b"Bearer %00", b'Bearer "' + token + b'"', b"Bearer " + b"." * 8000]
    values += [b"Bearer " + b"a" * 8000, b"Bearer " + b"a" * 9 * 1024, b"Bearer " + b"a" * 15 * 1024]
    wanted = [401] * len(values)
    wanted[8] = 200  # trailing white space is not part of a header's value (RFC 9110 section 5.5)
    assert await raw_statuses(service, *(asking(b"Authorization: " + value) for value in values)) == wanted


async def test_two_headers_are_none(service, token):
    good = b"Authorization: Bearer " + token
    others = [good, b"Authorization: Bearer x", b"Authorization: Basic Zm9vOmJhcg==", b"Authorization:"]
    requests = [asking(*pair) for other in others for pair in ((good, other), (other, good))]
    assert await raw_statuses(service, *requests) == [401] * len(requests)


async def test_a_token_anywhere_else_is_not_looked_at(service, token):
    query = asking(b"Cookie: access_token=" + token).replace(b"/verify-token", b"/verify-token?access_token=" + token)
    aliases = [
        asking(name + b": Bearer " + token) for name in (b"X-Authorization", b"Proxy-Authorization", b"Authorization_")
    ]
    assert await raw_statuses(service, query, *aliases) == [401] * 4


async def test_a_proxy_has_to_limit_what_it_sends(service, token):
    good = b"Authorization: Bearer " + token
    most = [good, *(b"X-%d: x" % number for number in range(126))]  # plus Host
    assert await raw_statuses(service, asking(*most), asking(*most, b"X: x"), asking(b"X: " + b"x" * 17_000)) == [
        200,
        400,
        400,
    ]
