"""Asking auth-service who a token acts for. Whatever is not exactly an allow or a deny lets nobody in."""

from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from aiohttp import hdrs

from gateway import bearer
from gateway.headers import Headers
from gateway.upstreams import url_of
from servicekit import http, wire

log = structlog.get_logger()

BODY_LIMIT = 64 * 1024

_ASKED_WITH = frozenset(("accept", "accept-language", "language"))
_RELAYED = frozenset(("content-type", "www-authenticate", "cache-control", "pragma", "content-language"))


@dataclass(frozen=True)
class Allow:
    """The token is good. `subject` is a user's id in decimal or `client:<client_id>`."""

    subject: str
    scope: frozenset[str]
    internal_token: str

    @property
    def is_user(self) -> bool:
        return self.subject.isascii() and self.subject.isdigit()


@dataclass(frozen=True)
class Deny:
    """The token is refused, in the words of its dialect: status 401, relayed as it is."""

    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Unknown:
    """Nobody can tell. `retry_after` is the value of the header."""

    retry_after: str = "1"


Verdict = Allow | Deny | Unknown


class UnreadableVerdictError(Exception):
    """The answer is neither an allow nor a deny."""


class Verifier:
    """Asks auth-service at every request; nothing is remembered."""

    def __init__(self, session: aiohttp.ClientSession, origin: str) -> None:
        self._session = session
        self._url = url_of(origin, "/verify-token")

    async def verify(self, authorization: str | None, received: Headers) -> Verdict:
        """The verdict on an `Authorization` value; None asks for the challenge of a request without one.

        `received` are the client's headers: those that choose the words of a deny are sent along, no others.
        """
        headers = [(name, value) for name, value in received if name.lower() in _ASKED_WITH]
        headers.extend(http.outgoing_request_id().items())
        if authorization is not None:
            headers.append((hdrs.AUTHORIZATION, authorization))
        try:
            async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
                verdict = await _verdict(response)
            if isinstance(verdict, Allow) and authorization is None:
                raise UnreadableVerdictError("an allow without a token")
        except (aiohttp.ClientError, TimeoutError, wire.MalformedBodyError, UnreadableVerdictError) as error:
            log.warning("no verdict", cause=type(error).__name__)
            return Unknown()
        return verdict


async def _verdict(response: aiohttp.ClientResponse) -> Verdict:
    if response.status in (429, 503):
        given = response.headers.get(hdrs.RETRY_AFTER, "")
        return Unknown(given) if given.isascii() and given.isdigit() and len(given) <= 5 else Unknown()
    if response.status not in (200, 401):
        raise UnreadableVerdictError
    body = await _read(response)
    if response.status == 401:
        return Deny([(name, value) for name, value in response.headers.items() if name.lower() in _RELAYED], body)
    if response.content_type != wire.JSON:
        raise UnreadableVerdictError
    return _allow(wire.read_json(body))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise UnreadableVerdictError
    return bytes(body)


def _allow(answer: dict[str, Any]) -> Allow:
    """Read an allow by its exact types: the text "true" is not true."""
    texts = [answer.get(name) for name in ("sub", "client_id", "scope", "internal_token")]
    if answer.get("active") is not True or not all(isinstance(text, str) for text in texts):
        raise UnreadableVerdictError
    subject, client_id, scope, token = map(str, texts)
    if not subject or not client_id or not bearer.is_token(token) or type(answer.get("exp")) is not int:
        raise UnreadableVerdictError
    return Allow(subject, frozenset(scope.split()), token)
