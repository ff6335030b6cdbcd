"""A guess at a number with two readings counts for both, and does not reveal whose they are."""

import pytest

from .guesses import Number, address, guess, statuses

TAKEN = [(), (0,), (1,), (0, 1)]


async def test_whether_a_reading_of_a_number_is_a_user_s_is_not_told_by_guesses_at_the_number(counting, parties):
    service, share = await counting()
    answers = []
    for taken in TAKEN:
        number, place = Number(service, *taken), address()
        found = [await guess(service, parties["bongo"], number.bare, place) for _ in range(5)]
        found += [await guess(service, parties["bongo"], spelled, place) for spelled in number.spelled]
        answers.append([reply.status for reply in found])
    few = 5 if share == 1 else 3
    assert answers == [[401] * few + [429] * (7 - few)] * len(TAKEN)


@pytest.mark.parametrize("guessed", [0, 1])
async def test_nor_is_it_told_at_the_number_by_guesses_at_the_reading(counting, parties, guessed):
    service, share = await counting()
    few, answers = 5 if share == 1 else 3, []
    for taken in TAKEN:
        number, place = Number(service, *taken), address()
        for _ in range(5):
            await guess(service, parties["bongo"], number.spelled[guessed], place)
        found = [await guess(service, parties["bongo"], number.bare, place) for _ in range(3)]
        found += [await guess(service, parties["bongo"], number.spelled[1 - guessed], place) for _ in range(6)]
        answers.append([reply.status for reply in found])
    assert answers == [[429] * 3 + [401] * few + [429] * (6 - few)] * len(TAKEN)


async def test_the_owner_of_one_reading_of_a_number_clears_nothing_at_the_other(throttled, parties):
    service, party, place = throttled[0], parties["bongo"], address()
    number = Number(service, 0, 1)
    for _ in range(4):
        assert (await guess(service, party, number.spelled[1], place)).status == 401
    assert (await guess(service, party, number.bare, place, number.bare.password)).status == 201
    replies = [await guess(throttled[n % 2], party, number.spelled[1], place) for n in range(3)]
    assert statuses(replies) == {401: 1, 429: 2}


@pytest.mark.parametrize("taken", [(0,), (1,), (0, 1)])
async def test_guesses_at_the_other_reading_keep_nobody_out(throttled, parties, taken):
    party, home, number = parties["bongo"], address(), Number(throttled[0], *taken)
    assert (await guess(throttled[0], party, number.bare, home, number.bare.password)).status == 201
    other = number.spelled[1 - taken[0]]
    for n in range(40):
        await guess(throttled[n % 2], party, other, address())
    for _ in range(5):
        await guess(throttled[0], party, other, home)
    assert (await guess(throttled[0], party, number.bare, address(), number.bare.password)).status == 429
    assert (await guess(throttled[1], party, number.bare, home, number.bare.password)).status == 201
