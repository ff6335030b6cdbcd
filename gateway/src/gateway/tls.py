"""The certificate that clients are shown, which can be replaced while the gateway runs."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

log = structlog.get_logger()


class CertificateError(ValueError):
    """The files hold no certificate with its key. The text says which and why."""


class Certificate:
    """A chain and its key in two PEM files; `context` serves with what was read last. Raises CertificateError."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self._loaded = self._load()
        # It has no certificate of its own: each handshake takes that of the context which was loaded last. To load
        # another one into the same context would leave the old one there, and in use, where their keys differ in kind.
        self.context = _context()
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Serve new connections with what the files hold now; if they cannot be used, keep the current certificate."""
        try:
            self._loaded = self._load()
        except CertificateError as error:
            log.error("certificate not reloaded", cause=str(error))  # noqa: TRY400 - the text says it all
        else:
            log.info("certificate reloaded")

    def _load(self) -> ssl.SSLContext:
        """A context with what the files hold. Each is read once: a renewal may replace them at any time."""
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
        """Called in every handshake, whether or not the client names a server."""
        connection.context = self._loaded


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """The path of a file without a name, since OpenSSL is given certificates and keys as files only.

    On Linux it is in memory; elsewhere it is removed from its directory before anything is written to it.
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
