"""One key for all spellings of a login name, so that a guesser gets no budget of its own for each of them."""

import contextlib
import unicodedata

# What a number has in common however it is written: with its country's code, a national prefix, or neither.
_SUBSCRIBER_DIGITS = 7
# Letters that show nothing, and that a domain name may have anywhere without being another one (UTS 46).
_FILLERS = "\u115f\u1160"

# What `login_type` may be: see `core.model`.
ANY, PHONE_NUMBER = "any", "phone_number"


def login_types(login: str) -> tuple[str, ...]:
    """Those in which `login`, as a person says it, may be somebody's."""
    is_number = any(c.isdigit() for c in login) and not any(c.isalpha() or c == "@" for c in login)
    return (ANY, PHONE_NUMBER) if is_number else (ANY,)


def account_key(login: str, login_type: str) -> str:
    """What every login that user-service takes for the same name has in common.

    Two names may share a key too (`a.b` and `ab`) and with it a budget, of which a success at one of them must clear
    nothing that was counted at the other; a spelling with a budget of its own would let a guesser go on.
    """
    if login_type == PHONE_NUMBER or (login.startswith("+") and "@" not in login):
        digits = [str(unicodedata.digit(character)) for character in login if unicodedata.digit(character, -1) >= 0]
        return "+" + "".join(digits[-_SUBSCRIBER_DIGITS:])
    local, at, domain = login.rpartition("@")
    # What cannot be seen goes first: it may stand between dots, inside the ASCII form of a label or before its `xn--`.
    labels = _only(".-", _folded(domain).replace("\u3002", ".")).split(".")
    return _letters(local) + at + _letters("".join(map(_decoded, labels)))


def _decoded(label: str) -> str:
    """A label of an internationalised domain name, given in ASCII or as it is read (RFC 5891)."""
    if label.startswith("xn--"):
        with contextlib.suppress(UnicodeError):
            return label[4:].encode().decode("punycode")
    return label


def _folded(text: str) -> str:
    """NFKC and case folded, to the end: folding may give what folds again."""
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())


def _letters(text: str) -> str:
    """Base letters and digits alone: marks, punctuation and what cannot be seen may be left out of an address.

    Taken apart first: a letter and its mark do not become one where something that is left out stands between.
    """
    return _only("", unicodedata.normalize("NFKD", _folded(text)))


def _only(others: str, text: str) -> str:
    """Letters and digits that can be seen, and `others`."""
    return "".join(c for c in text if c in others or (c.isalnum() and c not in _FILLERS))
