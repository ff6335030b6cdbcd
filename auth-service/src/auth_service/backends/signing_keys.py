"""Signing keys: their life cycle in PostgreSQL, encrypted under the master key, and the signatures made with them.

pending (published in the JWKS) → active → retiring (verifies only) → gone. Each key has one purpose, and a token made
for one purpose does not verify as a token of another. Key objects are kept in memory: parsing a PEM for every signature
would cost sixty times as much as the signature itself.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from auth_service.backends import key_objects
from auth_service.backends.keyring import Keyring
from auth_service.core import errors
from auth_service.core.errors import InvalidTokenError, UnavailableError
from servicekit import http, internal_tokens, jws
from servicekit.known_keys import KnownKeys, UnknownKeyError
from servicekit.postgres import Database

# Every replica reloads the keys this often, because a removed key must soon verify nothing. user-service fetches them
# every five seconds (`RemoteKeys`); the rest of the 15 seconds allows for slow statements and requests.
RELOAD_SECONDS = 1.0
LEAST_PUBLISH_SECONDS = 15

# The purposes: access tokens of the dialects, and internal tokens.
ACCESS, INTERNAL = "access", internal_tokens.PURPOSE

# In the database, internal keys have words of their own for `pending` and `active`: migration 0006 says why.
_STATUS = "CASE status WHEN 'published' THEN 'pending' WHEN 'signing' THEN 'active' ELSE status END AS status"
SELECT = f"""
    SELECT kid, algorithm, purpose, {_STATUS}, private_ciphertext,
        coalesce(now() < max(exclusive_from) OVER (), false) AS shared
    FROM signing_keys ORDER BY created_at
"""  # noqa: S608 - constants
ANY_PENDING = """
    SELECT EXISTS (SELECT FROM signing_keys WHERE kid = ANY($1) AND status IN ('pending', 'published')) AS pending
"""
SELECT_ALL = f"""
    SELECT kid, algorithm, purpose, {_STATUS}, created_at, activates_at, gone_at FROM signing_keys ORDER BY created_at
"""  # noqa: S608 - constants
INSERT = """
    INSERT INTO signing_keys (kid, algorithm, purpose, status, private_ciphertext, activates_at, exclusive_from)
    SELECT $1, $2, $3, $4, $5, now() + $6, CASE WHEN $3 = 'internal' THEN
        (SELECT now() + interval '1 day' FROM signing_keys HAVING bool_and(purpose = 'access')) END
    WHERE before_deadline($7) ON CONFLICT DO NOTHING RETURNING kid
"""
DUE = """
    SELECT kid, algorithm, purpose FROM signing_keys
    WHERE status IN ('pending', 'published') AND activates_at <= now() FOR UPDATE SKIP LOCKED
"""
RETIRE = """
    UPDATE signing_keys SET status = 'retiring', gone_at = now() + interval '1 day' + make_interval(secs =>
        (SELECT coalesce(max(access_token_lifetime), 0) FROM clients WHERE dialect = ANY($3)))
    WHERE algorithm = $1 AND purpose = $2 AND status IN ('active', 'signing') AND before_deadline($4)
"""
ACTIVATE = "UPDATE signing_keys SET status = $2 WHERE kid = $1 AND before_deadline($3)"
HASTEN = """
    UPDATE signing_keys SET activates_at = least(activates_at, greatest(created_at + $3, now()))
    WHERE algorithm = $1 AND purpose = $2 AND status IN ('pending', 'published') AND before_deadline($4) RETURNING kid
"""
REMOVE = "DELETE FROM signing_keys WHERE kid = $1 AND status NOT IN ('active', 'signing') AND before_deadline($2)"
REMOVE_GONE = "DELETE FROM signing_keys WHERE status = 'retiring' AND gone_at <= now() AND before_deadline($1)"


@dataclass(frozen=True)
class SigningKey:
    """`purposes` are one, or two for an access key that may sign internal tokens while the previous version runs."""

    kid: str
    algorithm: str
    purposes: frozenset[str]
    status: str
    private: Any = field(repr=False)
    public: Any = field(repr=False)


class SigningKeys:
    """Implements the port `ServerKeys`. Background work calls `reload` every second and `advance` every five seconds.

    `dialects` maps each algorithm to the dialects whose tokens it signs: a retiring key lasts as long as such a token.
    Internal tokens have a key of their own. Replicas of the previous version sign them with the access key. So for a
    day from the first start after an update, access keys verify internal tokens too. They also do, and sign them, while
    no internal key is active: an operator may have removed the first one before it became so.
    """

    def __init__(self, database: Database, keyring: Keyring, dialects: Mapping[str, Sequence[str]]) -> None:
        self._database = database
        self._keyring = keyring
        self._dialects = dialects
        self._keys: KnownKeys[SigningKey] = KnownKeys(self._read, lambda: database.now())
        self._active: dict[tuple[str, str], SigningKey] = {}

    def purposes(self, algorithm: str) -> tuple[str, ...]:
        """The purposes that have keys of this algorithm."""
        return (INTERNAL, ACCESS) if algorithm == internal_tokens.ALGORITHM else (ACCESS,)

    async def reload(self) -> None:
        """Read the keys again; keys that are already known are not parsed again."""
        await self._keys.reread()

    async def _read(self) -> tuple[dict[str, SigningKey], float]:
        rows = await self._database.fetch(SELECT)
        internal = any((row["purpose"], row["status"]) == (INTERNAL, "active") for row in rows)
        keys = {row["kid"]: self._key(row, shared=row["shared"] or not internal) for row in rows}
        active = [key for key in keys.values() if key.status == "active"]
        active.sort(key=lambda key: ACCESS not in key.purposes)  # an internal key replaces a shared one
        self._active = {(key.algorithm, purpose): key for key in active for purpose in key.purposes}
        return keys, 0.0

    def _key(self, row: Any, *, shared: bool) -> SigningKey:
        known = self._keys.known.get(row["kid"])
        private = (
            known.private if known else key_objects.load(self._keyring.decrypt(row["private_ciphertext"], row["kid"]))
        )
        public = private if isinstance(private, bytes) else private.public_key()
        purposes = {row["purpose"]}
        if shared and row["algorithm"] == internal_tokens.ALGORITHM:
            purposes.add(INTERNAL)
        return SigningKey(row["kid"], row["algorithm"], frozenset(purposes), row["status"], private, public)

    async def ensure(self) -> None:
        """Ensure that every algorithm has an active key for each purpose, then load the keys.

        If only the internal key is missing, replicas of the previous version may be running, and must know it before it
        signs. It is created before any access key, so replicas that start together do not take each other for those.
        """
        rows = await self._database.fetch(SELECT)
        active = {(row["algorithm"], row["purpose"]) for row in rows if row["status"] == "active"}
        wanted = {(algorithm, purpose) for algorithm in self._dialects for purpose in self.purposes(algorithm)}
        for algorithm, purpose in sorted(wanted - active, key=lambda kind: kind[1] != INTERNAL):
            if purpose == INTERNAL and (algorithm, ACCESS) in active:
                await self.rotate(algorithm, timedelta(seconds=LEAST_PUBLISH_SECONDS), purpose)
            else:
                await self._insert(algorithm, purpose, "active", timedelta(0))
        await self.reload()

    async def rotate(self, algorithm: str, publish_for: timedelta, purpose: str = ACCESS) -> str | None:
        """Create a key that is published now and signs after `publish_for`; returns None if one is already pending."""
        return await self._insert(algorithm, purpose, "pending", publish_for)

    async def rotate_soon(self, algorithm: str, publish_for: timedelta, purpose: str = ACCESS) -> str:
        """Like `rotate`, but a key that is already pending signs as soon as it has been published for that long."""
        while True:
            kid = await self.rotate(algorithm, publish_for, purpose)
            if kid is not None:
                return kid
            pending = await self._database.write_row(HASTEN, algorithm, purpose, publish_for)
            if pending is not None:
                return str(pending["kid"])

    async def remove(self, kid: str) -> bool:
        """Remove a key, so that no token it signed verifies. Returns False if there is no such key or it is active."""
        return await self._database.write(REMOVE, kid) > 0

    async def have_begun(self, kids: Sequence[str]) -> bool:
        """True once all these keys sign, according to the database."""
        await self.advance()
        row = await self._database.fetchrow(ANY_PENDING, kids)
        return not row["pending"]

    async def _insert(self, algorithm: str, purpose: str, status: str, delay: timedelta) -> str | None:
        kid = secrets.token_urlsafe(12)
        private = await asyncio.to_thread(key_objects.generate, algorithm)
        sealed = self._keyring.encrypt(private, kid)
        row = await self._database.write_row(INSERT, kid, algorithm, purpose, _stored(purpose, status), sealed, delay)
        return row["kid"] if row else None

    async def advance(self) -> None:
        """Activate pending keys that are due, retire those they replace, and remove retiring keys that are due."""
        async with self._database.transaction() as connection:
            for row in await connection.fetch(DUE):
                algorithm, purpose = row["algorithm"], row["purpose"]
                dialects = self._dialects[algorithm] if purpose == ACCESS else []
                await connection.execute(RETIRE, algorithm, purpose, dialects, connection.deadline())
                await connection.execute(ACTIVATE, row["kid"], _stored(purpose, "active"), connection.deadline())
            await connection.execute(REMOVE_GONE, connection.deadline())

    async def all(self) -> Sequence[Any]:
        """Every key as a row, without its private part."""
        return await self._database.fetch(SELECT_ALL)

    async def public_key(self, kid: str, issued_at: float) -> Any:
        """The public key `kid` if it may sign internal tokens (`servicekit.internal_tokens.Keys`)."""
        try:
            key = await self._keys.find(kid, issued_at)
        except UnavailableError as error:
            raise http.ServiceUnavailableError("signing keys") from error
        return key.public if key is not None and INTERNAL in key.purposes else None

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK set (RFC 7517); a symmetric key has no public part and is not in it."""
        return {"keys": [_public_jwk(key) for key in self._keys.known.values() if not isinstance(key.public, bytes)]}

    @property
    def age(self) -> float:
        """Seconds since the keys were read."""
        return self._keys.age

    def is_known(self, kid: str) -> bool:
        return kid in self._keys.known

    def active_key_id(self, algorithm: str, purpose: str = ACCESS) -> str:
        return self._active[algorithm, purpose].kid

    def sign(self, algorithm: str, header: dict[str, str], claims: Mapping[str, Any], purpose: str = ACCESS) -> str:
        return key_objects.sign(algorithm, self._active[algorithm, purpose].private, header, claims)

    def sign_with_secret(self, algorithm: str, secret: bytes, header: dict[str, str], claims: dict[str, Any]) -> str:
        return key_objects.sign(algorithm, secret, header, claims)

    def algorithm_of(self, token: str) -> str | None:
        if token.count(".") != 2:
            return None
        try:
            algorithm = jws.unverified(token)[0].get("alg")
        except jws.InvalidTokenError:
            return None
        return algorithm if isinstance(algorithm, str) else None

    def unverified_claims(self, token: str) -> dict[str, Any]:
        try:
            return jws.unverified(token)[1]
        except jws.InvalidTokenError:
            raise InvalidTokenError from None

    async def verified_claims(self, token: str, algorithm: str, media_type: str) -> tuple[dict[str, Any], str]:
        try:
            header, claims = jws.unverified(token)
            if jws.media_type(header) != media_type:
                raise InvalidTokenError
            issued_at = jws.integer(claims, "iat")
            if "kid" not in header:
                return claims, await self._signer(token, header, algorithm, issued_at)
            key = await self._keys.find(jws.string(header, "kid"), issued_at)
            if key is not None and key.algorithm == algorithm and ACCESS in key.purposes:
                jws.verify_signature(token, key.public, algorithm, header)
                return claims, key.kid
        except jws.InvalidTokenError:
            pass
        except UnknownKeyError as error:
            raise errors.UnknownKeyError(str(error)) from None
        raise InvalidTokenError

    async def _signer(self, token: str, header: dict[str, Any], algorithm: str, issued_at: int) -> str:
        """The `kid` of the key that signed a token without one; it may be any key of the algorithm, even a new one."""
        kid = self._known_signer(token, header, algorithm)
        if kid is None:
            complete = await self._keys.complete_for(issued_at)
            kid = self._known_signer(token, header, algorithm)
            if kid is None:
                raise jws.InvalidTokenError("signature") if complete else UnknownKeyError("no known key signed a token")
        return kid

    def _known_signer(self, token: str, header: dict[str, Any], algorithm: str) -> str | None:
        for key in self._keys.known.values():
            if key.algorithm == algorithm and ACCESS in key.purposes:
                with contextlib.suppress(jws.InvalidTokenError):
                    jws.verify_signature(token, key.public, algorithm, header)
                    return key.kid
        return None


def _stored(purpose: str, status: str) -> str:
    """The word for `status` in the database."""
    return {"pending": "published", "active": "signing"}[status] if purpose == INTERNAL else status


def _public_jwk(key: SigningKey) -> dict[str, Any]:
    purpose = {internal_tokens.PURPOSE_MEMBER: next(iter(key.purposes))} if len(key.purposes) == 1 else {}
    return {**key_objects.jwk(key.algorithm, key.public), "kid": key.kid, "use": "sig", "alg": key.algorithm, **purpose}
