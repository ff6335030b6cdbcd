"""Reads request bodies as typed objects, and renders refusals as problem documents that name the faulty fields."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from aiohttp import hdrs, web

from servicekit import http, wire
from servicekit.throttling.rate_limiter import ThrottledError
from user_service.users import (
    ChangedMeanwhileError,
    InsufficientAuthenticationError,
    InvalidFieldsError,
    NoSuchUserError,
    TakenError,
)

T = TypeVar("T", bound=msgspec.Struct)

MEDIA_TYPES = (wire.JSON, *wire.MSGPACK_TYPES)
_FIELD_NAME = re.compile(r"[a-z_.]{1,64}")


def read(body: object, form: type[T]) -> T:
    """Read `body` as a `form`, with strict types. Raises InvalidFieldsError with all faults, such as unknown fields."""
    if not isinstance(body, dict):
        raise InvalidFieldsError({"": "must be an object"})
    fields = {field.name: field for field in msgspec.structs.fields(form)}
    faults = {_field_name(name): "is not a field of this request" for name in body.keys() - fields}
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in body:
            try:
                values[name] = msgspec.convert(body[name], field.type)
            except msgspec.ValidationError as error:
                faults[name] = str(error) if str(error).startswith("Expected") else "is not an allowed value"
        elif field.required:
            faults[name] = "is missing"
    if faults:
        raise InvalidFieldsError(faults)
    return form(**values)


def _field_name(name: object) -> str:
    """The name if it looks like a field's, else nothing: a client's arbitrary text must not be repeated."""
    return name if isinstance(name, str) and _FIELD_NAME.fullmatch(name) else ""


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Prefix the faults found in this context with `name`, the field that contains the faulty ones."""
    try:
        yield
    except InvalidFieldsError as error:
        faults = {f"{name}.{field}" if field else name: fault for field, fault in error.faults.items()}
        raise type(error)(faults) from None


def reply(request: web.Request, value: object, status: int = 200) -> web.Response:
    """`value` in JSON, or in MessagePack if `Accept` asks for it; no cache may store it."""
    media_type = wire.accepted_msgpack(request.headers.get(hdrs.ACCEPT, ""))
    headers = {**http.NO_STORE, hdrs.CONTENT_TYPE: media_type or "application/json; charset=utf-8"}
    return web.Response(status=status, body=wire.encode(value, media_type or wire.JSON), headers=headers)


@web.middleware
async def refusals(request: web.Request, handler: http.Handler) -> web.StreamResponse:
    """Render the refusals of requests (RFC 9457); other errors are left to the frame around this."""
    try:
        return await handler(request)
    except NoSuchUserError:
        raise web.HTTPNotFound from None
    except ChangedMeanwhileError:
        raise web.HTTPConflict from None
    except ThrottledError as error:
        headers = {"Retry-After": str(error.retry_after)}
        return http.problem(429, "Too Many Requests", accept=request.headers.get(hdrs.ACCEPT, ""), headers=headers)
    except InsufficientAuthenticationError as error:
        accept = request.headers.get(hdrs.ACCEPT, "")
        headers = {hdrs.WWW_AUTHENTICATE: error.challenge} if error.challenge else {}
        return http.problem(403, "Forbidden", accept=accept, headers=headers, error=error.code, detail=str(error))
    except TakenError as error:
        return _problem(request, 409, "Conflict", error.faults)
    except InvalidFieldsError as error:
        return _problem(request, 422, "Unprocessable Content", error.faults)
    except wire.MalformedBodyError as error:
        if error.status != 422:
            raise
        return _problem(request, 422, "Unprocessable Content", {_field_name(error.field): str(error)})


def _problem(request: web.Request, status: int, title: str, faults: dict[str, str]) -> web.Response:
    errors = [{"field": field, "message": message} for field, message in faults.items()]
    return http.problem(status, title, accept=request.headers.get(hdrs.ACCEPT, ""), errors=errors)
