"""The CORS protocol of the Fetch standard, which lets pages of chosen origins call the API from a browser."""

from yarl import URL

from gateway import routes

_HEADERS = b"Authorization, Content-Type, Accept, Accept-Language, Language, X-Request-Id, traceparent, tracestate"
_EXPOSED = b"Retry-After, WWW-Authenticate, X-Request-Id"
_VARY = b"Vary: Origin\r\n"
_MAX_AGE = 600


def parse_origins(text: str) -> frozenset[bytes]:
    """The origins in a comma-separated list. Raises ValueError that names each invalid one."""
    origins = [origin.strip() for origin in text.split(",") if origin.strip()]
    faulty = [origin for origin in origins if not _is_origin(origin)]
    if faulty:
        raise ValueError(f"{', '.join(faulty)}: not an origin such as https://app.example")
    return frozenset(origin.encode() for origin in origins)


def _is_origin(text: str) -> bool:
    try:
        url = URL(text)
        return url.scheme in ("http", "https") and bool(url.host) and str(url.origin()) == text
    except ValueError:
        return False


class Cors:
    """CORS headers for exactly these `origins`. Credentials mode is never allowed, since tokens are not cookies."""

    def __init__(self, origins: frozenset[bytes]) -> None:
        self._origins = origins

    def headers(self, origin: bytes) -> bytes:
        """The lines of every answer to a request from `origin`, which is empty if the request states none."""
        if not self._origins:
            return b""
        if origin not in self._origins:
            return _VARY
        return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: %b\r\n%b" % (origin, _EXPOSED, _VARY)

    def preflight(self, origin: bytes, method: bytes) -> bytes | None:
        """The lines that answer a preflight for `method`, in addition to `headers`; None if it is no preflight."""
        if origin not in self._origins or not method:
            return None
        methods = ", ".join(routes.ORDINARY_METHODS).encode()
        return (
            b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Allow-Headers: %b\r\nAccess-Control-Max-Age: %d\r\n"
            % (methods, _HEADERS, _MAX_AGE)
        )
