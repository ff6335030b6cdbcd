"""Scope (RFC 6749 section 3.3): its characters, and the part of it that a client is granted."""

import re

from auth_service.core.errors import InvalidScopeError
from auth_service.core.model import Client

_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def parse(scope: str) -> frozenset[str] | None:
    """The scope tokens of a parameter, or None if it is empty or omitted. Raises InvalidScopeError."""
    if not scope:
        return None
    tokens = scope.split(" ")
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        raise InvalidScopeError
    return frozenset(tokens)


def granted(requested: frozenset[str] | None, client: Client) -> frozenset[str]:
    """The requested scope, which the client must have, or its default scope. Raises InvalidScopeError."""
    if requested is None:
        return client.default_scope
    if not requested <= client.scope:
        raise InvalidScopeError
    return requested


def join(scope: frozenset[str]) -> str:
    return " ".join(sorted(scope))
