"""The budget of retries, on a clock that the tests set."""

from servicekit.upstreams.retries import FLOOR, RetryBudget


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def granted(budget: RetryBudget, most: int = 1000) -> int:
    return next(number for number in range(most) if not budget.withdraw())


def test_a_few_may_always_be_tried_again() -> None:
    budget = RetryBudget(Clock())
    assert granted(budget) == FLOOR == 10


def test_a_fifth_of_the_requests_may_be_tried_again() -> None:
    budget = RetryBudget(Clock())
    for _ in range(1000):
        budget.deposit()
    assert granted(budget) == 210


def test_only_the_last_ten_seconds_count() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    for _ in range(15):
        for _ in range(100):
            budget.deposit()
        clock.now += 1
    assert granted(budget) == FLOOR + 0.2 * 900  # the second that has just begun is still empty
    clock.now += 8.5
    assert granted(budget) == 0
    clock.now += 1.5
    assert granted(budget) == FLOOR


def test_a_long_silence_is_forgotten_as_well() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    budget.deposit()
    assert granted(budget) == 11
    clock.now += 1_000_000
    assert granted(budget) == FLOOR
