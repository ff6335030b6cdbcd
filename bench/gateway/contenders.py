"""The contenders: each proxy's name, its configuration under `peers/`, and the command that starts it."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import pinned
from bench.gateway.programs import PEERS, PROXY_OF_GO, Programs

BASELINE = "nginx auth_request"


@dataclass(frozen=True)
class Testbed:
    """The environment of contenders. `values` replace @name@ in their configurations."""

    directory: Path
    programs: Programs
    values: Mapping[str, object]
    proxy_core: int
    load_core: int

    @property
    def backend(self) -> str:
        return str(self.values["backend"])

    def write(self, name: str, port: int) -> Path:
        """The file `name` from `peers/`, with all values filled in."""
        text = (PEERS / name).read_text()
        for key, value in {**self.values, "directory": self.directory, "port": port}.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.directory / name
        path.write_text(text)
        return path

    @contextlib.contextmanager
    def started_backend(self) -> Iterator[None]:
        command = [self.programs.paths["nginx"], "-c", self.write("backend.conf", 0)]
        log = self.directory / "backend.log"
        with pinned.running(command, core=self.load_core, port=int(self.backend), log=log):
            yield


Command = Callable[[Testbed, int], Sequence[str | Path]]


@dataclass(frozen=True)
class Contender:
    """`command` returns the command that serves on a port; `verifies` says how the contender verifies tokens.

    With `bodies`, large bodies are measured too.
    """

    name: str
    verifies: str
    program: str | None
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    bodies: bool = False

    @contextlib.contextmanager
    def started(self, testbed: Testbed) -> Iterator[tuple[pinned.Pinned, int]]:
        """The running proxy and its port."""
        port = pinned.free_port()
        environment = {name: value.replace("@backend@", testbed.backend) for name, value in self.environment.items()}
        if environment:
            environment |= {"GATEWAY_PORT": str(port), "GATEWAY_OPS_PORT": str(pinned.free_port())}
        environment |= {"HOME": str(testbed.directory)}
        with pinned.running(
            self.command(testbed, port),
            core=testbed.proxy_core,
            port=port,
            log=testbed.directory / "proxy.log",
            environment=environment,
        ) as process:
            yield process, port


def _gateway(**changes: str) -> dict[str, str]:
    """The gateway's environment: defaults, but no limits per network, because there is a single client."""
    settings = {
        "AUTH_URL": "http://127.0.0.1:@backend@",
        "USERS_URL": "http://127.0.0.1:@backend@",
        "LOG_LEVEL": "error",
        "ACCESS_LOG": "0",
        "CONNECTIONS_PER_ADDRESS": "16384",
        "UPSTREAM_REQUESTS_PER_NETWORK": "256",
        "DRAIN_DELAY": "0",
        **changes,
    }
    return {f"GATEWAY_{name}": value for name, value in settings.items()}


def _this_gateway(_testbed: Testbed, _port: int) -> Sequence[str]:
    return [sys.executable, "-m", "gateway"]


def _nginx(configuration: str) -> Command:
    return lambda testbed, port: [testbed.programs.paths["nginx"], "-c", testbed.write(configuration, port)]


def _haproxy(configuration: str) -> Command:
    return lambda testbed, port: [testbed.programs.paths["haproxy"], "-db", "-f", testbed.write(configuration, port)]


def _envoy(testbed: Testbed, port: int) -> Sequence[str | Path]:
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return [testbed.programs.paths["envoy"], "-c", testbed.write("envoy.yaml", port), *options]


def _caddy(testbed: Testbed, port: int) -> Sequence[str | Path]:
    return [
        testbed.programs.paths["caddy"],
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        testbed.write("Caddyfile", port),
    ]


def _go(idle_connections: int) -> Command:
    """Keeps at most `idle_connections` to the backend; Go's default is 2."""
    return lambda testbed, port: [
        testbed.programs.paths[PROXY_OF_GO],
        f"127.0.0.1:{port}",
        f"127.0.0.1:{testbed.backend}",
        str(idle_connections),
    ]


def _aiohttp(testbed: Testbed, port: int) -> Sequence[str | Path]:
    return [sys.executable, PEERS / "aiohttp_proxy.py", str(port), testbed.backend]


CONTENDERS = (
    Contender("this gateway", "verdict cached for 2 s", None, _this_gateway, _gateway(), bodies=True),
    Contender("this gateway, asking each time", "asks each time", None, _this_gateway, _gateway(VERDICT_LIFETIME="0")),
    Contender("nginx", "not at all", "nginx", _nginx("nginx.conf"), bodies=True),
    Contender(BASELINE, "asks each time", "nginx", _nginx("nginx-auth-request.conf"), bodies=True),
    Contender("HAProxy", "not at all", "haproxy", _haproxy("haproxy.cfg"), bodies=True),
    Contender("HAProxy jwt_verify", "checks the RS256 signature", "haproxy", _haproxy("haproxy-jwt.cfg")),
    Contender("Envoy ext_authz", "asks each time", "envoy", _envoy),
    Contender("Caddy forward_auth", "asks each time", "caddy", _caddy),
    Contender("Go ReverseProxy", "not at all", PROXY_OF_GO, _go(256)),
    Contender("Go ReverseProxy, default pool", "not at all", PROXY_OF_GO, _go(2)),
    Contender("aiohttp", "not at all", None, _aiohttp),
)
