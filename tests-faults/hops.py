"""The routes between processes: the names that callers use, the addresses behind them, and a relay for each route."""

from typing import Literal

from name_server import NameServer
from relay import Relay, Weather

PORTS = {"gateway": 8080, "auth-service": 8081, "user-service": 8082, "postgres": 5432, "standby": 5432, "redis": 6379}
COUNTS = {"gateway": 2, "auth-service": 2, "user-service": 3, "postgres": 1, "standby": 1, "redis": 1}
CALLS = {
    "client": ("gateway",),
    "gateway": ("auth-service", "user-service"),
    "auth-service": ("user-service", "postgres", "standby", "redis"),
    "user-service": ("auth-service", "postgres", "standby", "redis"),
}
_KINDS = tuple(PORTS)

Ways = Literal["direct", "relayed"]


def address(name: str) -> str:
    """The address that a replica such as `auth-service-1` listens on."""
    kind, _, number = name.rpartition("-")
    return "127.0.0.1" if kind == "redis" else f"127.0.{_KINDS.index(kind) + 1}.{number}"


def replicas(kind: str) -> list[str]:
    return [kind] if kind == "client" else [f"{kind}-{number}" for number in range(1, COUNTS[kind] + 1)]


class Hops:
    """Each caller has its own name for a service, such as `auth-service.gateway-1`.

    The name resolves to the replicas themselves, or, if `relayed`, to a relay in front of each.
    """

    def __init__(self, names: NameServer) -> None:
        self._names = names
        self._relays: dict[tuple[str, str], Relay] = {}
        self._host = 0
        self.relayed = False
        self.with_standby = False
        self._publish()

    def database_url(self, database: str, caller: str) -> str:
        """The `postgresql://` URL of a database for the role of the same name."""
        if self.with_standby:
            hosts = f"postgres.{caller}:5432,standby.{caller}:5432"
            return f"postgresql://{database}@{hosts}/{database}?target_session_attrs=read-write"
        return f"postgresql://{database}@postgres.{caller}:5432/{database}"

    async def relay(self) -> None:
        """Make names resolve to relays; a caller with open connections must be restarted."""
        for kind, callees in CALLS.items():
            for caller in replicas(kind):
                for callee in (one for name in callees for one in replicas(name)):
                    self._host += 1
                    port = PORTS[callee.rpartition("-")[0]]
                    relay = Relay((f"127.1.0.{self._host}", port), (address(callee), port))
                    self._relays[caller, callee] = relay
                    await relay.start()
        self.relayed = True
        self._publish()

    async def close(self) -> None:
        """Make names resolve to the replicas themselves."""
        for relay in self._relays.values():
            await relay.stop()
        self._relays.clear()
        self.relayed = False
        self._host = 0
        self._publish()

    def between(self, caller: str, callee: str) -> list[Relay]:
        """The relays from a caller to a callee, each a replica (`gateway-1`) or a service (`gateway`)."""
        found = [
            relay
            for (one, other), relay in self._relays.items()
            if caller in (one, one.rpartition("-")[0]) and callee in (other, other.rpartition("-")[0])
        ]
        assert found, (caller, callee)
        return found

    async def heal(self) -> None:
        for relay in self._relays.values():
            await relay.become(Weather())

    def addresses(self, caller: str, kind: str) -> list[str]:
        """The addresses at which a caller finds the replicas of a service."""
        if not self.relayed:
            return [address(name) for name in replicas(kind)]
        return [self._relays[caller, name].listen[0] for name in replicas(kind)]

    def _publish(self) -> None:
        for kind, callees in CALLS.items():
            for caller in replicas(kind):
                for callee in callees:
                    self._names.addresses[f"{callee}.{caller}"] = self.addresses(caller, callee)
