"""Tokens that an attacker could write, and tokens that only the holder of the server's keys could sign."""

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from auth_service.app import SIGNED_DIALECTS
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.signing_keys import ACCESS, SigningKeys
from auth_service.core.errors import UnavailableError
from servicekit.postgres import connect

from .service import Service


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unverified."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def encode(header: dict[str, Any] | str, claims: dict[str, Any] | str, algorithm: str, key: Any) -> str:
    """A JWS with exactly this header and these claims; pass text for what JSON objects cannot express."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signed = ".".join(base64url(part.encode()) for part in parts)
    if algorithm == "none":
        return f"{signed}."
    return f"{signed}.{base64url(jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key))}"


async def server_keys(service: Service, purpose: str = ACCESS) -> dict[str, tuple[str, Any]]:
    """The server's active key of each algorithm as (kid, private key)."""
    keyring = Keyring(parse_master_keys(service.master_keys))
    async with connect(service.database_url, pool_size=1, unavailable=UnavailableError) as database:
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        await keys.reload()
        return {algorithm: (key.kid, key.private) for (algorithm, of), key in keys._active.items() if of == purpose}


def public_spellings(private: Any) -> dict[str, bytes]:
    """All encodings of a public key that a verifier might use as an HMAC secret."""
    public = private.public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, info)
    algorithm = "ES256" if hasattr(public, "curve") else "RS256"
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(public)
    spellings = {
        "PEM": pem,
        "PEM without its last line break": pem.rstrip(),
        "DER": public.public_bytes(serialization.Encoding.DER, info),
        "JWK": str(jwk).encode(),
        "compact JWK": json.dumps(json.loads(jwk), separators=(",", ":")).encode(),
    }
    if algorithm == "ES256":
        point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        spellings |= {"point": point, "x and y": point[1:]}
    return spellings


def another_spelling(token: str) -> str:
    """The token with a different last character that decodes to the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    padding = "=" * (-len(token.rpartition(".")[2]) % 4)
    same = {base64.urlsafe_b64decode(text.rpartition(".")[2] + padding) for text in (token, changed)}
    assert len(same) == 1
    return changed
