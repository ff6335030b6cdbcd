"""Quotas that refuse what goes beyond them: 429 for a consumer at its share, 503 where nothing is left for anybody."""

from dataclasses import dataclass

from gateway.counters import Counters
from gateway.messages import refusals
from gateway.quota import Consumer, Quota


@dataclass(frozen=True, slots=True)
class Refusals:
    """The counter of each of the two refusals, by its name in `/stats`, and the detail that the client is given."""

    share_counter: str
    share_detail: str
    total_counter: str
    total_detail: str


REQUESTS = Refusals(
    "refused_requests_of_network",
    "the network has too many requests under way",
    "refused_requests_of_upstream",
    "the service has too many requests",
)
BODIES = Refusals(
    "refused_bodies_of_network",
    "the network has too many bodies under way",
    "refused_bodies",
    "there are too many bodies under way",
)
QUESTIONS = Refusals(
    "refused_questions_of_network",
    "the network has too many tokens to be verified",
    "refused_questions",
    "there are too many tokens to be verified",
)
WEBSOCKETS = Refusals(
    "refused_websockets_of_subject",
    "the user has too many WebSockets",
    "refused_websockets",
    "there are too many WebSockets",
)


class GuardedQuota(Quota):
    """A quota that counts what it refuses, and says why."""

    def __init__(self, total: int, share: int, refusals: Refusals, counters: Counters) -> None:
        super().__init__(total, share)
        self._refusals = refusals
        self._counters = counters

    def require(self, consumer: Consumer, number: int = 1) -> None:
        """Raises RefusedError where there is no room for so many more of this consumer.

        The share comes first: a consumer that has used up its own is told so, even if nothing is left for others.
        """
        if self.at_share(consumer, number):
            self._counters.add(self._refusals.share_counter)
            raise refusals.too_many(self._refusals.share_detail)
        if self.full(number):
            self._counters.add(self._refusals.total_counter)
            raise refusals.crowded(self._refusals.total_detail)

    def claim(self, consumer: Consumer, number: int = 1) -> None:
        """Take so many. Raises RefusedError."""
        self.require(consumer, number)
        self.take(consumer, number)
