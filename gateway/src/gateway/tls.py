"""The server certificate, which can be replaced while the gateway runs."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

log = structlog.get_logger()


class CertificateError(ValueError):
    """The certificate and key files cannot be used. The text gives the reason."""


class Certificate:
    """A chain and its key in two PEM files. `context` uses what was loaded last. Raises CertificateError."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self._loaded = self._load()
        # This context has no certificate: each handshake switches to the context that was loaded last. Loading a second
        # certificate into one context would keep the first one in use if their keys are of different types.
        self.context = _context()
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Load the files again for new connections; if they cannot be used, keep the current certificate."""
        try:
            self._loaded = self._load()
        except CertificateError as error:
            log.error("certificate not reloaded", cause=str(error))  # noqa: TRY400 - a traceback would add nothing
        else:
            log.info("certificate reloaded")

    def _load(self) -> ssl.SSLContext:
        """A context with the certificate. Each file is read once, since a renewal may replace it at any time."""
        context = _context()
        try:
            certificate, key = (path.read_bytes() for path in self._paths)
            with _file(certificate) as certificate_file, _file(key) as key_file:
                context.load_cert_chain(certificate_file, key_file, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise CertificateError(f"and GATEWAY_TLS_CERTIFICATE cannot be used: {reason}") from None
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, even if the client names no server."""
        connection.context = self._loaded


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """The path of an unnamed file with this content, since OpenSSL reads certificates and keys from files only.

    On Linux it is in memory; elsewhere it is unlinked before anything is written to it.
    """
    with open(os.memfd_create("pem"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
