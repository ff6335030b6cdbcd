"""Internal access tokens (RFC 9068, ES256, audience `internal`): how one service knows who another acts for.

auth-service mints them; every service checks them against auth-service's JWKS and remembers what it checked.
"""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from aiohttp import hdrs, web

from servicekit import callers, http, jws, wire
from servicekit.upstreams.calls import CallFailedError, Service

ALGORITHM = "ES256"
AUDIENCE = "internal"
TYPE = "at+jwt"
MAX_LIFETIME = 300
LEEWAY = 30
_REMEMBERED = 10_000


@dataclass(frozen=True)
class InternalToken:
    """Who a request acts for. `subject` is a user's id, or `client:<client_id>`, or a service's name."""

    subject: str
    client_id: str
    scope: frozenset[str]
    session_id: str | None
    expires_at: int

    @property
    def user_id(self) -> int | None:
        """The user acted for; None when a client or service acts for itself."""
        return int(self.subject) if self.subject.isascii() and self.subject.isdigit() else None


class ClocksDifferError(http.ServiceUnavailableError):
    """A token that auth-service signed for another time than it is here.

    Only services hold internal tokens, and none for as long as one lives: no client can mend this with another login.
    """


class Keys(Protocol):
    async def public_key(self, kid: str) -> Any:
        """The ES256 public key with this id, or None. Raises `http.ServiceUnavailableError` when it cannot know."""


class InternalTokens:
    """Checks internal tokens; each is remembered by digest until it expires, so no signature is checked twice."""

    def __init__(self, issuer: str, keys: Keys) -> None:
        self._issuer = issuer
        self._keys = keys
        self._checked: dict[bytes, InternalToken] = {}

    async def verify(self, token: str) -> InternalToken:
        """What `token` says. Raises `jws.InvalidTokenError`, `ClocksDifferError` or `http.ServiceUnavailableError`."""
        digest = hashlib.sha256(token.encode()).digest()
        checked = self._checked.get(digest)
        if checked is None:
            checked = await self._check(token)
            if len(self._checked) >= _REMEMBERED:
                self._checked.clear()
            self._checked[digest] = checked
        if checked.expires_at + LEEWAY <= time.time():
            self._checked.pop(digest, None)
            raise ClocksDifferError("an internal token that has expired: do clocks differ?")
        return checked

    async def _check(self, token: str) -> InternalToken:
        header, claims = jws.unverified(token)
        if jws.media_type(header) != TYPE:
            raise jws.InvalidTokenError("typ")
        key = await self._keys.public_key(jws.string(header, "kid"))
        if key is None:
            raise jws.InvalidTokenError("unknown key")
        jws.verify_signature(token, key, ALGORITHM, header)
        if claims.get("iss") != self._issuer or claims.get("aud") != AUDIENCE:
            raise jws.InvalidTokenError("iss or aud")
        issued_at, expires_at = jws.integer(claims, "iat"), jws.integer(claims, "exp")
        if not 0 < expires_at - issued_at <= MAX_LIFETIME:
            raise jws.InvalidTokenError("lifetime")
        if issued_at > time.time() + LEEWAY:
            raise ClocksDifferError("an internal token of the future: do clocks differ?")
        jws.string(claims, "jti")
        scope = claims.get("scope", "")
        session_id = claims.get("sid")
        if not isinstance(scope, str) or not (session_id is None or isinstance(session_id, str)):
            raise jws.InvalidTokenError("scope or sid")
        return InternalToken(
            subject=jws.string(claims, "sub"),
            client_id=jws.string(claims, "client_id"),
            scope=frozenset(scope.split()),
            session_id=session_id,
            expires_at=expires_at,
        )


class RemoteKeys:
    """auth-service's JWKS, fetched anew every minute and for an unknown `kid`, at most once in ten seconds.

    The last good set is kept while auth-service cannot be reached.
    """

    REFRESH = 60.0
    COOLDOWN = 10.0

    def __init__(self, jwks: Service) -> None:
        self._jwks = jwks
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def public_key(self, kid: str) -> Any:
        async with self._fetching:
            now = time.monotonic()
            wanted = kid not in self._keys or now - self._fetched_at > self.REFRESH
            if wanted and (not self._keys or now - self._tried_at > self.COOLDOWN):
                self._tried_at = now
                await self._fetch()
        if not self._keys:
            raise http.ServiceUnavailableError("auth-service's keys are not known yet")
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        try:
            answer = await self._jwks.call("GET", "", {"Accept": wire.JSON}, timeout=2, caller=callers.Caller())
            if answer.status != 200:
                return
            self._keys = public_keys(wire.read_json(answer.body))
            self._fetched_at = time.monotonic()
        except (CallFailedError, wire.MalformedBodyError, jwt.PyJWTError):
            return


def public_keys(jwks: dict[str, Any]) -> dict[str, Any]:
    """The ES256 signing keys of a JWK set (RFC 7517) by `kid`; whatever else it holds is passed over."""
    keys: dict[str, Any] = {}
    for jwk in jwks.get("keys", []):
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" and jwk.get("use") == "sig" and "d" not in jwk:
            keys[jwk["kid"]] = jwt.PyJWK(jwk, algorithm=ALGORITHM).key
    return keys


def bearer(request: web.Request) -> str | None:
    """The token of a single, well-formed `Authorization: Bearer` header (RFC 6750 §2.1), else None."""
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(values) != 1:
        return None
    scheme, separator, token = values[0].partition(" ")
    return token if separator and scheme.lower() == "bearer" and token and token.isascii() else None


async def authenticate(request: web.Request, tokens: InternalTokens) -> InternalToken:
    """Who the request acts for. Raises `web.HTTPUnauthorized`, or `http.ServiceUnavailableError`."""
    token = bearer(request)
    try:
        if token is not None:
            return await tokens.verify(token)
    except jws.InvalidTokenError:
        pass
    raise web.HTTPUnauthorized(headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="internal"'})
