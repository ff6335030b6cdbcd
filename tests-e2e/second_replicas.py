"""A second replica of each service beside a stack's own, over the same databases and behind a gateway of its own."""

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.testing import START_TIMEOUT, STOP_TIMEOUT, Stack, free_ports

MODULES = {"auth_service": ("serve",), "user_service": ("serve",), "gateway": ()}


@dataclass(frozen=True)
class Replicas:
    """`url` is that of their gateway, `auth_url` and `users_url` their own; `logs` holds what each wrote."""

    url: str
    auth_url: str
    users_url: str
    logs: Path

    def log(self, module: str) -> str:
        return (self.logs / module).read_text()


@contextlib.contextmanager
def second(stack: Stack, logs: Path, more: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Replicas]:
    """Start them and wait until they are ready. `more` are variables for a module's process alone."""
    ports = free_ports()
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
            log = running.enter_context((logs / module).open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            running.callback(_stop, process)
        for name in ("AUTH", "USERS", "GATEWAY_OPS"):
            _wait_until_ready(urls[name] + "/readyz")
        yield Replicas(urls["GATEWAY"], urls["AUTH"], urls["USERS"], logs)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return
        assert time.monotonic() < deadline, url
        time.sleep(0.05)
