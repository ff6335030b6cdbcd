"""One HTTP exchange with the gateway: the request is sent and the response kept exactly as they are."""

import asyncio
import base64
import json
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PATIENCE = 10.0

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """A response with its whole body. `request` is the method and target that it answers."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    request: str = ""

    def json(self) -> Any:
        """The body parsed as JSON; a repeated name is an error."""
        return json.loads(self.body.decode(), object_pairs_hook=_unique)

    def names(self) -> list[str]:
        """The names of the body's members, in order."""
        return list(self.json())

    @property
    def content_type(self) -> str:
        return self.headers.get(hdrs.CONTENT_TYPE, "")

    @property
    def challenge(self) -> str | None:
        return self.headers.get(hdrs.WWW_AUTHENTICATE)

    def assert_not_stored(self) -> None:
        """Check both headers that RFC 6749 section 5.1 requires."""
        assert (self.headers.get(hdrs.CACHE_CONTROL), self.headers.get(hdrs.PRAGMA)) == ("no-store", "no-cache")

    def assert_silent_about(self, *secrets: str) -> None:
        """Check that none of these texts occurs anywhere in the response."""
        everything = self.body.decode("utf-8", "replace") + "".join(
            f"{name}: {self.headers[name]}" for name in self.headers
        )
        assert [secret for secret in secrets if secret in everything] == []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a name stands twice in a reply"
    return dict(pairs)


async def send(
    client: aiohttp.ClientSession,
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes | str | AsyncIterable[bytes] | None = None,
) -> Reply:
    """Send a request. No `Content-Type` is added; an asynchronous body is sent in chunks.

    An exception carries the request as a note.
    """
    request = f"{method} {target}"
    try:
        async with client.request(
            method,
            URL(target, encoded=True),
            headers=CIMultiDict(headers),
            data=body.encode() if isinstance(body, str) else body,
            skip_auto_headers=(hdrs.CONTENT_TYPE,),
            allow_redirects=False,
        ) as response:
            return Reply(response.status, response.headers, await response.read(), request)
    except (aiohttp.ClientError, OSError) as error:
        error.add_note(request)
        raise


async def post_json(
    client: aiohttp.ClientSession, target: str, members: object, headers: Headers = (), *, method: str = "POST"
) -> Reply:
    typed = [*CIMultiDict(headers).items(), (hdrs.CONTENT_TYPE, JSON)]
    return await send(client, method, target, typed, json.dumps(members))


async def post_form(
    client: aiohttp.ClientSession,
    target: str,
    members: Mapping[str, str] | list[tuple[str, str]],
    headers: Headers = (),
) -> Reply:
    return await send(
        client, "POST", target, [*CIMultiDict(headers).items(), (hdrs.CONTENT_TYPE, FORM)], urlencode(members)
    )


async def replay(client: aiohttp.ClientSession, request: str) -> Reply:
    """Send a request written as in a document: request line, headers, an empty line, the body."""
    head, _, body = request.strip().partition("\n\n")
    line, *fields = head.splitlines()
    method, target = line.split()[:2]
    headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    return await send(client, method, target, headers, body or None)


def basic(client_id: str, secret: str) -> dict[str, str]:
    """HTTP Basic as in RFC 6749 section 2.3.1: both values are form-encoded first."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {hdrs.AUTHORIZATION: "Basic " + base64.b64encode(pair.encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {hdrs.AUTHORIZATION: f"Bearer {token}"}


async def send_raw(url: str, request: bytes) -> Reply:
    """Send exactly these bytes on a new connection and read the one reply; the request must ask to close."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(request)
            await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = CIMultiDict((name, value.strip()) for name, _, value in (field.partition(":") for field in fields))
    return Reply(int(line.split()[1]), CIMultiDictProxy(headers), body)
