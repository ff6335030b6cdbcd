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
    """`REDIS_URL` has no prefix, because the services share one Redis."""

    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(
        None,
        validation_alias="REDIS_URL",
        repr=False,
        description="Redis that replicas count in, as a `redis://` or `rediss://` URL. "
        "Without it each process counts for itself, and allows half.",
    )
    throttle_exempt: NetworksText = Field(
        "",
        description="Networks that no budget holds for, separated by commas: an office, a back end of yours.",
    )
    gateways: NetworksText = Field(
        "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
        description="Networks of gateways, whose `X-Forwarded-For` says where a request comes from.",
    )
