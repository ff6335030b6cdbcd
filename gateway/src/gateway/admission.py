"""Quotas that refuse requests: 429 for a consumer that has used up its share, 503 if the whole quota is used up."""

from dataclasses import dataclass

from gateway.counters import Counters
from gateway.messages import refusals
from gateway.quota import Consumer, Quota


@dataclass(frozen=True, slots=True)
class Refusals:
    """For each of the two refusals, the name of its counter in `/stats` and the detail that the client is told."""

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
    """A quota that counts each refusal and tells the client the reason."""

    def __init__(self, total: int, share: int, refusals: Refusals, counters: Counters) -> None:
        super().__init__(total, share)
        self._refusals = refusals
        self._counters = counters

    def require(self, consumer: Consumer, number: int = 1) -> None:
        """Raises RefusedError if the consumer cannot have this many more.

        The share is checked first: a consumer that has used up its share is told so even if the whole quota is used up.
        """
        if self.at_share(consumer, number):
            self._counters.add(self._refusals.share_counter)
            raise refusals.too_many(self._refusals.share_detail)
        if self.full(number):
            self._counters.add(self._refusals.total_counter)
            raise refusals.crowded(self._refusals.total_detail)

    def claim(self, consumer: Consumer, number: int = 1) -> None:
        """Take this many. Raises RefusedError."""
        self.require(consumer, number)
        self.take(consumer, number)
