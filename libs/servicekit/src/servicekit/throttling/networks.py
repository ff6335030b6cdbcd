"""The client's address as the gateway reports it, and the network that the client is counted under."""

import functools
import ipaddress
from collections.abc import Mapping
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import AfterValidator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PREFIX_LENGTHS = {4: 32, 6: 64}
WIDE_PREFIX_LENGTHS = {4: 24, 6: 48}
UNKNOWN = "unknown"


class Networks:
    """A set of networks, read from a comma-separated list."""

    def __init__(self, text: str) -> None:
        """Raises ValueError if an entry is neither a network in CIDR notation nor an address."""
        self._networks: list[Network] = []
        for entry in filter(None, map(str.strip, text.split(","))):
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                raise ValueError("must be networks in CIDR notation, separated by commas") from None

    def __contains__(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def _checked(text: str) -> str:
    Networks(text)
    return text


NetworksText = Annotated[str, AfterValidator(_checked)]


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    """The address; an IPv4-mapped IPv6 address becomes the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network of one customer: an IPv4 address, or an IPv6 /64. All texts that are no address share one network."""
    return _cut(address, PREFIX_LENGTHS)


@functools.lru_cache(maxsize=4096)
def wide_network_of(address: str) -> str:
    """The largest network that one customer easily gets: the IPv4 /24 or IPv6 /48 around the address."""
    return _cut(address, WIDE_PREFIX_LENGTHS)


def _cut(address: str, prefix_lengths: Mapping[int, int]) -> str:
    parsed = _parse(address)
    if parsed is None:
        return UNKNOWN
    return str(ipaddress.ip_network(f"{parsed}/{prefix_lengths[parsed.version]}", strict=False))


def client_address(request: web.Request, gateways: Networks) -> str:
    """The client's address as the gateway reports it; if the peer is no gateway, the peer's own address."""
    peer = request.remote or UNKNOWN
    said = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
    if len(said) != 1 or peer not in gateways:
        return peer
    return said[0] if _parse(said[0]) is not None else peer
