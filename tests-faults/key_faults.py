"""Signing keys that are rotated faster than replicas normally learn of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from dev import processes
from fault import NOTHING, Fault
from replicas import Stack


@contextlib.asynccontextmanager
async def rotated_again_and_again(stack: Stack) -> AsyncIterator[None]:
    """`keys rotate --now`, repeated as soon as it returns."""
    rotating = asyncio.create_task(_rotate(stack))
    try:
        yield
    finally:
        rotating.cancel()
        await asyncio.gather(rotating, return_exceptions=True)


async def _rotate(stack: Stack) -> None:
    service = stack.replicas["auth-service-1"].service
    while True:
        await processes.run("keys", service.command("keys", "rotate", "--now"), service.environment)


FAULTS = [Fault("signing-keys-replaced-at-once", rotated_again_and_again, 8, NOTHING, over=0.0, longest=2.0)]
