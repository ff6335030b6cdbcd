"""Self-signed certificates for tests and benchmarks."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOUR = datetime.timedelta(hours=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate for `name` that is valid for an hour, in PEM."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    signed = builder.not_valid_before(now - HOUR).not_valid_after(now + HOUR).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key in PEM, unencrypted."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
