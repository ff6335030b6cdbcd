"""Signing keys: their life cycle in PostgreSQL, encrypted under the master key, and the signatures made with them.

pending (published in the JWKS) → active → retiring (verifies only) → gone. Key objects are kept in memory: parsing a
PEM for every signature would cost sixty times as much as the signature itself.
"""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from auth_service.backends.keyring import Keyring
from auth_service.core import errors
from auth_service.core.errors import InvalidTokenError, UnavailableError
from servicekit import http, jws
from servicekit.known_keys import KnownKeys, UnknownKeyError
from servicekit.postgres import Database

# Every replica reloads the keys this often, because a removed key must soon verify nothing. user-service fetches them
# every five seconds (`RemoteKeys`); the rest of the 15 seconds allows for slow statements and requests.
RELOAD_SECONDS = 1.0
LEAST_PUBLISH_SECONDS = 15

SELECT = "SELECT kid, algorithm, status, private_ciphertext FROM signing_keys ORDER BY created_at"
ANY_PENDING = "SELECT EXISTS (SELECT FROM signing_keys WHERE kid = ANY($1) AND status = 'pending') AS pending"
SELECT_ALL = "SELECT kid, algorithm, status, created_at, activates_at, gone_at FROM signing_keys ORDER BY created_at"
INSERT = """
    INSERT INTO signing_keys (kid, algorithm, status, private_ciphertext, activates_at)
    SELECT $1, $2, $3, $4, now() + $5 WHERE before_deadline($6) ON CONFLICT DO NOTHING RETURNING kid
"""
DUE = (
    "SELECT kid, algorithm FROM signing_keys WHERE status = 'pending' AND activates_at <= now() FOR UPDATE SKIP LOCKED"
)
RETIRE = """
    UPDATE signing_keys SET status = 'retiring', gone_at = now() + interval '1 day' + make_interval(secs =>
        (SELECT coalesce(max(access_token_lifetime), 0) FROM clients WHERE dialect = ANY($2)))
    WHERE algorithm = $1 AND status = 'active' AND before_deadline($3)
"""
ACTIVATE = "UPDATE signing_keys SET status = 'active' WHERE kid = $1 AND before_deadline($2)"
HASTEN = """
    UPDATE signing_keys SET activates_at = least(activates_at, greatest(created_at + $2, now()))
    WHERE algorithm = $1 AND status = 'pending' AND before_deadline($3) RETURNING kid
"""
REMOVE = "DELETE FROM signing_keys WHERE kid = $1 AND status <> 'active' AND before_deadline($2)"
REMOVE_GONE = "DELETE FROM signing_keys WHERE status = 'retiring' AND gone_at <= now() AND before_deadline($1)"


@dataclass(frozen=True)
class SigningKey:
    kid: str
    algorithm: str
    status: str
    private: Any = field(repr=False)
    public: Any = field(repr=False)


class SigningKeys:
    """Implements the port `ServerKeys`. Background work calls `reload` every second and `advance` every five seconds.

    `dialects` maps each algorithm to the dialects whose tokens it signs: a retiring key lasts as long as such a token.
    """

    def __init__(self, database: Database, keyring: Keyring, dialects: Mapping[str, Sequence[str]]) -> None:
        self._database = database
        self._keyring = keyring
        self._dialects = dialects
        self._keys: KnownKeys[SigningKey] = KnownKeys(self._read, lambda: database.now())
        self._active: dict[str, SigningKey] = {}

    async def reload(self) -> None:
        """Read the keys again; keys that are already known are not parsed again."""
        await self._keys.reread()

    async def _read(self) -> tuple[dict[str, SigningKey], float]:
        rows = await self._database.fetch(SELECT)
        keys = {row["kid"]: self._key(row) for row in rows}
        self._active = {key.algorithm: key for key in keys.values() if key.status == "active"}
        return keys, 0.0

    def _key(self, row: Any) -> SigningKey:
        known = self._keys.known.get(row["kid"])
        private = known.private if known else _load(self._keyring.decrypt(row["private_ciphertext"], row["kid"]))
        public = private if isinstance(private, bytes) else private.public_key()
        return SigningKey(row["kid"], row["algorithm"], row["status"], private, public)

    async def ensure(self) -> None:
        """Ensure that every algorithm has an active key, then load the keys."""
        rows = await self._database.fetch(SELECT)
        for algorithm in self._dialects.keys() - {row["algorithm"] for row in rows if row["status"] == "active"}:
            await self._insert(algorithm, "active", timedelta(0))
        await self.reload()

    async def rotate(self, algorithm: str, publish_for: timedelta) -> str | None:
        """Create a key that is published now and signs after `publish_for`; returns None if one is already pending."""
        return await self._insert(algorithm, "pending", publish_for)

    async def rotate_soon(self, algorithm: str, publish_for: timedelta) -> str:
        """Like `rotate`, but a key that is already pending signs as soon as it has been published for that long."""
        while True:
            kid = await self.rotate(algorithm, publish_for)
            if kid is not None:
                return kid
            pending = await self._database.write_row(HASTEN, algorithm, publish_for)
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

    async def _insert(self, algorithm: str, status: str, delay: timedelta) -> str | None:
        kid = secrets.token_urlsafe(12)
        private = await asyncio.to_thread(_generate, algorithm)
        sealed = self._keyring.encrypt(private, kid)
        row = await self._database.write_row(INSERT, kid, algorithm, status, sealed, delay)
        return row["kid"] if row else None

    async def advance(self) -> None:
        """Activate pending keys that are due, retire those they replace, and remove retiring keys that are due."""
        async with self._database.transaction() as connection:
            for row in await connection.fetch(DUE):
                dialects = self._dialects[row["algorithm"]]
                await connection.execute(RETIRE, row["algorithm"], dialects, connection.deadline())
                await connection.execute(ACTIVATE, row["kid"], connection.deadline())
            await connection.execute(REMOVE_GONE, connection.deadline())

    async def all(self) -> Sequence[Any]:
        """Every key as a row, without its private part."""
        return await self._database.fetch(SELECT_ALL)

    async def public_key(self, kid: str, issued_at: float) -> Any:
        """The ES256 public key `kid`, with which internal tokens are checked (`servicekit.internal_tokens.Keys`)."""
        try:
            key = await self._keys.find(kid, issued_at)
        except UnavailableError as error:
            raise http.ServiceUnavailableError("signing keys") from error
        return key.public if key is not None and key.algorithm == "ES256" else None

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK set (RFC 7517); a symmetric key has no public part and is not in it."""
        return {"keys": [_public_jwk(key) for key in self._keys.known.values() if not isinstance(key.public, bytes)]}

    @property
    def age(self) -> float:
        """Seconds since the keys were read."""
        return self._keys.age

    def is_known(self, kid: str) -> bool:
        return kid in self._keys.known

    def active_key_id(self, algorithm: str) -> str:
        return self._active[algorithm].kid

    def sign(self, algorithm: str, header: dict[str, str], claims: dict[str, Any]) -> str:
        return _compact(algorithm, self._active[algorithm].private, header, claims)

    def sign_with_secret(self, algorithm: str, secret: bytes, header: dict[str, str], claims: dict[str, Any]) -> str:
        return _compact(algorithm, secret, header, claims)

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
            if key is not None and key.algorithm == algorithm:
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
            if key.algorithm == algorithm:
                with contextlib.suppress(jws.InvalidTokenError):
                    jws.verify_signature(token, key.public, algorithm, header)
                    return key.kid
        return None


def _generate(algorithm: str) -> bytes:
    """A new private key: PKCS #8 DER, or 64 random bytes for HMAC."""
    if algorithm == "HS256":
        return secrets.token_bytes(64)
    private = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(private: bytes) -> Any:
    return private if len(private) == 64 else serialization.load_der_private_key(private, password=None)


def _public_jwk(key: SigningKey) -> dict[str, Any]:
    jwk = jwt.get_algorithm_by_name(key.algorithm).to_jwk(key.public, as_dict=True)
    jwk.pop("key_ops", None)  # PyJWT adds it to some keys; it should not accompany `use` (RFC 7517 section 4.3)
    return {**jwk, "kid": key.kid, "use": "sig", "alg": key.algorithm}


def _compact(algorithm: str, key: Any, header: dict[str, str], claims: dict[str, Any]) -> str:
    """JWS compact serialization (RFC 7515 section 7.1). PyJWT itself would put `typ` first in every header."""
    signed = _base64url(msgspec.json.encode(header)) + b"." + _base64url(msgspec.json.encode(claims))
    signature = jwt.get_algorithm_by_name(algorithm).sign(signed, key)
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
