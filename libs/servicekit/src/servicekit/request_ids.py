"""The id that identifies a request in the logs of every service."""

import re
import secrets

from multidict import CIMultiDictProxy
from structlog.contextvars import get_contextvars

HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


def request_id(headers: CIMultiDictProxy[str]) -> str:
    """The client's `X-Request-Id` if it is well formed, else a new id."""
    given = headers.get(HEADER, "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def outgoing_request_id() -> dict[str, str]:
    """The header that passes the id of the current request on to another service."""
    current = get_contextvars().get("request_id")
    return {HEADER: current} if current else {}
