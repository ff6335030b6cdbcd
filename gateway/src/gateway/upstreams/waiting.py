"""Who waits for a connection to an upstream."""

from gateway.upstreams.connection import User
from gateway.upstreams.replicas import Replica


class Waiting:
    """A user without a connection yet. `connecting`: one is being made for it."""

    __slots__ = ("avoid", "connecting", "deadline", "late", "tried", "user")

    def __init__(self, user: User, avoid: Replica | None, deadline: float) -> None:
        self.user = user
        self.avoid = avoid
        self.deadline = deadline
        self.connecting = False
        self.tried: list[Replica] = []
        self.late = False  # the last replica tried did not refuse, but let it wait
