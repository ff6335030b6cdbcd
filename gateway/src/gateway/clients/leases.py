"""The quota units that one request holds."""

from collections.abc import Callable
from typing import cast

from gateway.admission import GuardedQuota
from gateway.quota import Consumer


class Leases:
    """A request's unit of its upstream's quota, and of the WebSockets' quota. Each is given back once."""

    __slots__ = ("_network", "_requests", "_user", "_websockets")

    def __init__(self, network: Consumer, websockets: GuardedQuota) -> None:
        self._network = network
        self._requests: GuardedQuota | None = None  # the quota from which `_network` has a unit
        self._websockets = websockets
        self._user: Consumer | None = None  # that has a unit of `_websockets`

    def claim_request(self, requests: GuardedQuota) -> None:
        """Raises RefusedError."""
        requests.require(self._network)
        requests.take(self._network)
        self._requests = requests

    def claim_websocket(self, subject: str) -> None:
        """Raises RefusedError."""
        user = Consumer(subject)
        self._websockets.claim(user)
        self._user = user

    def hand_over_websocket(self) -> Callable[[], None]:
        """A function that gives the WebSocket's unit back. From now on the caller is responsible for this."""
        websockets, user = self._websockets, cast(Consumer, self._user)
        self._user = None
        return lambda: websockets.give_back(user)

    def give_back(self) -> None:
        if self._requests is not None:
            self._requests.give_back(self._network)
            self._requests = None
        if self._user is not None:
            self._websockets.give_back(self._user)
            self._user = None
