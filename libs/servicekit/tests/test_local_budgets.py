"""A process that counts alone remembers a bounded number of accounts and networks, and the right ones."""

from servicekit.throttling.budgets import Budget, Guess, Outcome, Verdict, Window, guess_budgets
from servicekit.throttling.local_budgets import ENTRIES, LocalBudgets

BUDGETS = guess_budgets("login", pair=Window(6, 900), network=Window(10, 900), free=20, row=100)


def fail(budgets: LocalBudgets, account: str, network: str) -> Budget:
    guess = Guess(account, network, f"{network} and around")
    decision = budgets.admit(BUDGETS, guess)
    if decision.verdict is Verdict.ADMITTED:
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
