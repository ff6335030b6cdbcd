"""A certificate of the gateways that expires, and one that is renewed repeatedly while in use."""

import asyncio
import contextlib
import datetime
import ipaddress
import os
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fault import NOTHING, UNAVAILABLE, Fault
from hops import address, replicas
from replicas import Stack

LONG = 3600.0
RENEWALS_PAUSE = 0.05


class Authority:
    """The certificate authority that signs the gateways' certificates and that clients trust."""

    def __init__(self, directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "parley test authority")])
        self._certificate = (
            _builder(self._name, self._name, self._key, LONG)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate_file = directory / "gateway.crt"
        self.key_file = directory / "gateway.key"

    def context(self) -> ssl.SSLContext:
        """The context with which clients verify the gateways."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def renew(self, seconds: float, *, after_key: float = 0.0) -> None:
        """Write a new key and, `after_key` seconds later, a certificate that is valid for `seconds`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
        addresses = [x509.IPAddress(ipaddress.ip_address(address(name))) for name in replicas("gateway")]
        certificate = (
            _builder(subject, self._name, key, seconds)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        time.sleep(after_key)
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, seconds: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(seconds=60))
        .not_valid_after(now + datetime.timedelta(seconds=seconds))
    )


@contextlib.asynccontextmanager
async def with_tls(stack: Stack) -> AsyncIterator[None]:
    """Have the gateways speak TLS with a valid certificate; every request of a client makes a handshake."""
    authority = Authority(stack.data.root)
    authority.renew(LONG)
    stack.authority = authority
    stack.variables["gateway"] = {
        "GATEWAY_TLS_CERTIFICATE": str(authority.certificate_file),
        "GATEWAY_TLS_KEY": str(authority.key_file),
    }
    await stack.restart("gateway")
    try:
        yield
    finally:
        stack.authority = None
        del stack.variables["gateway"]
        await stack.restart("gateway")


def _reload(stack: Stack) -> None:
    for name in replicas("gateway"):
        os.kill(stack.replicas[name].process.pid, signal.SIGHUP)


@contextlib.asynccontextmanager
async def run_out(stack: Stack) -> AsyncIterator[None]:
    """The gateways' certificate has expired; they get a new one at the end."""
    stack.authority.renew(-1)
    _reload(stack)
    yield
    stack.authority.renew(LONG)
    _reload(stack)


@contextlib.asynccontextmanager
async def renewed_again_and_again(stack: Stack) -> AsyncIterator[None]:
    """The certificate is renewed repeatedly, and SIGHUP is sent at any moment, even between its two files."""
    renewing = asyncio.create_task(_renew(stack))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await asyncio.to_thread(stack.authority.renew, LONG)
        _reload(stack)


async def _renew(stack: Stack) -> None:
    while True:
        writing = asyncio.create_task(asyncio.to_thread(stack.authority.renew, LONG, after_key=RENEWALS_PAUSE))
        for _ in range(3):
            await asyncio.sleep(random.random() * RENEWALS_PAUSE)
            _reload(stack)
        await writing


FAULTS = [
    Fault("certificate-expired", run_out, 3, UNAVAILABLE, over=1.0, longest=2.0, prepared=with_tls),
    Fault("certificate-renewed", renewed_again_and_again, 6, NOTHING, over=0.0, longest=2.0, prepared=with_tls),
]
