"""Strict readers for request bodies (JSON, MessagePack, forms) and the choice of the reply's media type.

A reader returns plain dicts. It raises `MalformedBodyError` for duplicate names, invalid UTF-8, and numbers or strings
that a database or another parser would read differently.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import msgpack
import msgspec

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack")

_MAX_FORM_FIELDS = 100
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


class MalformedBodyError(ValueError):
    """The body cannot be read. `status` is the HTTP status to answer with; the text never quotes the body.

    `field` is the path of a refused text, such as `user.email`; the client chose its words if it is no known field.
    """

    def __init__(self, message: str, status: int = 400, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.field = field


def _unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise MalformedBodyError("a name is not a text")  # in MessagePack, bytes can be names too
        if name in result:
            raise MalformedBodyError("a name is given twice")
        result[name] = value
    return result


def _refuse_constant(_name: str) -> NoReturn:
    raise MalformedBodyError("NaN and Infinity are not JSON")


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedBodyError("the body is not an object")
    _check(value)
    return value


def _check(value: object, field: str = "") -> None:
    """Refuse values and names that PostgreSQL, UTF-8 or JSON cannot hold: NUL, lone surrogates and infinity."""
    if isinstance(value, str):
        if _NOT_TEXT.search(value):
            raise MalformedBodyError("a text has a character that is not allowed", 422, field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise MalformedBodyError("a number is not finite", field=field)  # 1e999 becomes infinite when it is read
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, field)
            _check(item, f"{field}.{name}" if field else str(name))
    elif isinstance(value, list):
        for item in value:
            _check(item, field)


def read_json(raw: bytes) -> dict[str, Any]:
    """Read a JSON object (RFC 8259, UTF-8 without byte order mark)."""
    try:
        text = raw.decode("utf-8", "strict")
        return _object(json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant))
    except MalformedBodyError:
        raise
    except (ValueError, RecursionError):
        raise MalformedBodyError("the body is not JSON") from None


def read_msgpack(raw: bytes) -> dict[str, Any]:
    """Read a MessagePack map with string keys."""
    try:
        return _object(msgpack.unpackb(raw, object_pairs_hook=_unique, strict_map_key=True))
    except MalformedBodyError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        raise MalformedBodyError("the body is not MessagePack") from None


def form_decode(raw: bytes) -> str:
    """Undo `application/x-www-form-urlencoded` of one name or value, strictly UTF-8.

    urllib's own parser reads an invalid byte as U+FFFD, which makes two different passwords equal.
    """
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "strict")
    except ValueError:
        raise MalformedBodyError("the body is not UTF-8") from None
    _check(text)
    return text


def read_form(raw: bytes) -> dict[str, str]:
    """Read an HTML form body, or a query string."""
    pairs = [pair.partition(b"=") for pair in raw.split(b"&") if pair]
    if len(pairs) > _MAX_FORM_FIELDS:
        raise MalformedBodyError("the form has too many fields")
    return _unique((form_decode(name), form_decode(value)) for name, _, value in pairs)


READERS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    JSON: read_json,
    FORM: read_form,
    **dict.fromkeys(MSGPACK_TYPES, read_msgpack),
}


def accepted_msgpack(accept: str) -> str | None:
    """The MessagePack media type that an `Accept` header prefers to JSON, as the client writes it, or None."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        weights.setdefault(media_type, _weight(parameters))
    for media_type in MSGPACK_TYPES:
        weight = weights.get(media_type, 0.0)
        if weight > 0 and weight >= weights.get(JSON, 0.0):
            return media_type
    return None


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def encode(value: object, media_type: str = JSON) -> bytes:
    """Encode a reply's object in MessagePack if `media_type` is one of its types, else in JSON."""
    return msgspec.msgpack.encode(value) if media_type in MSGPACK_TYPES else msgspec.json.encode(value)
