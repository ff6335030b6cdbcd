"""The policy for new passwords: a minimum length, and nothing that is soon guessed; no composition rules.

It follows NIST SP 800-63B-4. Besides the entries of the blocklist, it also refuses passwords that consist of only a few
of them.
"""

import unicodedata

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from user_service import password_pieces, passwords
from user_service.login_names import fold
from user_service.users import InvalidFieldsError, LoginNames

SERVICE_NAME = "parley"
COMMON = frozenset(password.casefold() for password in FREQUENCY_LISTS["passwords"])


class PasswordPolicy:
    """Checks only new passwords: existing ones stay valid when the policy becomes stricter."""

    def __init__(self, min_length: int, blocklist: bool) -> None:
        self._min_length = min_length
        self._blocklist = blocklist

    def check(self, password: str, names: LoginNames) -> None:
        """Raise InvalidFieldsError if `password` is not acceptable for a user with these names."""
        fault = self._fault(password, names)
        if fault is not None:
            raise InvalidFieldsError({"password": fault})

    def _fault(self, password: str, names: LoginNames) -> str | None:
        # NFC first, as before hashing: a letter counts once, however it was typed.
        if len(passwords.encode(password)) > passwords.MAX_BYTES:
            return f"must have at most {passwords.MAX_BYTES} bytes"
        if len(unicodedata.normalize("NFC", password)) < self._min_length:
            return f"must have at least {self._min_length} characters"
        return self._blocked(password, names) if self._blocklist else None

    def _blocked(self, password: str, names: LoginNames) -> str | None:
        whole = _plain(password)
        if whole in COMMON:
            return "is one of the most common passwords, which are the first to be guessed"
        if whole == SERVICE_NAME:
            return "must not be the name of this service"
        own_words = _own_words(names)
        if whole in own_words:
            return "must not be the user's own e-mail address, user name or phone number"
        if password_pieces.is_soon_guessed(whole, own_words | {SERVICE_NAME}):
            return "has too few words, or repetitions and sequences, and is soon guessed: add words that are not common"
        return None


def _plain(text: str) -> str:
    """The form in which passwords are compared: lower case, no full-width letters, and Latin text without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return bare.casefold() if bare.isascii() else fold(text)


def _own_words(names: LoginNames) -> set[str]:
    """The user's names, with accents for passwords that keep theirs, and without accents for all others."""
    words = [word for name in (names.email, names.username, names.phone_number) if name for word in name]
    if names.email is not None:
        words.append(names.email.key.rpartition("@")[0])
    if names.phone_number is not None:
        words.append(names.phone_number.key.removeprefix("+"))
    return {form for word in words for form in (_plain(word), fold(word))}
