"""Which new passwords are admitted."""

import pytest

from user_service.login_names import email, phone_number, username
from user_service.password_policy import PasswordPolicy
from user_service.users import InvalidFieldsError, LoginNames

NAMES = LoginNames(
    email("Someone.Long@example.com"), username("Somebody Important"), phone_number("+8801700000000", None)
)
DEFAULT = PasswordPolicy(min_length=15, blocklist=True)
SHORT = PasswordPolicy(min_length=6, blocklist=True)


def refusal(policy: PasswordPolicy, password: str) -> str:
    with pytest.raises(InvalidFieldsError) as caught:
        policy.check(password, NAMES)
    return caught.value.faults["password"]


@pytest.mark.parametrize(
    "password",
    [
        *("a" * 15, " " * 15, "\U0001f600" * 15, "correct horse battery", "\u043f\u0430\u0440\u043e\u043b\u044c" * 3),
        *("x" * 1024, "\u00e9" * 512, "parley is a nice name"),
    ],
)
def test_length_is_all_that_is_asked(password: str) -> None:
    DEFAULT.check(password, NAMES)


@pytest.mark.parametrize("password", ["", "a" * 14, "\U0001f600" * 14, "a" * 7 + "e\u0301" * 7])
def test_length_is_counted_in_characters_after_normalization(password: str) -> None:
    assert refusal(DEFAULT, password) == "must have at least 15 characters"


@pytest.mark.parametrize("password", ["x" * 1025, "\u00e9" * 513, "e\u0301" * 513, "\U0001f600" * 257])
def test_more_than_1024_bytes_are_refused_and_never_cut_off(password: str) -> None:
    assert refusal(DEFAULT, password) == "must have at most 1024 bytes"


@pytest.mark.parametrize("password", ["123456", "password", "PassWord", "1qaz2wsx3edc4rfv", "123456789987654321"])
def test_common_passwords_are_refused_and_it_is_said_why(password: str) -> None:
    assert "common" in refusal(SHORT, password)


@pytest.mark.parametrize("password", ["parley", "PARLEY"])
def test_the_services_name_is_refused(password: str) -> None:
    assert "name of this service" in refusal(SHORT, password)


@pytest.mark.parametrize(
    "password",
    [
        *("Someone.Long@example.com", "SOMEONE.LONG@EXAMPLE.COM", "someone.long", "somebody important"),
        *("+8801700000000", "8801700000000"),
    ],
)
def test_the_users_own_names_are_refused(password: str) -> None:
    assert "own" in refusal(SHORT, password)


def test_only_the_whole_password_is_compared() -> None:
    SHORT.check("password1234x", NAMES)


def test_the_development_policy_admits_the_documents_own_passwords() -> None:
    policy = PasswordPolicy(min_length=6, blocklist=False)
    policy.check("123456", NAMES)
    policy.check("password", NAMES)
