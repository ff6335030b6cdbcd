"""Scope as RFC 6749 section 3.3 has it: which characters, and what a client may ask for."""

import re

from auth_service.core.errors import InvalidScopeError
from auth_service.core.model import Client

_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def parse(scope: str | None) -> frozenset[str] | None:
    """The scope tokens of a parameter, None where it is omitted. Raises InvalidScopeError."""
    if scope is None:
        return None
    tokens = scope.split(" ")
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        raise InvalidScopeError
    return frozenset(tokens)


def granted(scope: str | None, client: Client) -> frozenset[str]:
    """What a client is granted that asks for `scope`: all of it, or its default. Raises InvalidScopeError."""
    requested = parse(scope)
    if requested is None:
        return client.default_scope
    if not requested <= client.scope:
        raise InvalidScopeError
    return requested


def join(scope: frozenset[str]) -> str:
    return " ".join(sorted(scope))
