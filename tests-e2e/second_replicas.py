"""A second replica of each service next to a stack's own, over the same databases and behind a separate gateway."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dev import testing

MODULES = {"auth_service": ("serve",), "user_service": ("serve",), "gateway": ()}


@dataclass(frozen=True)
class Replicas:
    """`url` is their gateway's, `auth_url` and `users_url` are their own; `logs` is the directory of their logs."""

    url: str
    auth_url: str
    users_url: str
    logs: Path

    def log(self, module: str) -> str:
        return (self.logs / module).read_text()


@contextlib.contextmanager
def second(stack: testing.Stack, logs: Path, more: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Replicas]:
    """Start the replicas and wait until they are ready. `more` are variables for one module's process alone."""
    ports = testing.free_ports()
    urls = {name.removesuffix("_PORT"): f"http://127.0.0.1:{port}" for name, port in ports.items()}
    variables = {
        **{name: ports[name] for name in ("AUTH_PORT", "USERS_PORT", "GATEWAY_PORT", "GATEWAY_OPS_PORT")},
        "AUTH_USERS_URL": urls["USERS"],
        "USERS_JWKS_URL": urls["AUTH"] + "/.well-known/jwks.json",
        "GATEWAY_AUTH_URL": urls["AUTH"],
        "GATEWAY_USERS_URL": urls["USERS"],
    }
    with contextlib.ExitStack() as running:
        for module, arguments in MODULES.items():
            environment = {**stack.processes()[module].environ(), **variables, **(more or {}).get(module, {})}
            running.enter_context(testing.module([module, *arguments], environment, logs / module))
        for name in ("AUTH", "USERS", "GATEWAY_OPS"):
            testing.wait_until_ready(urls[name] + "/readyz")
        yield Replicas(urls["GATEWAY"], urls["AUTH"], urls["USERS"], logs)
