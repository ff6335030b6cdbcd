"""Mints internal access tokens (RFC 9068, ES256, audience `internal`); each is reused for half of its lifetime."""

import secrets
import time
from collections.abc import Callable

from auth_service.backends.signing_keys import INTERNAL, SigningKeys
from auth_service.core.model import ActiveToken, session_name
from servicekit.bounded import BoundedMap
from servicekit.internal_tokens import ALGORITHM, AUDIENCE, TYPE

LIFETIME = 60
_SERVICE = "auth-service"
_REMEMBERED = 20_000

Claims = dict[str, str | int | tuple[str, ...]]


class InternalTokenMinter:
    """Mints internal tokens for the gateway to pass on, and for auth-service's own calls.

    `clock` is the database's, in epoch seconds; the machine's own clock may be wrong.
    """

    def __init__(self, issuer: str, keys: SigningKeys, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._minted: BoundedMap[tuple[object, ...], tuple[float, str]] = BoundedMap(_REMEMBERED)

    def for_token(self, active: ActiveToken) -> str:
        """A token for the user or client of an access token, with the same scope; it never outlives that token."""
        claims: Claims = {
            "sub": active.internal_subject,
            "client_id": active.client_id,
            "scope": " ".join(sorted(active.scope)),
            "sid": session_name(active.session_id),
            "dialect": active.dialect,
        }
        if active.user_id is not None:
            claims["user_id"] = active.user_id
        if active.auth_time is not None:
            claims["auth_time"] = int(active.auth_time)
        if active.amr:
            claims["amr"] = active.amr
        return self._mint(claims, int(active.expires_at - active.now), str(active.expires_at))

    def for_service(self, scope: str) -> str:
        """A token for auth-service itself."""
        return self._mint({"sub": _SERVICE, "client_id": _SERVICE, "scope": scope}, LIFETIME)

    def _mint(self, claims: Claims, lifetime: int, expires_at: str = "") -> str:
        """A token with a shortened lifetime is reused only for access tokens with that end: others may end sooner."""
        now = time.monotonic()
        lifetime = max(1, min(LIFETIME, lifetime))
        kid = self._keys.active_key_id(ALGORITHM, INTERNAL)  # a token signed by a removed key is not reused
        wanted = (kid, expires_at if lifetime < LIFETIME else "", *claims.values())
        good_until, token = self._minted.get(wanted, (float("-inf"), ""))
        if now >= good_until:
            token = self._sign(claims, int(self._clock()), lifetime)
            self._minted[wanted] = (now + lifetime / 2, token)
        return token

    def _sign(self, claims: Claims, now: int, lifetime: int) -> str:
        issued = {"iss": self._issuer, "aud": AUDIENCE, "iat": now, "exp": now + lifetime, "jti": secrets.token_hex(16)}
        header = {"typ": TYPE, "alg": ALGORITHM, "kid": self._keys.active_key_id(ALGORITHM, INTERNAL)}
        return self._keys.sign(ALGORITHM, header, claims | issued, INTERNAL)
