"""Password hashing with argon2id on its own, bounded threads, so that a flood of logins cannot exhaust the process."""

import asyncio
import contextlib
import os
import secrets
import sys
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import argon2

from user_service.hash_queue import HashQueue
from user_service.hash_shares import Admission

MAX_BYTES = 1024
# OWASP's second choice. The library's default takes five times as long, and over 32 MiB memory is mapped on each call.
MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
NICENESS = 10


class Comparison(NamedTuple):
    """The result of a comparison, with a new hash to store where the old one was made with older parameters."""

    matches: bool
    replacement: str | None = None


def encode(password: str) -> bytes:
    """The bytes of a password that are hashed: its NFC form in UTF-8, otherwise unchanged.

    A password of more than `MAX_BYTES` characters, which no user can have, is not normalized: that could take a second.
    """
    short = len(password) <= MAX_BYTES
    return (unicodedata.normalize("NFC", password) if short else password).encode()


class Hasher:
    """argon2id with the service's parameters. Each call keeps a core busy for tens of milliseconds."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(memory_cost=MEMORY_KIB, time_cost=PASSES, parallelism=LANES)
        self._nobody = self._hasher.hash(secrets.token_bytes(32))

    def hash(self, password: str) -> str:
        return self._hasher.hash(encode(password))

    def verify(self, password: str, stored: str | None) -> Comparison:
        given = encode(password)
        if stored is None or len(given) > MAX_BYTES:
            stored, given = self._nobody, b""
        try:
            self._hasher.verify(stored, given)
        except argon2.exceptions.VerifyMismatchError:
            return Comparison(False)
        outdated = self._hasher.check_needs_rehash(stored)
        return Comparison(True, self._hasher.hash(given) if outdated else None)


class AdmittedHashes:
    """The hashes that were admitted. Each method raises OverloadedError or CallerGoneError if it comes too late."""

    def __init__(self, hasher: Hasher, queue: HashQueue, admission: Admission) -> None:
        self._hasher = hasher
        self._queue = queue
        self._admission = admission

    def identify(self, account: str) -> None:
        """Name the account that the password turned out to belong to. Raises OverloadedError."""
        self._queue.identify(self._admission, account)

    async def hash(self, password: str) -> str:
        """The argon2id hash of an admitted password, in PHC format, with a salt of its own."""
        return await self._queue.run(self._admission, lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> Comparison:
        """Compare with a stored hash. The work is the same where there is none, as for an unknown user."""
        return await self._queue.run(self._admission, lambda: self._hasher.verify(password, stored))


class HashPool:
    """Hashes and verifies passwords within the room that `admission` grants."""

    def __init__(self, hasher: Hasher, queue: HashQueue) -> None:
        self._hasher = hasher
        self._queue = queue

    @property
    def counters(self) -> Mapping[str, int]:
        return self._queue.counters

    @contextlib.contextmanager
    def admission(self, network: str, account: str, hashes: int = 1) -> Iterator[AdmittedHashes]:
        """Reserve room for this many hashes, before any costly step. Raises OverloadedError at once.

        The hashes count towards the shares of `network` and `account`, names that are neither logged nor shown.
        """
        with self._queue.admission(network, account, hashes) as admission:
            yield AdmittedHashes(self._hasher, self._queue, admission)


@contextlib.asynccontextmanager
async def hash_pool(threads: int, deadline: float) -> AsyncIterator[HashPool]:
    """A pool of hashing threads, each of which takes 19 MiB; more threads than cores hash less, not more.

    A password waits at most `deadline` seconds for its thread.
    """
    executor = ThreadPoolExecutor(threads, "password", _give_way)
    try:
        hasher, hash_time = await asyncio.get_running_loop().run_in_executor(executor, _hasher_and_hash_time)
        with contextlib.closing(HashQueue(executor, threads, deadline, hash_time)) as queue:
            yield HashPool(hasher, queue)
    finally:
        executor.shutdown(cancel_futures=True)


def _give_way() -> None:
    """Give this thread a lower priority than everything else: verifications of tokens must not wait for logins."""
    if sys.platform == "linux":  # elsewhere this would apply to the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _hasher_and_hash_time() -> tuple[Hasher, float]:
    """The hasher, and the seconds that a hash takes; the first one is not measured, since it also allocates memory."""
    hasher = Hasher()
    started = time.perf_counter()
    hasher.verify("", None)
    return hasher, time.perf_counter() - started
