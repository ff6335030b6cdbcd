"""The account that a login means: auth-service counts guesses by it. It must not reveal who has it, if anyone."""

from typing import Any

import pytest

from .conftest import PASSWORD

# Each line is one login name in several spellings that people may type.
SPELLINGS: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "any",
        {"email": "ann.b@example.com"},
        ["ann.b@example.com", "ANN.B@EXAMPLE.COM", "\uff41nn.b@example.com"],
    ),
    (
        "any",
        {"email": "b@m\u00fcnchen.example"},
        ["b@m\u00fcnchen.example", "B@xn--mnchen-3ya.example", "b@MU\u0308NCHEN.example"],
    ),
    ("any", {"username": "Ann \u00c5"}, ["ann \u00e5", "ANN A\u030a", "\uff21nn \u00e5"]),
    ("any", {"phone_number": "+8801712000000"}, ["+8801712000000", "+880 1712-000000", "+880 (1712) 000000"]),
    (
        "phone_number",
        {"phone_number": "+8801712000000"},
        ["+8801712000000", "8801712000000", "01712-000000", "0 17 12 00 00 00", "+880 (1712) 000000"],
    ),
]


@pytest.mark.parametrize(("login_type", "names", "spellings"), SPELLINGS)
async def test_every_spelling_of_a_name_is_one_account_also_where_nobody_has_it(
    start: Any, login_type: str, names: dict[str, str], spellings: list[str]
) -> None:
    service = await start(phone_region="BD")
    nobody = {await service.accounts_of(spelling, login_type) for spelling in spellings}
    await service.add(PASSWORD, **names)
    somebody = {await service.accounts_of(spelling, login_type) for spelling in spellings}
    assert [len(accounts) for found in (nobody, somebody) for accounts in found] == [1, 1]
    assert nobody != somebody
    for spelling in spellings:
        assert await service.check(spelling, PASSWORD, login_type) is not None


# The readings of 4517160567: with its country code, and as a number in Bangladesh.
READINGS = ["+4517160567", "+8804517160567"]


@pytest.mark.parametrize("taken", [[], [0], [1], [0, 1]])
async def test_a_number_that_may_be_read_as_two_is_the_accounts_of_both(start: Any, taken: list[int]) -> None:
    service = await start(phone_region="BD")
    for number in taken:
        await service.add(PASSWORD, phone_number=READINGS[number])
    accounts = [await service.accounts_of(reading) for reading in READINGS]
    bare = await service.accounts_of("4517160567", "phone_number")
    assert [(account,) for account in sorted(bare)] == sorted(accounts)
    assert len(set(accounts)) == 2
    assert (bare[0],) == accounts[(taken or [0])[0]], "the one that is logged in comes first"
    assert await service.accounts_of("451-716 0567", "phone_number") == bare


async def test_nothing_in_the_answer_tells_which_of_two_readings_is_a_user_s(start: Any) -> None:
    service = await start(phone_region="BD")
    token, body = service.issuer.service_token("credentials:check"), {"login_type": "phone_number"}
    await service.add(PASSWORD, phone_number=READINGS[1])
    replies = [
        await service.request("POST", "/internal/credentials/account", body | {"login": login}, token=token)
        for login in ("4517160567", "4517160568")
    ]
    assert {(reply.status, len(reply.body), *map(len, reply.json["accounts"])) for reply in replies} == {
        (200, 148, 64, 64)
    }


async def test_all_names_of_a_user_are_one_account_and_no_other_user_s(service: Any) -> None:
    names = ["a@x.com", "ann", "+8801700000000"]
    await service.add(PASSWORD, email=names[0], username=names[1], phone_number=names[2])
    await service.add(PASSWORD, email="a.n@x.com", username="an.n", phone_number="+491700000000")
    assert len({await service.accounts_of(name) for name in names}) == 1
    accounts = {
        await service.accounts_of(name) for name in ["ann", "an.n", "a.nn", "a@x.com", "a.n@x.com", "user 1", ""]
    }
    assert len(accounts) == 5


async def test_a_disabled_user_is_the_same_account(service: Any) -> None:
    await service.add(PASSWORD, email="a@x.com", username="ann")
    before = await service.accounts_of("a@x.com")
    await service.rows("UPDATE users SET disabled_at = now()")
    assert {await service.accounts_of("a@x.com"), await service.accounts_of("ann")} == {before}


async def test_nothing_in_the_answer_tells_a_user_from_nobody(service: Any) -> None:
    await service.add(PASSWORD, email="known@x.com")
    token = service.issuer.service_token("credentials:check")
    replies = [
        await service.request("POST", "/internal/credentials/account", {"login": login}, token=token)
        for login in ("known@x.com", "unknown@x.com", "", "@", "user 1", "nobody", "x" * 60_000)
    ]
    assert {(reply.status, len(reply.body), len(reply.json["accounts"][0])) for reply in replies} == {(200, 81, 64)}
    varying = {"date", "x-request-id"}
    headers = [
        {name: value for name, value in reply.headers.items() if name.lower() not in varying} for reply in replies
    ]
    assert headers == [headers[0]] * len(headers)
    assert len({reply.body for reply in replies}) == len(replies)
