"""What the gateway answers by itself: a problem document with the code of RFC 6749 or 6750 beside it."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from servicekit import http

REALM = 'Bearer realm="parley"'


class RefusedError(Exception):
    """The request goes no further. `detail` is a fixed text: nothing of the request or of an upstream stands in it."""

    def __init__(
        self,
        status: int,
        error: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.headers = headers
        self.close = close

    def response(self, accept: str) -> web.Response:
        """The answer, as the client's `Accept` header asks for it; it ends the connection where `close` is set."""
        response = http.problem(
            self.status,
            HTTPStatus(self.status).phrase,
            accept=accept,
            headers=self.headers,
            error=self.error,
            detail=str(self),
        )
        if self.close:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"  # said to a client of HTTP/1.0 too
        return response


def malformed(detail: str, status: int = 400) -> RefusedError:
    """A request that cannot be read, after which the connection cannot be trusted either."""
    return RefusedError(status, "invalid_request", detail, close=True)


def malformed_bearer(detail: str) -> RefusedError:
    challenge = f'{REALM}, error="invalid_request"'
    return RefusedError(400, "invalid_request", detail, headers={hdrs.WWW_AUTHENTICATE: challenge})


def insufficient_scope(scope: str) -> RefusedError:
    challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
    detail = "the token does not act as a user"
    return RefusedError(403, "insufficient_scope", detail, headers={hdrs.WWW_AUTHENTICATE: challenge})


def no_route() -> RefusedError:
    return RefusedError(404, "not_found", "there is no such resource")


def method_not_allowed(allow: str, *, close: bool = False) -> RefusedError:
    detail = "the resource has no such method"
    return RefusedError(405, "method_not_allowed", detail, headers={hdrs.ALLOW: allow}, close=close)


def unavailable(detail: str, retry_after: str = "1") -> RefusedError:
    """Nothing was done, so the client may send the same again."""
    return RefusedError(503, "temporarily_unavailable", detail, headers={hdrs.RETRY_AFTER: retry_after})


def upstream_failed(status: int, detail: str) -> RefusedError:
    """An upstream may have done what was asked for; nobody knows."""
    return RefusedError(status, "server_error", detail)
