"""What the gateway can be told, from `GATEWAY_…` variables."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict
from yarl import URL

from servicekit.settings import Port, ServiceSettings


def _origin(text: str) -> str:
    """Refuse what is more than scheme, host and port: a request's own target is what follows them."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url != url.origin():
        raise ValueError("is not an http:// or https:// URL of a host and a port alone")
    return str(url.origin())


Origin = Annotated[str, AfterValidator(_origin)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(ServiceSettings):
    """The gateway's settings. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    port: Port = Field(8080, description="Public port.")
    ops_port: Port = Field(8090, description="Port of /healthz and /readyz.")
    auth_url: Origin = Field("http://127.0.0.1:8081", description="auth-service.")
    users_url: Origin = Field("http://127.0.0.1:8082", description="user-service.")
    upstream_connections: int = Field(512, ge=1, description="Most connections to one upstream.")
    connect_timeout: Seconds = Field(1.0, description="For a connection to an upstream, or a place in its pool.")
    read_timeout: Seconds = Field(30.0, description="For an upstream's answer, and between two parts of it.")
    body_timeout: Seconds = Field(30.0, description="For a client's whole body.")
    body_limit: int = Field(1024 * 1024, ge=0, description="Most bytes in a client's body.")
    verify_timeout: Seconds = Field(1.0, description="For a verdict on a token.")
    verify_connect_timeout: Seconds = Field(0.25, description="For a connection to ask for it.")
