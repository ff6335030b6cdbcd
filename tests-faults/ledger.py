"""Everything that clients sent: what, when, by which gateway, and what came of it."""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

# An answer that tells a client to try again later, or none at all.
FAILURES = ("timeout", "reset", "refused", 502, 503, 504)


class LostError(Exception):
    """A promise was broken so that a client cannot go on as it is. It has been noted."""


@dataclass
class Attempt:
    """One request of one client. Times are the machine's, in seconds since 1970; `outcome` None is still waited for.

    `subject` is what it is about: a user's id, or for a sign-up the e-mail address. `argument` is what it would set.
    """

    number: int
    client: str
    operation: str
    subject: int | str
    argument: str
    gateway: str
    start: float
    end: float = 0.0
    outcome: int | str | None = None
    answer: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in FAILURES

    @property
    def seconds(self) -> float:
        return (self.end or time.time()) - self.start

    def told(self, since: float) -> str:
        """One line for a person; times count from `since`."""
        end = f"{self.end - since:8.3f}" if self.end else "   never"
        return (
            f"#{self.number:<5} {self.start - since:8.3f} →{end} s  {self.client:<22} {self.operation:<16} "
            f"{self.argument[:24]:<24} by {self.gateway}: {self.outcome} {self.answer}"
        )


@dataclass
class Ledger:
    """All attempts, and every promise that was broken, in words."""

    attempts: list[Attempt] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    successors: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    fault_at: float = 0.0
    _numbers: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)

    def begin(self, client: str, operation: str, subject: int | str, argument: str, gateway: str) -> Attempt:
        attempt = Attempt(self._numbers(), client, operation, subject, argument, gateway, time.time())
        self.attempts.append(attempt)
        return attempt

    def broken(self, promise: str, *attempts: Attempt) -> None:
        """Note that a promise does not hold, and which requests show it."""
        lines = (attempt.told(self.fault_at) for attempt in attempts)
        self.violations.append("\n        ".join((promise, *lines)))

    def successor(self, spent: str, successor: str, attempt: Attempt) -> None:
        """Note what a refresh token was exchanged for: always the same."""
        self.successors[spent].add(successor)
        if len(self.successors[spent]) > 1:
            self.broken("a refresh token has two successors", attempt)

    def of(self, operation: str, subject: int | str) -> list[Attempt]:
        return [one for one in self.attempts if one.operation == operation and one.subject == subject]
