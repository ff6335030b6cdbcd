"""The settings of a service that throttles."""

from typing import Annotated

from pydantic import AfterValidator, Field
from redis.asyncio.connection import parse_url

from servicekit.settings import ServiceSettings
from servicekit.throttling.networks import NetworksText

_PARTS = {"host", "port", "db", "username", "password", "path", "connection_class"}


def _redis_url(url: str) -> str:
    options = parse_url(url).keys() - _PARTS
    if any(not name.startswith("ssl_") for name in options):
        raise ValueError("must have no options but those of TLS")
    return url


class ThrottleSettings(ServiceSettings):
    """The Redis to count in, and networks to exempt or trust. `REDIS_URL` has no prefix: services share one Redis."""

    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(
        None,
        validation_alias="REDIS_URL",
        repr=False,
        description="Redis that holds the throttling counters, as a `redis://` or `rediss://` URL. "
        "Without it, each process keeps its own counters and allows half of each budget.",
    )
    throttle_exempt: NetworksText = Field(
        "",
        description="Comma-separated networks that are exempt from throttling, such as an office or your own back end.",
    )
    gateways: NetworksText = Field(
        "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
        description="Comma-separated networks of the gateways, whose `X-Forwarded-For` is trusted.",
    )
