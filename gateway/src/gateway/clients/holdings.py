"""The scarce things that one request has taken, and the refusal of more."""

from collections.abc import Callable
from typing import cast

from gateway.clients.proxy import Proxy
from gateway.messages import refusals
from gateway.places import Holder, Places
from gateway.routes import Upstream


class Holdings:
    """A request's place with an upstream and its place among the WebSockets. Each is given back once."""

    __slots__ = ("_network", "_places", "_proxy", "_user")

    def __init__(self, proxy: Proxy, network: Holder) -> None:
        self._proxy = proxy
        self._network = network
        self._places: Places | None = None  # of the upstream, one of which this request holds
        self._user: Holder | None = None  # who holds a place among the WebSockets for this request

    def require_place(self, upstream: Upstream) -> Places:
        """The upstream's places, one of which is free for this network. Raises RefusedError."""
        places, counters = self._proxy.places[upstream], self._proxy.counters
        if places.full():
            counters.refused_requests_of_upstream += 1
            raise refusals.crowded("the service has too many requests")
        if places.at_share(self._network):
            counters.refused_requests_of_network += 1
            raise refusals.too_many("the network has too many requests under way")
        return places

    def take_place(self, upstream: Upstream) -> None:
        """Raises RefusedError."""
        self._places = self.require_place(upstream)
        self._places.take(self._network)

    def take_websocket(self, subject: str) -> None:
        """Raises RefusedError."""
        websockets, counters, user = self._proxy.websockets, self._proxy.counters, Holder(subject)
        if websockets.at_share(user):
            counters.refused_websockets_of_subject += 1
            raise refusals.too_many("the user has too many WebSockets")
        if websockets.full():
            counters.refused_websockets += 1
            raise refusals.crowded("there are too many WebSockets")
        websockets.take(user)
        self._user = user

    def hand_over_websocket(self) -> Callable[[], None]:
        """Returns a function that gives the place among the WebSockets back; its caller has to call it from now on."""
        websockets, user = self._proxy.websockets, cast(Holder, self._user)
        self._user = None
        return lambda: websockets.give_back(user)

    def give_back(self) -> None:
        if self._places is not None:
            self._places.give_back(self._network)
            self._places = None
        if self._user is not None:
            self._proxy.websockets.give_back(self._user)
            self._user = None
