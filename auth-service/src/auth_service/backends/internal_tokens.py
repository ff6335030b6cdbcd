"""Mints internal access tokens (RFC 9068, ES256, audience `internal`); one serves for half of its life."""

import secrets
import time
from collections.abc import Callable

from auth_service.backends.signing_keys import SigningKeys
from auth_service.core.model import ActiveToken, session_name
from servicekit.internal_tokens import ALGORITHM, AUDIENCE, TYPE

LIFETIME = 60
_SERVICE = "auth-service"
_REMEMBERED = 20_000


class InternalTokenMinter:
    """Internal tokens for the gateway to pass on, and for auth-service's own calls.

    `clock` is the database's, in epoch seconds: that of the machine may be wrong.
    """

    def __init__(self, issuer: str, keys: SigningKeys, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._minted: dict[tuple[str, ...], tuple[float, str]] = {}

    def for_token(self, active: ActiveToken) -> str:
        """For whom a client's access token stands, with its scope; never outlives it."""
        return self._mint(
            active.subject,
            active.client_id,
            " ".join(sorted(active.scope)),
            session_name(active.session_id),
            int(active.expires_at - active.now),
            str(active.expires_at),
        )

    def for_service(self, scope: str) -> str:
        """For auth-service itself."""
        return self._mint(_SERVICE, _SERVICE, scope, "", LIFETIME)

    def _mint(
        self, subject: str, client_id: str, scope: str, session_id: str, lifetime: int, expires_at: str = ""
    ) -> str:
        """One whose life is cut short serves for tokens that end when it does: others of the session may end sooner."""
        now = time.monotonic()
        lifetime = max(1, min(LIFETIME, lifetime))
        kid = self._keys.active_key_id(ALGORITHM)  # one that a removed key signed serves nobody
        wanted = (kid, subject, client_id, scope, session_id, expires_at if lifetime < LIFETIME else "")
        good_until, token = self._minted.get(wanted, (float("-inf"), ""))
        if now >= good_until:
            token = self._sign(subject, client_id, scope, session_id, int(self._clock()), lifetime)
            if len(self._minted) >= _REMEMBERED:
                self._minted.clear()
            self._minted[wanted] = (now + lifetime / 2, token)
        return token

    def _sign(self, subject: str, client_id: str, scope: str, session_id: str, now: int, lifetime: int) -> str:
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "client_id": client_id,
            "scope": scope,
            "iat": now,
            "exp": now + lifetime,
            "jti": secrets.token_hex(16),
        }
        if session_id:
            claims["sid"] = session_id
        header = {"typ": TYPE, "alg": ALGORITHM, "kid": self._keys.active_key_id(ALGORITHM)}
        return self._keys.sign(ALGORITHM, header, claims)
