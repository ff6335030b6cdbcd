"""Private and public keys as objects: made, loaded, written as JWKs, and used to sign."""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def generate(algorithm: str) -> bytes:
    """A new private key: PKCS #8 DER, or 64 random bytes for HMAC. Raises ValueError for an algorithm without keys."""
    if algorithm in ("HS256", "HS384", "HS512"):
        return secrets.token_bytes(64)
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm[:2] in ("RS", "PS"):
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        raise ValueError(f"no keys can be made for {algorithm}")
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load(private: bytes) -> Any:
    """The key object of a private key that `generate` made; for HMAC, the bytes themselves."""
    return private if len(private) == 64 else serialization.load_der_private_key(private, password=None)


def jwk(algorithm: str, public: Any) -> dict[str, Any]:
    """The members of a JWK (RFC 7517) that hold the public key."""
    members = dict(jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True))
    members.pop("key_ops", None)  # PyJWT adds it to some; beside `use` it does not belong (RFC 7517 section 4.3)
    return members


def sign(algorithm: str, key: Any, header: dict[str, str], claims: Mapping[str, Any]) -> str:
    """JWS compact serialization (RFC 7515 section 7.1). PyJWT's own would put `typ` first in every header."""
    signed = _base64url(msgspec.json.encode(header)) + b"." + _base64url(msgspec.json.encode(claims))
    signature = jwt.get_algorithm_by_name(algorithm).sign(signed, key)
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
