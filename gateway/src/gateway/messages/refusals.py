"""The gateway's own error responses: problem documents (RFC 9457) with an error code of RFC 6749 or 6750."""

from dataclasses import dataclass
from http import HTTPStatus

from servicekit import wire

REALM = 'Bearer realm="parley"'
_PROBLEM = "application/problem+json; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """A complete answer. `lines` are its headers except `Content-Length`."""

    status: int
    lines: bytes
    body: bytes


class RefusedError(Exception):
    """The request is refused. `detail` is a fixed text without any part of the request or of an upstream's answer.

    With `close`, the connection is closed after the answer. Refusals for overload are counted and not `logged`, since a
    flood of them would fill the log.
    """

    def __init__(
        self, status: int, error: str, detail: str, lines: str = "", *, close: bool = False, logged: bool = True
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.lines = lines
        self.close = close
        self.logged = logged

    def answer(self, accept: bytes) -> Answer:
        """The answer in JSON or MessagePack, depending on the client's `Accept` header."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "error": self.error}
        msgpack_type = wire.accepted_msgpack(accept.decode())
        body = wire.encode({**document, "detail": str(self)}, msgpack_type or wire.JSON)
        content_type = msgpack_type or _PROBLEM
        lines = f"Cache-Control: no-store\r\nPragma: no-cache\r\n{self.lines}Content-Type: {content_type}\r\n"
        return Answer(self.status, lines.encode(), body)


def malformed(detail: str, status: int = 400) -> RefusedError:
    """The request cannot be read, and so neither can what follows it on the connection."""
    return RefusedError(status, "invalid_request", detail, close=True)


def too_large() -> RefusedError:
    return malformed("the body is too large", 413)


def malformed_bearer(detail: str) -> RefusedError:
    challenge = f'WWW-Authenticate: {REALM}, error="invalid_request"\r\n'
    return RefusedError(400, "invalid_request", detail, challenge)


def insufficient_scope(scope: str) -> RefusedError:
    challenge = f'WWW-Authenticate: {REALM}, error="insufficient_scope", scope="{scope}"\r\n'
    return RefusedError(403, "insufficient_scope", "the token does not act as a user", challenge)


def no_route() -> RefusedError:
    return RefusedError(404, "not_found", "there is no such resource")


def method_not_allowed(allow: str, *, close: bool = False) -> RefusedError:
    detail = "the resource has no such method"
    return RefusedError(405, "method_not_allowed", detail, f"Allow: {allow}\r\n", close=close)


def unavailable(detail: str, retry_after: str = "1", *, logged: bool = True) -> RefusedError:
    """Nothing was done, so the client may repeat the request."""
    return RefusedError(503, "temporarily_unavailable", detail, f"Retry-After: {retry_after}\r\n", logged=logged)


def left_behind() -> RefusedError:
    """The request is not forwarded, since the client may have sent it elsewhere by now."""
    return unavailable("the request was held up for too long")


def crowded(detail: str) -> RefusedError:
    """A quota is used up. Nothing was done."""
    return unavailable(detail, logged=False)


def too_many(detail: str) -> RefusedError:
    """The user or the network has used up its share. Nothing was done."""
    return RefusedError(429, "too_many_requests", detail, "Retry-After: 1\r\n", logged=False)


def upstream_failed(status: int, detail: str, retry_after: str | None = None) -> RefusedError:
    """The upstream has failed, and may or may not have executed the request."""
    lines = f"Retry-After: {retry_after}\r\n" if retry_after is not None else ""
    return RefusedError(status, "server_error", detail, lines)
