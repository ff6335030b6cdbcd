"""E-mail addresses, user names and phone numbers: what is accepted, and the one form each is compared in."""

import re
import unicodedata
from typing import Literal, NamedTuple

import email_validator
import phonenumbers

Kind = Literal["email", "username", "phone_number"]
LoginType = Literal["any", "phone_number"]

MAX_EMAIL = 254
MAX_USERNAME = 64
MIXED = "mixes alphabets that look alike"

# Names reserved on the public Internet (.local, .test) are in use inside networks; whether mail arrives is not asked.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_PHONE_NUMBER = re.compile(r"\+?[\d ().-]{2,31}")
# Alphabets whose letters look like each other's: a name may have letters of one of them only.
_LOOK_ALIKES = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"}
# Letters, marks and digits, as in the IdentifierClass of RFC 8264; its ASCII punctuation is allowed beside them.
_CATEGORIES = {"Ll", "Lu", "Lt", "Lo", "Lm", "Mn", "Mc", "Nd"}
# Letters and marks that show nothing (Default_Ignorable_Code_Point, without the format characters refused anyway).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class LoginName(NamedTuple):
    """A login name as it is shown (what the user gave, in NFC) and as it is compared and kept unique."""

    shown: str
    key: str


class Lookup(NamedTuple):
    """The users that a login may mean: those with one of `keys`, all different, the first one first."""

    kind: Kind
    keys: list[str]


class InvalidLoginNameError(ValueError):
    """Not a login name of its kind; the text says why, without quoting it."""


def fold(text: str) -> str:
    """NFKC and case folded (Unicode D146): `Å`, `ﬁ` and `ß` in all their spellings become one."""
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())


def email(text: str) -> LoginName:
    """An e-mail address (RFC 5321, 6531). Neither dots nor `+tags` are dropped: they are the mailbox owner's."""
    name, parts = _address(text)
    if any(map(_mixes_look_alikes, parts)):
        raise InvalidLoginNameError(MIXED)
    return name


def _composed(text: str, most: int) -> str:
    """The NFC form. Far more than `most` characters are left as they are: to normalize them could take a second."""
    return unicodedata.normalize("NFC", text) if len(text) <= 4 * most else text


def _address(text: str) -> tuple[LoginName, list[str]]:
    """Any e-mail address, and its parts: the local part, also folded, and the labels of the domain."""
    shown = _composed(text, MAX_EMAIL)
    if len(shown) > MAX_EMAIL:
        raise InvalidLoginNameError(f"is longer than {MAX_EMAIL} characters")
    try:
        address = email_validator.validate_email(shown, check_deliverability=False)
    except email_validator.EmailNotValidError:
        raise InvalidLoginNameError("is not an e-mail address") from None
    local = fold(address.local_part)
    key = f"{local}@{address.ascii_domain.lower()}"
    if "@" in local or len(key) > MAX_EMAIL:
        raise InvalidLoginNameError("is not an e-mail address")
    return LoginName(shown, key), [address.local_part, local, *address.domain.split(".")]


def username(text: str) -> LoginName:
    """A user name, after the UsernameCaseMapped profile of RFC 8265, in the compatibility form.

    It has a letter, so that it cannot be taken for an id or a phone number, and no `@` and no `+` in front.
    """
    shown = _composed(text, MAX_USERNAME)
    if not 1 <= len(shown) <= MAX_USERNAME:
        raise InvalidLoginNameError(f"must have 1 to {MAX_USERNAME} characters")
    key = fold(shown)
    for form in (shown, key):
        fault = _username_fault(form)
        if fault is not None:
            raise InvalidLoginNameError(fault)
    return LoginName(shown, key)


def _username_fault(name: str) -> str | None:
    if len(name) > MAX_USERNAME:
        return f"must have 1 to {MAX_USERNAME} characters"
    if not all(_allowed_in_username(character) for character in name) or _INVISIBLE.search(name):
        return "has a character that is not allowed"
    if "@" in name or name.startswith("+"):
        return "must have no @ and no + in front"
    if name != name.strip() or "  " in name:
        return "must have single spaces only, and only inside"
    if unicodedata.category(name[0]).startswith("M") or not any(map(str.isalpha, name)):
        return "must have a letter, and no mark before it"
    return MIXED if _mixes_look_alikes(name) else None


def _mixes_look_alikes(text: str) -> bool:
    return len({_alphabet(character) for character in text if character.isalpha()} & _LOOK_ALIKES) > 1


def _allowed_in_username(character: str) -> bool:
    return " " <= character <= "~" or unicodedata.category(character) in _CATEGORIES


def _alphabet(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def phone_number(text: str, region: str | None) -> LoginName:
    """A phone number in E.164; without a leading `+` it is read as a national number of `region`.

    Only the length is checked against the country's plan: numbering plans change more often than this library is
    updated, and a number that is refused locks a person out, while one that rings nowhere does no harm.
    """
    fault = "is not a phone number with its country code" if region is None else "is not a phone number"
    if not _PHONE_NUMBER.fullmatch(text):
        raise InvalidLoginNameError(fault)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise InvalidLoginNameError(fault) from None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise InvalidLoginNameError(fault)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return LoginName(e164, e164)


def look_up(login: str, login_type: LoginType, region: str | None) -> Lookup:
    """The look-up for the user whom `login` names. It has no keys if `login` cannot be anyone's login name."""
    if login_type == "phone_number" or (login.startswith("+") and "@" not in login):
        # A number without its + is first taken to have its country code, as the bongo API's clients send it.
        spellings = [login] if login.startswith("+") else [f"+{login}", login]
        keys = dict.fromkeys(key for text in spellings for key in _key("phone_number", text, region))
        return Lookup("phone_number", list(keys))
    kind: Kind = "email" if "@" in login else "username"
    return Lookup(kind, _key(kind, login, region))


def read(kind: Kind, text: str, region: str | None) -> LoginName:
    """`text` as a login name of `kind`. Raises InvalidLoginNameError."""
    if kind == "phone_number":
        return phone_number(text, region)
    return email(text) if kind == "email" else username(text)


def _key(kind: Kind, text: str, region: str | None) -> list[str]:
    try:
        # Addresses that mix look-alike letters used to be accepted, and users who have one can still log in.
        return [_address(text)[0].key if kind == "email" else read(kind, text, region).key]
    except InvalidLoginNameError:
        return []
