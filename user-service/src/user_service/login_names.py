"""E-mail addresses, user names and phone numbers: which are accepted, and the form in which they are compared."""

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

# Names reserved on the public Internet (.local, .test) are used inside networks; we do not check that mail arrives.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_PHONE_NUMBER = re.compile(r"\+?[\d ().-]{2,31}")
# Alphabets whose letters look alike: a name may have letters of only one of them.
_LOOK_ALIKES = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"}
# Letters, marks and digits, as in the IdentifierClass of RFC 8264; its ASCII punctuation is also allowed.
_CATEGORIES = {"Ll", "Lu", "Lt", "Lo", "Lm", "Mn", "Mc", "Nd"}
# Invisible letters and marks (Default_Ignorable_Code_Point, without the format characters, which are refused anyway).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class LoginName(NamedTuple):
    """A login name in two forms: `shown` (as the user gave it, in NFC), and `key`, which is compared and unique."""

    shown: str
    key: str


class Lookup(NamedTuple):
    """The users that a login may mean: those with one of `keys`, which are distinct and in order of preference."""

    kind: Kind
    keys: list[str]


class InvalidLoginNameError(ValueError):
    """A text is not a login name of its kind; the message gives the reason without quoting the text."""


def fold(text: str) -> str:
    """The text in NFKC and case folded (Unicode D146): all spellings of `Å`, `ﬁ` or `ß` become the same."""
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())


def email(text: str) -> LoginName:
    """An e-mail address (RFC 5321, 6531). Dots and `+tags` are kept: their meaning is the mail server's business."""
    name, parts = _address(text)
    if any(map(_mixes_look_alikes, parts)):
        raise InvalidLoginNameError(MIXED)
    return name


def _composed(text: str, most: int) -> str:
    """The NFC form. A text far longer than `most` characters is left unchanged: normalizing it could take a second."""
    return unicodedata.normalize("NFC", text) if len(text) <= 4 * most else text


def _address(text: str) -> tuple[LoginName, list[str]]:
    """Any e-mail address, and its parts: the local part, the folded local part, and the labels of the domain."""
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
    """A user name, based on the UsernameCaseMapped profile of RFC 8265, in the compatibility form.

    It must have a letter, so that it cannot be mistaken for an id or a phone number, no `@`, and no leading `+`.
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

    Only the length is checked against the country's numbering plan: plans change more often than this library is
    updated, and refusing a valid number locks a person out, while accepting an unused one does no harm.
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
    """The lookup for the user whom `login` names. It has no keys if `login` cannot be anyone's login name."""
    if login_type == "phone_number" or (login.startswith("+") and "@" not in login):
        # A number without its + is first read with a country code, as the bongo API's clients send it.
        spellings = [login] if login.startswith("+") else [f"+{login}", login]
        keys = dict.fromkeys(key for text in spellings for key in _key("phone_number", text, region))
        return Lookup("phone_number", list(keys))
    kind: Kind = "email" if "@" in login else "username"
    return Lookup(kind, _key(kind, login, region))


def read(kind: Kind, text: str, region: str | None) -> LoginName:
    """Read `text` as a login name of `kind`. Raises InvalidLoginNameError."""
    if kind == "phone_number":
        return phone_number(text, region)
    return email(text) if kind == "email" else username(text)


def _key(kind: Kind, text: str, region: str | None) -> list[str]:
    try:
        # Addresses that mix look-alike letters used to be accepted, and users who have one can still log in.
        return [_address(text)[0].key if kind == "email" else read(kind, text, region).key]
    except InvalidLoginNameError:
        return []
