"""The client's address, as trusted proxies state it and as it is stated to upstreams.

Upstreams are told the client's address only, not a chain of addresses: programs differ in which end of a chain they
take for the client, and a client can write any part of it that no trusted proxy has added.
"""

import functools
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.messages.headers import Headers
from gateway.quota import Consumer

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# No deployment has more proxies in a row. No more than this is read of a longer chain.
MOST_HOPS = 32

_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")
_MAPPED = IPv6Network("::ffff:0:0/96")

_PORT = rb"(?::[0-9]{1,5})?"
_IPV6 = rb"([0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,41})(?:%[0-9A-Za-z._~-]{1,32})?"
_NODE = re.compile(rb"([0-9.]{7,15})%b|\[%b\]%b|%b" % (_PORT, _IPV6, _PORT, _IPV6))
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rb'(%b)=(%b|"[^"\\]*")' % (_TOKEN, _TOKEN))


class TrustedProxies:
    """The networks of proxies whose statements on a request's client are believed."""

    def __init__(self, networks: list[Network]) -> None:
        self._networks = networks

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def client(self, proxy: Address, headers: Headers) -> Address:
        """The right-most untrusted address in the chain that the trusted `proxy` states for a request.

        The chain is followed from the right up to the first unreadable node, which no trusted proxy can have written.
        """
        client = proxy
        for node in _chain(headers):
            address = parse_node(node)
            if address is None:
                break
            client = address
            if address not in self:
                break
        return client


def parse_proxies(text: str) -> TrustedProxies:
    """Addresses and networks in a comma-separated list. Raises ValueError with the positions of invalid ones."""
    networks = [_network(part.strip()) for part in text.split(",") if part.strip()]
    faulty = [str(place) for place, network in enumerate(networks, 1) if network is None]
    if faulty:
        raise ValueError(f"no address, and no network such as 10.0.0.0/8 but /0, at place {', '.join(faulty)}")
    return TrustedProxies([network for network in networks if network is not None])


def _network(text: str) -> Network | None:
    """The network, or None if it is invalid, if it is all addresses, or if it is of IPv4-mapped IPv6 addresses."""
    try:
        network = ip_network(text) if _NETWORK.fullmatch(text) else None
    except ValueError:
        return None
    if network is None or not network.prefixlen or (network.version == 6 and network.subnet_of(_MAPPED)):
        return None
    return network


def parse_node(text: bytes) -> Address | None:
    """The address in a node, without its port, zone, brackets and quotes; None if there is none."""
    if len(text) > 1 and text[:1] == text[-1:] == b'"':
        text = text[1:-1]
    node = _NODE.fullmatch(text)
    if node is None:
        return None
    try:
        address = ip_address((node[1] or node[2] or node[3]).decode())
    except ValueError:
        return None
    return address if address.version == 4 else address.ipv4_mapped or address


@functools.lru_cache(maxsize=4096)
def network_of(client: Address | None) -> Consumer:
    """The network of a client: an IPv4 address or an IPv6 /64. Clients without an address share one network.

    Its wide network is an IPv4 /24 or an IPv6 /48, which one customer can easily have.
    """
    if client is None:
        return Consumer("unknown")
    if client.version == 4:
        return Consumer(str(client), _cut(client, 24))
    return Consumer(_cut(client, 64), _cut(client, 48))


def _cut(address: Address, length: int) -> str:
    return str(ip_network((address, length), strict=False))


def origin_lines(client: Address | None, scheme: bytes) -> bytes:
    """The header lines on the client's address. The last one, `Forwarded` (RFC 7239), lacks its host and its end."""
    address = b"unknown" if client is None else str(client).encode()
    node = b'"[%b]"' % address if b":" in address else address
    return b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nforwarded: for=%b;proto=%b" % (
        address,
        scheme,
        node,
        scheme,
    )


def _chain(headers: Headers) -> Iterator[bytes]:
    """The node of each hop, the nearest first; empty if it cannot be read."""
    if b"x-forwarded-for" in headers:
        return (part.strip(b" \t") for part in _from_the_right(headers[b"x-forwarded-for"]))
    return (_for_parameter(part) for part in _from_the_right(headers.get(b"forwarded", [])))


def _from_the_right(values: list[bytes]) -> list[bytes]:
    """The members of a list from the right. Quotes are ignored, since the left part may contain a stray one."""
    return b",".join(values).rsplit(b",", MOST_HOPS)[-MOST_HOPS:][::-1]


def _for_parameter(element: bytes) -> bytes:
    """`for` of a forwarded-element (RFC 7239 §4).

    Empty if the element is malformed, for example because a client's comma or quote has cut it off.
    """
    pairs = [_PAIR.fullmatch(pair.strip(b" \t")) for pair in element.split(b";")]
    nodes = [pair[2] for pair in pairs if pair is not None and pair[1].lower() == b"for"]
    return nodes[0] if None not in pairs and len(nodes) == 1 else b""
