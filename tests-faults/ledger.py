"""Every request that clients sent: what, when, to which gateway, and its outcome."""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

# A response that tells a client to try again later, or no response.
FAILURES = ("timeout", "reset", "refused", 502, 503, 504)


class LostError(Exception):
    """A promise was broken and has been noted; the client cannot continue with its session."""


@dataclass
class Attempt:
    """One request of one client. Times are in seconds since 1970; `outcome` is None while the client waits.

    `subject` is the user's id, or for a sign-up the e-mail address; `argument` is the value to set.
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
        """One line for people; times are relative to `since`."""
        end = f"{self.end - since:8.3f}" if self.end else "   never"
        return (
            f"#{self.number:<5} {self.start - since:8.3f} →{end} s  {self.client:<22} {self.operation:<16} "
            f"{self.argument[:24]:<24} by {self.gateway}: {self.outcome} {self.answer}"
        )


@dataclass
class Ledger:
    """All attempts, and descriptions of all broken promises."""

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
        """Note a broken promise and the requests that show it."""
        lines = (attempt.told(self.fault_at) for attempt in attempts)
        self.violations.append("\n        ".join((promise, *lines)))

    def successor(self, spent: str, successor: str, attempt: Attempt) -> None:
        """Note the successor of a refresh token, which must always be the same."""
        self.successors[spent].add(successor)
        if len(self.successors[spent]) > 1:
            self.broken("a refresh token has two successors", attempt)

    def of(self, operation: str, subject: int | str) -> list[Attempt]:
        return [one for one in self.attempts if one.operation == operation and one.subject == subject]
