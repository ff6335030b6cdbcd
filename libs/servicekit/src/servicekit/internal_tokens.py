"""Internal access tokens (RFC 9068, ES256, audience `internal`), which tell one service for whom another acts.

auth-service mints them; every service checks them against auth-service's JWKS and caches the ones it has accepted.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jwt
import structlog
from aiohttp import hdrs, web

from servicekit import http, jws, wire
from servicekit.bounded import BoundedMap
from servicekit.known_keys import KnownKeys, UnknownKeyError
from servicekit.pauses import pause
from servicekit.upstreams.calls import CallFailedError, Service

ALGORITHM = "ES256"
AUDIENCE = "internal"
TYPE = "at+jwt"
# A member of the JWKs that auth-service publishes, and what it says of keys for internal tokens. An access key has no
# such member while it may sign internal tokens too, and no key of the previous version's has one.
PURPOSE_MEMBER = "parley_purpose"
PURPOSE = "internal"
MAX_LIFETIME = 300
LEEWAY = 30
REFRESH = 5.0
_RETRY = 1.0
_REMEMBERED = 10_000

log = structlog.get_logger()


@dataclass(frozen=True)
class InternalToken:
    """The user, client or service that a request acts for.

    `user_id` is the user acted for, None when a client or a service acts for itself. `subject` is that number in
    decimal, or `client:<client_id>`, or a service's name. `auth_time` is when the user logged in (OpenID Connect Core,
    section 2), in epoch seconds; a token of no user has none. Tokens of services have no `dialect`.
    """

    subject: str
    user_id: int | None
    client_id: str
    scope: frozenset[str]
    session_id: str | None
    expires_at: int
    dialect: str | None = None
    auth_time: int | None = None


class _Accepted(NamedTuple):
    """A token, and the values with which its key is looked up: the `kid`, and the time of issue."""

    token: InternalToken
    kid: str
    issued_at: int


class ClocksDifferError(http.ServiceUnavailableError):
    """A token that auth-service signed is not valid yet, or no longer, by this service's clock.

    The cause is clock skew: only services hold internal tokens, never for a token's whole lifetime. So no client can
    mend this by logging in again.
    """


class Keys(Protocol):
    async def public_key(self, kid: str, issued_at: float) -> Any:
        """The ES256 public key that signed a token issued at this time (epoch seconds), or None.

        Raises `http.ServiceUnavailableError` if that is unknown.
        """


class InternalTokens:
    """Checks internal tokens, and caches the accepted ones by their digests, so that no signature is checked twice.

    A cached token is refused and evicted once its key has been removed or it has expired.
    `clock` is the database's, in epoch seconds; the machine's own clock may be wrong.
    """

    def __init__(self, issuer: str, keys: Keys, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._accepted: BoundedMap[bytes, _Accepted] = BoundedMap(_REMEMBERED)

    async def verify(self, token: str) -> InternalToken:
        """Check `token`. Raises `jws.InvalidTokenError`, `ClocksDifferError` or `http.ServiceUnavailableError`."""
        digest = hashlib.sha256(token.encode()).digest()
        accepted = self._accepted.get(digest)
        if accepted is None:
            accepted = await self._check(token)
            self._accepted[digest] = accepted
        elif await self._keys.public_key(accepted.kid, accepted.issued_at) is None:
            self._accepted.pop(digest, None)
            raise jws.InvalidTokenError("its key was removed")
        if accepted.token.expires_at + LEEWAY <= self._clock():
            self._accepted.pop(digest, None)
            raise ClocksDifferError("an internal token that has expired: do clocks differ?")
        return accepted.token

    def login_age(self, token: InternalToken) -> float | None:
        """Seconds since the user proved the password, by this service's clock; None if the token does not say."""
        return self._clock() - token.auth_time if token.auth_time is not None else None

    async def _check(self, token: str) -> _Accepted:
        header, claims = jws.unverified(token)
        if jws.media_type(header) != TYPE:
            raise jws.InvalidTokenError("typ")
        issued_at, expires_at = jws.integer(claims, "iat"), jws.integer(claims, "exp")
        kid = jws.string(header, "kid")
        key = await self._keys.public_key(kid, issued_at)
        if key is None:
            raise jws.InvalidTokenError("unknown key")
        jws.verify_signature(token, key, ALGORITHM, header)
        if claims.get("iss") != self._issuer or claims.get("aud") != AUDIENCE:
            raise jws.InvalidTokenError("iss or aud")
        if not 0 < expires_at - issued_at <= MAX_LIFETIME:
            raise jws.InvalidTokenError("lifetime")
        auth_time = jws.integer(claims, "auth_time") if "auth_time" in claims else None
        if max(issued_at, auth_time or 0) > self._clock() + LEEWAY:
            raise ClocksDifferError("an internal token of the future: do clocks differ?")
        jws.string(claims, "jti")
        scope = claims.get("scope", "")
        session_id, dialect = claims.get("sid"), claims.get("dialect")
        if not isinstance(scope, str) or not all(isinstance(name, str | None) for name in (session_id, dialect)):
            raise jws.InvalidTokenError("scope, sid or dialect")
        found = InternalToken(
            subject=jws.string(claims, "sub"),
            user_id=_user_id(claims),
            client_id=jws.string(claims, "client_id"),
            scope=frozenset(scope.split()),
            session_id=session_id,
            expires_at=expires_at,
            dialect=dialect,
            auth_time=auth_time,
        )
        return _Accepted(found, kid, issued_at)


def _user_id(claims: dict[str, Any]) -> int | None:
    """The claim `user_id`. An auth-service of the previous version says the number in `sub` alone."""
    if "user_id" in claims:
        user_id = claims["user_id"]
        if type(user_id) is not int or user_id < 1:
            raise jws.InvalidTokenError("user_id")
        return user_id
    subject = jws.string(claims, "sub")
    return int(subject) if subject.isascii() and subject.isdigit() else None


class RemoteKeys:
    """auth-service's JWKS, fetched every five seconds inside `following`, and whenever a token's key is not known.

    The last set is kept while auth-service cannot be reached.
    """

    def __init__(self, jwks: Service, clock: Callable[[], float]) -> None:
        self._jwks = jwks
        self._keys = KnownKeys(self._fetch, clock)

    async def public_key(self, kid: str, issued_at: float) -> Any:
        return await self._keys.find(kid, issued_at)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keep up with new and removed keys for as long as the context lasts."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _follow(self) -> None:
        while True:
            seconds = _RETRY
            try:
                await self._keys.reread()
                seconds = REFRESH
            except UnknownKeyError as error:
                log.warning("keys not read", cause=str(error))
            except Exception:
                log.exception("keys not read")
            await pause(seconds)

    async def _fetch(self) -> tuple[dict[str, Any], float]:
        """The keys, and for how many seconds auth-service has had them (`Age`, RFC 9111 section 5.1)."""
        try:
            answer = await self._jwks.call("GET", "", {"Accept": wire.JSON}, timeout=2)
            if answer.status != 200:
                raise UnknownKeyError(f"auth-service answers {answer.status}")
            return public_keys(wire.read_json(answer.body)), int(answer.headers.get("age", "0"))
        except (CallFailedError, ValueError, jwt.PyJWTError) as error:
            raise UnknownKeyError(f"auth-service's keys cannot be fetched: {type(error).__name__}") from error


def public_keys(jwks: dict[str, Any]) -> dict[str, Any]:
    """The ES256 keys of a JWK set (RFC 7517) that sign internal tokens, by `kid`; all others are passed over."""
    keys: dict[str, Any] = {}
    for jwk in jwks.get("keys", []):
        purpose = jwk.get(PURPOSE_MEMBER, PURPOSE)
        if (jwk.get("kty"), jwk.get("crv"), jwk.get("use"), purpose) == (
            "EC",
            "P-256",
            "sig",
            PURPOSE,
        ) and "d" not in jwk:
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
    """The party that the request acts for. Raises `web.HTTPUnauthorized`, or `http.ServiceUnavailableError`."""
    token = bearer(request)
    try:
        if token is not None:
            return await tokens.verify(token)
    except jws.InvalidTokenError:
        pass
    raise web.HTTPUnauthorized(headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="internal"'})
