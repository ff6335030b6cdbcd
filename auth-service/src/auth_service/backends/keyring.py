"""The master key ring, from which keys are derived and under which secrets are encrypted."""

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from servicekit.settings import SAMPLE_WORDS

_KEY_BYTES = 32
_NONCE_BYTES = 12
_SAMPLE = re.compile(SAMPLE_WORDS.encode(), re.IGNORECASE)


class UnknownMasterKeyError(Exception):
    """A secret was encrypted under a master key that is not in the ring."""


@dataclass(frozen=True)
class MasterKey:
    id: str
    key: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose (HKDF-SHA256, RFC 5869)."""
        return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=purpose.encode()).derive(self.key)


def parse_master_keys(text: str) -> list[MasterKey]:
    """Read `id:base64,id:base64`, the newest first. Raises ValueError, which quotes no key."""
    keys: list[MasterKey] = []
    for entry in text.split(","):
        identifier, _, encoded = entry.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if not identifier.isalnum() or not _is_random(key):
            raise ValueError("each entry must be id:key, the key 32 random bytes in base64")
        keys.append(MasterKey(identifier, key))
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("two keys have the same id")
    return keys


def _is_random(key: bytes) -> bool:
    """False if the length is wrong, if there are too few distinct bytes, or if a sample's words occur in it."""
    return len(key) == _KEY_BYTES and len(set(key)) >= _KEY_BYTES // 4 and not _SAMPLE.search(key)


class Keyring:
    """Encrypts under the newest master key (AES-256-GCM) and decrypts under any in the ring."""

    def __init__(self, keys: Sequence[MasterKey]) -> None:
        self._newest = keys[0].id
        self._ciphers = {key.id: AESGCM(key.derive("parley encryption")) for key in keys}
        self.refresh_token_keys = [key.derive("parley refresh tokens") for key in keys]
        # This key once digested login names. Changing the label would change the key and so discard every count.
        self.account_key = keys[0].derive("parley login names")

    def encrypt(self, plaintext: bytes, context: str) -> bytes:
        """`context` names what is encrypted; the ciphertext decrypts only with the same context."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, plaintext, context.encode())
        return self._newest.encode() + b":" + nonce + sealed

    def decrypt(self, ciphertext: bytes, context: str) -> bytes:
        """Raises UnknownMasterKeyError if no key of the ring fits."""
        identifier, _, rest = ciphertext.partition(b":")
        try:
            cipher = self._ciphers[identifier.decode()]
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], context.encode())
        except (KeyError, InvalidTag):
            raise UnknownMasterKeyError(f"no master key for {context}") from None
