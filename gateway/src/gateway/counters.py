"""Counters of events that are too frequent in a flood to be logged one by one."""

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """The number of times that each event has occurred since the process started."""

    requests: int = 0
    malformed: int = 0
    refused_connections: int = 0
    refused_connections_of_address: int = 0
    refused_requests_of_upstream: int = 0
    refused_requests_of_network: int = 0
    refused_questions: int = 0
    refused_questions_of_network: int = 0
    refused_bodies: int = 0
    refused_bodies_of_network: int = 0
    refused_websockets: int = 0
    refused_websockets_of_subject: int = 0
    verdict_hits: int = 0
    verdict_misses: int = 0
    verdicts_unknown: int = 0
    upstream_failures: int = 0
    retries: int = 0
    answers_cut_short: int = 0

    def add(self, name: str) -> None:
        """Increment the counter with this name."""
        setattr(self, name, getattr(self, name) + 1)

    def as_dict(self) -> dict[str, int]:
        return asdict(self)
