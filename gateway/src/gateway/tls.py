"""The certificate that clients are shown, which can be replaced while the gateway runs."""

import ssl
from pathlib import Path

import structlog

log = structlog.get_logger()


class CertificateError(ValueError):
    """The files hold no certificate with its key. The text says which and why."""


class Certificate:
    """A chain and its key in two PEM files; `context` serves with what was read last. Raises CertificateError."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self.context = self._load(_context())

    def reload(self) -> None:
        """Serve new connections with what the files hold now, or go on as before where that is no use."""
        try:
            self._load(_context())
            self._load(self.context)
        except CertificateError as error:
            log.error("certificate not reloaded", cause=str(error))  # noqa: TRY400 - the text says it all
        else:
            log.info("certificate reloaded")

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        certificate, key = self._paths
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise CertificateError(f"with GATEWAY_TLS_CERTIFICATE is of no use: {reason}") from None
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
