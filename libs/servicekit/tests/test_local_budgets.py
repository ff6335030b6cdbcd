"""A process that counts alone remembers a bounded number of accounts and networks, and evicts the right ones."""

from servicekit.throttling.budgets import (
    FEW_SECONDS,
    ROW_SECONDS,
    Budget,
    Guess,
    Outcome,
    Ruling,
    Window,
    guess_budgets,
)
from servicekit.throttling.local_budgets import ENTRIES, LocalBudgets

BUDGETS = guess_budgets("login", pair=Window(6, 900), network=Window(10, 900), free=20, row=100)


def fail(budgets: LocalBudgets, account: str, network: str) -> Budget:
    guess = Guess(account, network, f"{network} and around")
    decision = budgets.admit(BUDGETS, guess)
    if decision.ruling is Ruling.ADMITTED:
        budgets.settle(BUDGETS, guess, Outcome.FAILED, known=decision.known)
    return decision.budget


def test_refused_attempts_and_other_floods_push_out_nothing() -> None:
    budgets = LocalBudgets(lambda: 0.0)
    assert [fail(budgets, "victim", "here") for _ in range(4)] == [Budget.NONE] * 3 + [Budget.PAIR]
    for n in range(ENTRIES + 10):
        fail(budgets, f"account {n}", "elsewhere")
    assert fail(budgets, "victim", "here") is Budget.PAIR
    for n in range(ENTRIES + 10):
        budgets.charge("refused refresh", {f"network {n}": Window(300, 900)})
    assert fail(budgets, "victim", "here") is Budget.PAIR


def test_few_failures_in_a_row_are_forgotten_sooner_than_many() -> None:
    """Half of 20 failures in a row close the account to strangers."""
    now = [0.0]
    budgets = LocalBudgets(lambda: now[0])

    def fail_from(first: int, number: int) -> list[Budget]:
        return [fail(budgets, "victim", f"network {n}") for n in range(first, first + number)]

    assert fail_from(0, 4) == [Budget.NONE] * 4
    now[0] += FEW_SECONDS + 1
    assert fail_from(10, 9) == [Budget.NONE] * 9
    now[0] += FEW_SECONDS + 1
    assert fail_from(20, 2) == [Budget.NONE, Budget.ACCOUNT]
    now[0] += ROW_SECONDS + 1
    assert fail_from(30, 9) == [Budget.NONE] * 9
