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
    ops_host: str = Field("127.0.0.1", description="Address that the operations port listens on.")
    ops_port: Port = Field(8090, description="Operations port: /healthz, /readyz and /stats.")
    listener: Annotated[Path, AfterValidator(_listener)] | None = Field(
        None,
        description="Unix socket of the process that holds the public port; without it the gateway binds the port.",
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that share the public port; limits hold for each.")
    trusted_proxies: Annotated[str, AfterValidator(_proxies)] | None = Field(
        None, description="Proxies whose word on the client is taken: addresses and networks, separated by commas."
    )
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain; SIGHUP reads it again.")
    tls_key: Path | None = Field(None, validate_default=True, description="PEM file of its key.")
    auth_url: Origin = Field("http://127.0.0.1:8081", description="auth-service; its name may have many addresses.")
    users_url: Origin = Field("http://127.0.0.1:8082", description="user-service; its name may have many addresses.")
    upstream_connections: Count = Field(512, description="Most connections to one upstream.")
    upstream_requests: Count = Field(256, description="Most requests in flight to one; verification is apart.")
    upstream_requests_per_network: Count = Field(
        64,
        description="Most of them from one network (an IPv4 address or IPv6 /64), "
        "and most of its tokens being verified.",
    )
    dns_interval: Seconds = Field(2.0, description="Between two questions for an upstream's addresses.")
    connect_timeout: Seconds = Field(1.0, description="For a connection to an upstream, or a place in its pool.")
    read_timeout: Seconds = Field(30.0, description="For an upstream's answer, and between two parts of it.")
    stall_timeout: Seconds = Field(
        0.5,
        description="Of silence until a replica with requests in flight is asked whether it lives, "
        "and again until it is left out.",
    )
    verify_timeout: Seconds = Field(1.0, description="For a verdict on a token.")
    verify_connect_timeout: Seconds = Field(0.25, description="For a connection to ask for it.")
    verdict_lifetime: float = Field(2.0, ge=0, le=20, description="A verdict is remembered for; 0 asks every time.")
    connections: Count = Field(10_000, description="Most connections of clients.")
    connections_per_address: Count = Field(1_000, description="Most of them from one IPv4 address or IPv6 /64.")
    requests_per_connection: Count = Field(10_000, description="Most requests on one of them.")
    first_byte_timeout: Seconds = Field(10.0, description="From a connection's start to its first byte.")
    header_timeout: Seconds = Field(10.0, description="From a request's first byte to the end of its headers.")
    keepalive_timeout: Seconds = Field(60.0, description="From an answer to the next request.")
    body_timeout: Seconds = Field(30.0, description="Between two parts of a client's body, or of what it reads.")
    body_rate: Count = Field(240, description="Least bytes of a body in a second, once that time has passed.")
    buffered_bytes: int = Field(64 * 1024 * 1024, ge=BODY_LIMIT, description="Most bytes of bodies not yet whole.")
    buffered_bytes_per_network: int = Field(1024 * 1024, ge=BODY_LIMIT, description="Most of them from one network.")
    websockets: Count = Field(1024, description="Most WebSockets.")
    websockets_per_subject: Count = Field(32, description="Most of them of one user.")
    websocket_frames: Count = Field(100, description="Most frames a second from one's client, averaged over ten.")
    drain_delay: float = Field(5.0, ge=0, le=3600, description="New requests are still served for, once told to stop.")
    drain_timeout: Seconds = Field(25.0, description="Requests in flight then have to end.")
    cors_origins: Annotated[str, AfterValidator(_origins)] | None = Field(
        None, description="Origins whose pages may call, separated by commas."
    )
    access_log: float = Field(1.0, ge=0, le=1, description="Share of requests that are logged; 0 logs none.")

    @field_validator("tls_key")
    @classmethod
    def _fits_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("tls_certificate")
        if (key is None) != (certificate is None):
            raise ValueError("and GATEWAY_TLS_CERTIFICATE need each other")
        if key is not None and certificate is not None:
            Certificate(certificate, key)
        return key
