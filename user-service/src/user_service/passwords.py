"""Password hashing with argon2id on threads of its own: bounded, so that a flood of logins cannot take the process."""

import asyncio
import contextlib
import secrets
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import argon2

from servicekit.http import ServiceUnavailableError

MAX_BYTES = 1024
# OWASP's second choice. The library's default takes five times as long, and more than 32 MiB is mapped anew each time.
MEMORY_KIB = 19_456
PASSES = 2
LANES = 1

R = TypeVar("R")


class Verdict(NamedTuple):
    """Whether a password is the right one, and the hash to keep instead of one made with older parameters."""

    matches: bool
    replacement: str | None = None


def encode(password: str) -> bytes:
    """The bytes of a password that are hashed: UTF-8 of its NFC form, nothing else changed."""
    return unicodedata.normalize("NFC", password).encode()


class HashPool:
    """Hashes and verifies on `threads` threads; raises ServiceUnavailableError where `queue` others wait already."""

    def __init__(self, executor: ThreadPoolExecutor, threads: int, queue: int) -> None:
        self._executor = executor
        self._limit = threads + queue
        self._under_way = 0
        self._hasher = argon2.PasswordHasher(memory_cost=MEMORY_KIB, time_cost=PASSES, parallelism=LANES)
        self._nobody = self._hasher.hash(secrets.token_bytes(32))

    async def hash(self, password: str) -> str:
        """The argon2id hash of an admitted password, in PHC format, with a salt of its own."""
        return await self._run(lambda: self._hasher.hash(encode(password)))

    async def verify(self, password: str, stored: str | None) -> Verdict:
        """Compare with a stored hash. The work is the same where there is none, as for an unknown user."""
        return await self._run(lambda: self._verify(password, stored))

    def _verify(self, password: str, stored: str | None) -> Verdict:
        given = encode(password)
        if stored is None or len(given) > MAX_BYTES:
            stored, given = self._nobody, b""
        try:
            self._hasher.verify(stored, given)
        except argon2.exceptions.VerifyMismatchError:
            return Verdict(False)
        outdated = self._hasher.check_needs_rehash(stored)
        return Verdict(True, self._hasher.hash(given) if outdated else None)

    async def _run(self, work: Callable[[], R]) -> R:
        if self._under_way >= self._limit:
            raise ServiceUnavailableError("too many passwords wait to be hashed")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._under_way -= 1


@contextlib.asynccontextmanager
async def hash_pool(threads: int, queue: int) -> AsyncIterator[HashPool]:
    """A pool of hashing threads; more of them than cores give less, not more, and each takes 19 MiB."""
    executor = ThreadPoolExecutor(threads, "password")
    try:
        yield HashPool(executor, threads, queue)
    finally:
        executor.shutdown(cancel_futures=True)
