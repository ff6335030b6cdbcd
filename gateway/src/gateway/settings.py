"""The gateway's settings, from `GATEWAY_…` environment variables."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict
from yarl import URL

from gateway.clients.cors import parse_origins
from gateway.messages.client_address import parse_proxies
from gateway.tls import Certificate
from servicekit.http import BODY_LIMIT
from servicekit.settings import Port, ServiceSettings


def _origin(text: str) -> str:
    """Refuse what is more than scheme, host and port: a request's own target is what follows them."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url != url.origin():
        raise ValueError("is not an http:// or https:// URL of a host and a port alone")
    return str(url.origin())


def _origins(text: str) -> str:
    parse_origins(text)
    return text


def _proxies(text: str) -> str:
    parse_proxies(text)
    return text


def _listener(path: Path) -> Path:
    if not path.name:
        raise ValueError("is empty")
    if not path.parent.is_dir():
        raise ValueError("its directory does not exist")
    return path


Origin = Annotated[str, AfterValidator(_origin)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Count = Annotated[int, Field(ge=1)]


class Settings(ServiceSettings):
    """The gateway's settings. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    port: Port = Field(8080, description="Public port.")
    ops_host: str = Field("127.0.0.1", description="Address the operations port listens on.")
    ops_port: Port = Field(8090, description="Operations port: `/healthz`, `/readyz` and `/stats`.")
    listener: Annotated[Path, AfterValidator(_listener)] | None = Field(
        None,
        description="Unix socket of the process that holds the public port; without it, the gateway binds the port.",
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that share the public port; limits apply to each.")
    trusted_proxies: Annotated[str, AfterValidator(_proxies)] | None = Field(
        None, description="Comma-separated addresses and networks of proxies whose `X-Forwarded-…` headers are trusted."
    )
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate chain; SIGHUP reloads it.")
    tls_key: Path | None = Field(
        None, validate_default=True, description="PEM file with the certificate's private key."
    )
    auth_url: Origin = Field(
        "http://127.0.0.1:8081", description="URL of auth-service; the name may resolve to many addresses."
    )
    users_url: Origin = Field(
        "http://127.0.0.1:8082", description="URL of user-service; the name may resolve to many addresses."
    )
    upstream_connections: Count = Field(512, description="Maximum connections to one upstream.")
    upstream_requests: Count = Field(
        256, description="Maximum requests in flight to one upstream; token verification is counted separately."
    )
    upstream_requests_per_network: Count = Field(
        64,
        description="Maximum requests in flight to one upstream from one network (an IPv4 address or IPv6 /64), "
        "and maximum tokens from that network being verified at once.",
    )
    dns_interval: Seconds = Field(2.0, description="Seconds between two look-ups of an upstream's addresses.")
    connect_timeout: Seconds = Field(
        1.0, description="Seconds to wait for a connection to an upstream, new or from the pool."
    )
    read_timeout: Seconds = Field(
        30.0, description="Seconds to wait for an upstream's response, and between two parts of it."
    )
    stall_timeout: Seconds = Field(
        0.5,
        description="Seconds a replica with requests in flight may stay silent before it is probed, "
        "and seconds without an answer to the probe before it is ejected.",
    )
    verify_timeout: Seconds = Field(1.0, description="Seconds to wait for a token to be verified.")
    verify_connect_timeout: Seconds = Field(0.25, description="Seconds to wait for a connection to verify a token on.")
    verdict_lifetime: float = Field(
        2.0, ge=0, le=20, description="Seconds a verdict is cached; 0 verifies the token of every request."
    )
    connections: Count = Field(10_000, description="Maximum client connections.")
    connections_per_address: Count = Field(
        1_000, description="Maximum client connections from one IPv4 address or IPv6 /64."
    )
    requests_per_connection: Count = Field(10_000, description="Maximum requests on one client connection.")
    first_byte_timeout: Seconds = Field(10.0, description="Seconds from accepting a connection to its first byte.")
    header_timeout: Seconds = Field(10.0, description="Seconds from a request's first byte to the end of its headers.")
    keepalive_timeout: Seconds = Field(60.0, description="Seconds a connection may stay idle between two requests.")
    body_timeout: Seconds = Field(
        30.0, description="Seconds a client may pause while it sends a body or reads a response."
    )
    body_rate: Count = Field(
        240, description="Minimum average bytes per second of a body, after `GATEWAY_BODY_TIMEOUT`."
    )
    buffered_bytes: int = Field(
        64 * 1024 * 1024, ge=BODY_LIMIT, description="Maximum bytes of incomplete request bodies in memory."
    )
    buffered_bytes_per_network: int = Field(
        1024 * 1024, ge=BODY_LIMIT, description="Maximum bytes of incomplete request bodies from one network."
    )
    websockets: Count = Field(1024, description="Maximum open WebSockets.")
    websockets_per_subject: Count = Field(32, description="Maximum open WebSockets of one user.")
    websocket_frames: Count = Field(
        100, description="Maximum frames per second from one WebSocket's client, averaged over ten seconds."
    )
    drain_delay: float = Field(5.0, ge=0, le=3600, description="Seconds to keep accepting requests after SIGTERM.")
    drain_timeout: Seconds = Field(25.0, description="Seconds after that for requests in flight to finish.")
    cors_origins: Annotated[str, AfterValidator(_origins)] | None = Field(
        None, description="Comma-separated origins whose pages may call the API."
    )
    access_log: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of requests to log, 0 to 1. Unless it is 0, every response of 500 or above is logged.",
    )

    @field_validator("tls_key")
    @classmethod
    def _fits_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("tls_certificate")
        if (key is None) != (certificate is None):
            raise ValueError("and GATEWAY_TLS_CERTIFICATE need each other")
        if key is not None and certificate is not None:
            Certificate(certificate, key)
        return key
