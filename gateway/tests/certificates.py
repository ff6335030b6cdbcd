"""Certificates that sign themselves, and their keys, in files."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def issue(files, name, key=None, key_of=None):
    """Write a certificate for `name` and its key, or a key of another one. Each file is replaced by renaming."""
    for file, content in zip(files, pair(name, key, key_of), strict=True):
        replace(file, content)


def pair(name, key=None, key_of=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(pem), (key_of or key).private_bytes(pem, form, serialization.NoEncryption())


def replace(file, content):
    written = file.with_suffix(".new")
    written.write_bytes(content)
    written.rename(file)
