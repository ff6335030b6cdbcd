"""Hashing: its parameters, the comparison of passwords, and the limit on concurrent hashes."""

import asyncio
from collections.abc import AsyncIterator

import argon2
import pytest

from user_service.passwords import AdmittedHashes, hash_pool


@pytest.fixture
async def hashes() -> AsyncIterator[AdmittedHashes]:
    """One thread, and room for as many hashes as a test makes."""
    async with hash_pool(threads=1, deadline=60) as pool:
        with pool.admission("192.0.2.1/32", "ann", hashes=10) as hashes:
            yield hashes


async def test_passwords_are_kept_as_argon2id_with_the_parameters_set_and_a_salt_of_their_own(
    hashes: AdmittedHashes,
) -> None:
    first, second = await hashes.hash("correct horse battery"), await hashes.hash("correct horse battery")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first.split("$")[4] != second.split("$")[4]
    assert len(first.split("$")[4]) == 22  # 16 bytes in base64


async def test_only_the_same_password_in_any_normal_form_matches(hashes: AdmittedHashes) -> None:
    stored = await hashes.hash("caf\u00e9 \u0000 " + "x" * 900)
    assert await hashes.verify("cafe\u0301 \u0000 " + "x" * 900, stored) == (True, None)
    for wrong in ("caf\u00e9 \u0000 " + "x" * 899 + "y", "caf\u00e9 ", "", "CAF\u00c9 \u0000 " + "x" * 900):
        assert not (await hashes.verify(wrong, stored)).matches


async def test_an_endless_password_is_simply_wrong(hashes: AdmittedHashes) -> None:
    stored = await hashes.hash("x" * 1024)
    assert (await hashes.verify("x" * 1024, stored)).matches
    assert not (await hashes.verify("x" * 1025, stored)).matches
    assert not (await hashes.verify("", None)).matches


async def test_a_hash_made_with_older_parameters_is_replaced(hashes: AdmittedHashes) -> None:
    stored = argon2.PasswordHasher(memory_cost=64, time_cost=1, parallelism=1).hash("correct horse battery")
    assert await hashes.verify("wrong", stored) == (False, None)
    matches, replacement = await hashes.verify("correct horse battery", stored)
    assert matches
    assert replacement is not None
    assert await hashes.verify("correct horse battery", replacement) == (True, None)


async def test_the_event_loop_stays_free_while_passwords_are_hashed(hashes: AdmittedHashes) -> None:
    hashing = [asyncio.create_task(hashes.verify("x", None)) for _ in range(8)]
    turns = 0
    while not all(task.done() for task in hashing):
        await asyncio.sleep(0)
        turns += 1
    assert turns > 500


@pytest.mark.parametrize("password", ["\ud800", "x\udfff"])
async def test_a_lone_surrogate_cannot_be_hashed(hashes: AdmittedHashes, password: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        await hashes.hash(password)
