"""The notation in which settings give a number of attempts per time."""

import pytest

from servicekit.throttling.budgets import Window, window


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5/15minute", Window(5, 900)),
        ("30/minute", Window(30, 60)),
        ("5 per 15 minutes", Window(5, 900)),
        (" 7 Per Hour ", Window(7, 3600)),
        ("1000000/1second", Window(1000000, 1)),
        ("3per2DAYS", Window(3, 172800)),
        ("10/month", Window(10, 2592000)),
        ("10/ 2 years", Window(10, 62208000)),
    ],
)
def test_a_window_is_a_number_per_a_time(text: str, expected: Window) -> None:
    assert window(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "5/", "/minute", "0/minute", "-5/minute", "5/0minute", "5/1.5minute", "5/minutess", "5/fortnight"),
        *("5/minute;1/second", "5//minute", "\u0665/minute", "5/\u017fecond"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        window(text)
