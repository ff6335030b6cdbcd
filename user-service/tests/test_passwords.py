"""Hashing: parameters, equality, and what happens when too much of it is asked at once."""

import asyncio

import argon2
import pytest

from servicekit.http import ServiceUnavailableError
from user_service.passwords import hash_pool


async def test_passwords_are_kept_as_argon2id_with_the_parameters_set_and_a_salt_of_their_own() -> None:
    async with hash_pool(1, 1) as hashes:
        first, second = await hashes.hash("correct horse battery"), await hashes.hash("correct horse battery")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first.split("$")[4] != second.split("$")[4]
    assert len(first.split("$")[4]) == 22  # 16 bytes in base64


async def test_only_the_same_password_in_any_normal_form_matches() -> None:
    async with hash_pool(1, 1) as hashes:
        stored = await hashes.hash("caf\u00e9 \u0000 " + "x" * 900)
        assert await hashes.verify("cafe\u0301 \u0000 " + "x" * 900, stored) == (True, None)
        for wrong in ("caf\u00e9 \u0000 " + "x" * 899 + "y", "caf\u00e9 ", "", "CAF\u00c9 \u0000 " + "x" * 900):
            assert not (await hashes.verify(wrong, stored)).matches


async def test_an_endless_password_is_simply_wrong() -> None:
    async with hash_pool(1, 1) as hashes:
        stored = await hashes.hash("x" * 1024)
        assert (await hashes.verify("x" * 1024, stored)).matches
        assert not (await hashes.verify("x" * 1025, stored)).matches
        assert not (await hashes.verify("", None)).matches


async def test_a_hash_made_with_older_parameters_is_replaced() -> None:
    stored = argon2.PasswordHasher(memory_cost=64, time_cost=1, parallelism=1).hash("correct horse battery")
    async with hash_pool(1, 1) as hashes:
        assert await hashes.verify("wrong", stored) == (False, None)
        matches, replacement = await hashes.verify("correct horse battery", stored)
        assert matches
        assert replacement is not None
        assert await hashes.verify("correct horse battery", replacement) == (True, None)


async def test_beyond_the_queue_hashing_is_refused_at_once_and_the_rest_is_done() -> None:
    async with hash_pool(threads=2, queue=3) as hashes:
        results = await asyncio.gather(*(hashes.verify("x", None) for _ in range(20)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, ServiceUnavailableError)]
        assert len(refused) == 15
        assert not (await hashes.verify("x", None)).matches  # there is room again


async def test_the_event_loop_stays_free_while_passwords_are_hashed() -> None:
    async with hash_pool(threads=1, queue=8) as hashes:
        hashing = [asyncio.create_task(hashes.verify("x", None)) for _ in range(8)]
        turns = 0
        while not all(task.done() for task in hashing):
            await asyncio.sleep(0)
            turns += 1
    assert turns > 500


@pytest.mark.parametrize("password", ["\ud800", "x\udfff"])
async def test_a_lone_surrogate_cannot_be_hashed(password: str) -> None:
    async with hash_pool(1, 1) as hashes:
        with pytest.raises(UnicodeEncodeError):
            await hashes.hash(password)
