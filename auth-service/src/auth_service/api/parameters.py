"""Reads the parameters and the client credentials of a token request, strictly and in any dialect."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from aiohttp import hdrs, web

from auth_service.core.errors import InvalidClientError, InvalidRequestError
from servicekit import http, wire

# Only `grant_type` is allowed in the query, because queries are logged and remembered on their way.
QUERY_PARAMETERS = frozenset({"grant_type"})
SECRET_PARAMETERS = frozenset(
    {"client_id", "client_secret", "username", "login", "phone_number", "password", "refresh_token", "token", "scope"}
)


@dataclass(frozen=True)
class ClientCredentials:
    """A client's id and secret as the request gives them; None if it gives none."""

    client_id: str | None
    secret: str | None = field(default=None, repr=False)


class UnreadableRequestError(InvalidRequestError):
    """The request cannot be read. `status` is the HTTP status to answer with."""

    def __init__(self, description: str, status: int = 400) -> None:
        super().__init__(f"The request cannot be read: {description}.")
        self.status = status


async def read_parameters(request: web.Request) -> dict[str, str]:
    """Read body and query as one set of parameters. Raises InvalidRequestError."""
    return check_parameters(request, await read_body(request))


async def read_body(request: web.Request) -> dict[str, Any]:
    """Read the body as an object whose values may have any type. Raises UnreadableRequestError."""
    if hdrs.CONTENT_ENCODING in request.headers:
        raise UnreadableRequestError("a content encoding is not supported", 415)
    try:
        return await http.read_object(request, (wire.JSON, wire.FORM))
    except wire.MalformedBodyError as error:
        # RFC 6749 answers every malformed body with 400; only errors of the transport keep their own status.
        raise UnreadableRequestError(str(error), error.status if error.status in (408, 413) else 400) from None


def named_client(request: web.Request, body: dict[str, Any]) -> str | None:
    """The client_id of a request. It is read first, so that an error in the rest is reported in the client's dialect.

    Raises UnreadableRequestError, and the errors of `read_client_credentials`.
    """
    named = body.get("client_id")
    if not isinstance(named, str | None):
        raise UnreadableRequestError("client_id is not a string")
    return named or read_client_credentials(request, {}).client_id


def check_parameters(request: web.Request, body: dict[str, Any]) -> dict[str, str]:
    """Merge body and query. Each parameter must be a string and be given only once. Raises InvalidRequestError."""
    if not all(isinstance(value, str | None) for value in body.values()):
        raise InvalidRequestError("A parameter is not a string.")
    try:
        query = wire.read_form(request.rel_url.raw_query_string.encode("latin-1", "replace"))
    except wire.MalformedBodyError:
        raise InvalidRequestError("The query cannot be read.") from None
    if query.keys() & SECRET_PARAMETERS or query.keys() & body.keys():
        raise InvalidRequestError("A parameter is not allowed in the query.")
    parameters = body | {name: value for name, value in query.items() if name in QUERY_PARAMETERS}
    return {name: value for name, value in parameters.items() if value is not None}


def read_client_credentials(request: web.Request, parameters: dict[str, str]) -> ClientCredentials:
    """Read credentials from HTTP Basic or from the body, but not from both (RFC 6749 section 2.3).

    Schemes other than Basic are ignored: apps send their old bearer token along with a refresh. Raises
    InvalidRequestError or InvalidClientError.
    """
    named = parameters.get("client_id") or None
    secret = parameters.get("client_secret") or None
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(headers) > 1:
        raise InvalidRequestError("There is more than one Authorization header.")
    scheme, _, encoded = headers[0].partition(" ") if headers else ("", "", "")
    if scheme.lower() != "basic":
        return ClientCredentials(named, secret)
    if secret is not None:
        raise InvalidRequestError("The client authenticates in more than one way.")
    basic = _basic(encoded.strip())
    if named is not None and named != basic.client_id:
        raise InvalidRequestError("There are two client_ids.")
    return basic


def _basic(encoded: str) -> ClientCredentials:
    """Decode id and secret, form-encoded before base64; an empty secret counts as none (RFC 6749 section 2.3.1)."""
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).partition(b":")
        if not colon or not client_id:
            raise InvalidClientError
        return ClientCredentials(wire.form_decode(client_id), wire.form_decode(secret) or None)
    except (binascii.Error, ValueError, wire.MalformedBodyError):
        raise InvalidClientError from None
