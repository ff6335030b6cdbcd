"""Login names: the accepted ones, and the ones that count as equal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_service import login_names
from user_service.login_names import InvalidLoginNameError, Kind

CASED = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@pytest.mark.parametrize(
    "spellings",
    [
        ("A@X.com", "a@x.COM"),
        ("kim@x.com", "\u212aim@x.com", "KIM@X.COM"),
        ("a@b\u00fccher.example", "a@B\u00dcCHER.example", "a@xn--bcher-kva.example", "a@bu\u0308cher.example"),
        ("jos\u00e9@x.com", "jose\u0301@x.com", "JOS\u00c9@x.com"),
        ("a@x.com", "a@x\uff0ecom"),
    ],
)
def test_spellings_of_one_mailbox_are_one_login_name(spellings: tuple[str, ...]) -> None:
    assert len({login_names.email(text).key for text in spellings}) == 1


@pytest.mark.parametrize("other", ["a+tag@x.com", "a.b@x.com", "\u0430@x.com", "a@x.org"])
def test_different_mailboxes_stay_different(other: str) -> None:
    assert login_names.email(other).key not in {login_names.email(text).key for text in ("a@x.com", "ab@x.com")}


@pytest.mark.parametrize("address", ["user@example.com", "root@corp.local", "a@x.test", "Some.One+tag@Example.ORG"])
def test_an_address_is_shown_as_it_was_given(address: str) -> None:
    assert login_names.email(address).shown == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a@", "@x.com", "a@b@c.com", "a@x.com.", "a b@x.com", " a@x.com", "a@x.com ", "a..b@x.com"),
        *('"a b"@x.com', "Name <a@x.com>", "a@[127.0.0.1]", "a@1.2.3.4", "a@localhost", "a\u200d@x.com"),
        *("a\uff20b@x.com", "\u202ea@x.com", "a\n@x.com", "a" * 243 + "@example.com", "x" * 60_000 + "@x.com"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidLoginNameError):
        login_names.email(text)


@pytest.mark.parametrize(
    "text",
    [
        *("\u0430dmin@x.com", "adm\u0456n@x.com", "\u00b5ser@x.com", "admin@ex\u0430mple.com", "admin@x.c\u043em"),
        *("admin@xn--exmple-4nf.com", "admin@mail.\u03bfx.com"),
    ],
)
def test_addresses_that_deceive_are_refused_but_still_found(text: str) -> None:
    with pytest.raises(InvalidLoginNameError, match="look alike"):
        login_names.email(text)
    assert len(login_names.look_up(text, "any", None).keys) == 1


@pytest.mark.parametrize(
    "address",
    ["\u043c\u0438\u0448\u0430@example.com", "info@b\u00fccher.example", "a@\u043f\u0440\u0438\u043c\u0435\u0440.com"],
)
def test_each_part_of_an_address_may_be_written_in_a_script_of_its_own(address: str) -> None:
    assert login_names.email(address).shown == address


def test_an_address_may_have_254_characters() -> None:
    address = "a" * 64 + "@" + ".".join(["b" * 61, "c" * 61, "d" * 61]) + ".de"
    assert len(address) == 253
    assert login_names.email(address).key == address
    with pytest.raises(InvalidLoginNameError):
        login_names.email(address.replace("@b", "@bbb"))


@pytest.mark.parametrize(
    "spellings",
    [
        ("User name", "user NAME"),
        ("Jos\u00e9", "Jose\u0301"),
        ("agent1", "agent\uff11"),
        ("profile", "pro\ufb01le"),
        ("stra\u00dfe", "STRASSE", "\u017ftra\u1e9ee"),
        ("kim", "\u212aIM"),
    ],
)
def test_spellings_of_one_user_name_are_one_login_name(spellings: tuple[str, ...]) -> None:
    assert len({login_names.username(text).key for text in spellings}) == 1


@pytest.mark.parametrize(
    "name", ["User name", "a", "o'neil", "x" * 64, "\u041c\u0438\u0448\u0430", "\u674e\u5c0f\u9f99", "d2"]
)
def test_a_user_name_may_be_written_in_any_one_script(name: str) -> None:
    assert login_names.username(name).shown == name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            " a",
            "a ",
            "a  b",
            "a\u00a0b",
            "a\tb",
            "a\nb",
            "x" * 65,
            "\ufdfa" * 4,
            "157",
            "8801700000000",
            "...",
        ),
        *(
            "a@b",
            "+a",
            "a\u200db",
            "a\u202eb",
            "a\u00adb",
            "\ufeffa",
            "a\u3164b",
            "a\u034fb",
            "a\ufe0fb",
            "a\U000e0101",
        ),
        *(
            "\u0378a",
            "\ue000a",
            "\u0301a",
            "a\u2028b",
            "\U0001f600a",
            "\u0430dmin",
            "adm\u0456n",
            "\u03bfscar",
            "\u00b5ser",
        ),
    ],
)
def test_user_names_that_deceive_or_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(InvalidLoginNameError):
        login_names.username(text)


@pytest.mark.parametrize(
    "text", ["+7 (999) 123-45-67", "+7-999-123-45-67", "+79991234567", "+\u0667 \u0669\u0669\u0669 1234567"]
)
def test_spellings_of_one_phone_number_are_one_login_name(text: str) -> None:
    assert login_names.phone_number(text, None) == ("+79991234567", "+79991234567")


@pytest.mark.parametrize("text", ["+8801700000000", "+15551234567"])
def test_numbers_of_the_right_length_are_accepted_assigned_or_not(text: str) -> None:
    assert login_names.phone_number(text, None).key == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "+",
            "+1",
            "+12345",
            "89991234567",
            "01700000000",
            "+1111111111111111",
            "+999123456789",
            "tel:+79991234567",
        ),
        *(
            "+7 999 123-45-67 ext. 5",
            "+1800FLOWERS",
            "+7999123456\u0000",
            "+7" + " " * 60 + "9991234567",
            "+7999123456\n",
        ),
    ],
)
def test_what_is_no_number_with_its_country_is_refused(text: str) -> None:
    with pytest.raises(InvalidLoginNameError):
        login_names.phone_number(text, None)


def test_a_region_makes_national_numbers_readable() -> None:
    assert login_names.phone_number("01700000000", "BD").key == "+8801700000000"


@pytest.mark.parametrize(
    ("login", "login_type", "region", "kind", "keys"),
    [
        ("A@x.com", "any", None, "email", ["a@x.com"]),
        ("+tag@x.com", "any", None, "email", ["+tag@x.com"]),
        ("+880 1700-000000", "any", None, "phone_number", ["+8801700000000"]),
        ("+what", "any", None, "phone_number", []),
        ("User Name", "any", "BD", "username", ["user name"]),
        ("8801700000000", "any", "BD", "username", []),
        ("+8801700000000", "phone_number", None, "phone_number", ["+8801700000000"]),
        ("8801700000000", "phone_number", None, "phone_number", ["+8801700000000"]),
        ("01700000000", "phone_number", "BD", "phone_number", ["+8801700000000"]),
        ("01700000000", "phone_number", None, "phone_number", []),
        ("a@x.com", "phone_number", None, "phone_number", []),
    ],
)
def test_a_login_is_looked_up_as_what_it_looks_like(
    login: str, login_type: login_names.LoginType, region: str | None, kind: Kind, keys: list[str]
) -> None:
    assert login_names.look_up(login, login_type, region) == (kind, keys)


@given(CASED)
def test_a_user_names_canonical_form_is_its_own_and_case_never_matters(text: str) -> None:
    try:
        key = login_names.username(text).key
    except InvalidLoginNameError:
        return
    assert login_names.username(key).key == key
    assert login_names.username(unicodedata.normalize("NFD", text)).key == key


@given(st.text(max_size=80), st.sampled_from(["any", "phone_number"]), st.sampled_from([None, "BD"]))
def test_no_login_is_too_strange_to_be_looked_up(
    login: str, login_type: login_names.LoginType, region: str | None
) -> None:
    login_names.look_up(login, login_type, region)
