"""Which headers pass the gateway, in either direction."""

import re
from collections.abc import Iterable

Headers = list[tuple[str, str]]
Received = Iterable[tuple[bytes, bytes]]

_HOP_BY_HOP = (
    "connection|http2-settings|keep-alive|proxy-authenticate|proxy-authorization|proxy-connection|te|trailer"
    "|transfer-encoding|upgrade"
)
_FRAMING = "content-length|expect|host"
# Only the gateway says who a request is from, where it came from and where it goes; no upstream reads a cookie.
_CLAIMS = (
    "authorization|cf-connecting-ip|client-ip|cookie|forwarded|remote-user|true-client-ip|x-accel-.*|x-auth-.*"
    "|x-client-ip|x-cluster-client-ip|x-forwarded-.*|x-host|x-http-method|x-http-method-override|x-internal-.*"
    "|x-method-override|x-original-.*|x-parley-.*|x-real-ip|x-remote-.*|x-request-id|x-rewrite-url|x-user-.*"
    "|x-webauth-.*"
)
_FROM_CLIENT_DROPPED = re.compile(f"{_HOP_BY_HOP}|{_FRAMING}|{_CLAIMS}")
_TO_CLIENT_DROPPED = re.compile(
    f"{_HOP_BY_HOP}|access-control-.*|server|x-accel-.*|x-auth-.*|x-internal-.*|x-parley-.*|x-powered-by|x-request-id"
    "|x-user-.*"
)

# A server that maps "_" or "." to "-" would take X_User_Id for X-User-Id, so such names do not pass at all.
_NAME = re.compile(r"[A-Za-z0-9-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")


class UnsendableHeaderError(ValueError):
    """A header holds a control character, or bytes that are not UTF-8."""


def from_client(received: Received) -> Headers:
    """The headers of a request that an upstream gets; the gateway adds its own afterwards, so none can be nominated.

    Names are in lower case: aiohttp's client takes a second spelling of a name for a replacement of the first.
    """
    return [(name.lower(), value) for name, value in _kept(received, _FROM_CLIENT_DROPPED)]


def to_client(received: Received) -> Headers:
    """The headers of an upstream's response that the client gets, in order and as often as they came."""
    return _kept(received, _TO_CLIENT_DROPPED)


def _kept(received: Received, dropped: re.Pattern[str]) -> Headers:
    headers = [(name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in received]
    if not all(_VALUE.fullmatch(value) for _, value in headers):
        raise UnsendableHeaderError
    nominated = {
        name.strip().lower() for field, value in headers if field.lower() == "connection" for name in value.split(",")
    }
    return [
        (name, value)
        for name, value in headers
        if _NAME.fullmatch(name) and name.lower() not in nominated and not dropped.fullmatch(name.lower())
    ]
