"""Splits passwords into the pieces that guessers try: known words, sequences, repetitions, and single characters."""

import re
from collections.abc import Iterable, Iterator, Set
from itertools import chain

from zxcvbn.frequency_lists import FREQUENCY_LISTS

# Each point counts for five bits or more: a billion guesses altogether.
ENOUGH_POINTS = 6
WORD_POINTS, OTHER_POINTS = 2, 1
# Characters. A longer password with too few points up to here consists of repetitions or sequences: five words are
# shorter.
LOOKED_AT = 96
COMMONEST = 300  # of each list
SHORTEST_PIECE, LONGEST_WORD = 3, 26
SHORTEST_DISGUISED = 4

_FAMOUS = (
    "correcthorsebatterystaple",
    "loremipsumdolorsitamet",
    "tobeornottobe",
    "thequickbrownfox",
    "jumpsoverthelazydog",
)
_SEQUENCES = (
    *("abcdefghijklmnopqrstuvwxyz", "12345678901234567890", "02468", "13579", "1122334455667788990011"),
    *("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn"),
    *(
        "!@#$%^&*()",
        "!qaz@wsx#edc$rfv%tgb^yhn&ujm*ik<",
        "1q2w3e4r5t6y7u8i9o0p",
        "1a2b3c4d5e6f7g8h9i0j",
        "a1b2c3d4e5f6g7h8i9j0",
    ),
    *("1qaz2wsx3edc4rfv5tgb6yhn7ujm", "zaq1xsw2cde3vfr4bgt5nhy6mju7", "qazwsxedcrfvtgbyhnujm", "zaqxswcdevfrbgtnhymju"),
    *("aabbccddeeffgghhiijjkkllmmnnooppqqrrssttuuvvwwxxyyzz", "aaabbbcccdddeeefffggg", "111222333444555666777888999"),
    *("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
)
# Separators count as such only between words; elsewhere they are characters like any other.
_SEPARATORS = re.compile(r"(?<=\w\w)[\s._,'-]+(?=\w\w)")
# For disguises such as `P@ssw0rd`; a 1 may be an i or an l.
_READINGS = (str.maketrans("@4038$5!71", "aaoebssiti"), str.maketrans("@4038$5!71", "aaoebssitl"))


def without_separators(text: str) -> str:
    return _SEPARATORS.sub("", text)


def _parts(sequences: Iterable[str]) -> Iterator[str]:
    for sequence in (*sequences, *(sequence[::-1] for sequence in sequences)):
        for start in range(len(sequence)):
            for end in range(start + SHORTEST_PIECE, min(start + LONGEST_WORD, len(sequence)) + 1):
                yield sequence[start:end]


def _points() -> dict[str, int]:
    """The points of each known piece of more than one character."""
    years = [str(year) for year in range(1900, 2100)]
    commonest = [word for words in FREQUENCY_LISTS.values() for word in words[:COMMONEST]]
    words = {word: WORD_POINTS for words in FREQUENCY_LISTS.values() for word in words if len(word) > WORD_POINTS + 1}
    cheap = dict.fromkeys((*commonest, *years, *_FAMOUS, *_parts(_SEQUENCES)), OTHER_POINTS)
    known = {without_separators(word.casefold()): points for word, points in (words | cheap).items()}
    return {word: points for word, points in known.items() if 1 < len(word) <= LONGEST_WORD}


_KNOWN = _points()
# The length of the longest known piece that begins with these characters, so that few texts have to be looked up.
_LONGEST: dict[str, int] = {}
for _word in _KNOWN:
    _LONGEST[_word[:SHORTEST_PIECE]] = max(_LONGEST.get(_word[:SHORTEST_PIECE], 0), len(_word))


def is_soon_guessed(text: str, own_words: Set[str]) -> bool:
    """True if so few pieces spell a casefolded password that it is among the first billion guesses.

    `own_words`, casefolded, are words about the user. This takes at most about a millisecond.
    """
    text = without_separators(text)[:LOOKED_AT]
    disguised = {text.translate(reading) for reading in _READINGS} - {text}
    own = [without_separators(word) for word in own_words]
    least = [0] + [ENOUGH_POINTS] * len(text)
    repeated = SHORTEST_PIECE
    for start in range(len(text)):
        repeated = _repeated(text, start, max(SHORTEST_PIECE, repeated - 1))
        if least[start] + OTHER_POINTS < ENOUGH_POINTS:
            ends = {start + len(word): OTHER_POINTS for word in own if text.startswith(word, start)}
            # If the repetition were cut off earlier, the rest would be a repetition as well.
            cut = max(start + SHORTEST_PIECE, start + repeated - LONGEST_WORD)
            ends |= dict.fromkeys((start + 1, *range(cut, start + repeated)), OTHER_POINTS)
            found = (_words(reading, start, SHORTEST_DISGUISED) for reading in disguised)
            for end, points in chain(ends.items(), _words(text, start), *found):
                least[end] = min(least[end], least[start] + points)
    return least[-1] < ENOUGH_POINTS


def _words(text: str, start: int, shortest: int = 2) -> Iterator[tuple[int, int]]:
    """The end of each known piece that begins at `start`, and its points."""
    longest = _LONGEST.get(text[start : start + SHORTEST_PIECE], 2)
    for end in range(start + shortest, min(start + longest, len(text)) + 1):
        points = _KNOWN.get(text[start:end])
        if points is not None:
            yield end, points


def _repeated(text: str, start: int, length: int) -> int:
    """The shortest length, at least `length`, at which the text at `start` is not found beginning earlier."""
    while start + length <= len(text) and text.find(text[start : start + length], 0, start + length - 1) >= 0:
        length += 1
    return length
