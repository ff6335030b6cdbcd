"""A compose stack for tests, with its project, settings and containers."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
PROJECT = "parley-tests"
SERVICES = ("gateway", "auth-service", "user-service")
STORES = ("postgres", "redis")


class Containers:
    """`docker compose` with the tests' overrides; `variables` are settings that are usually in `.env`.

    `tree` is the source that compose.yaml and the images come from, `version` the images' tag.
    """

    def __init__(
        self, port: int, secrets: Path, *, project: str = PROJECT, tree: Path = REPOSITORY, version: str = "tests"
    ) -> None:
        self.port = port
        self.kept_logs = secrets.parent / "logs"
        self._project = project
        self._replicas: dict[str, int] | None = None
        self.command = (
            *("docker", "compose", "--project-name", project, "--project-directory", str(tree)),
            *("--file", str(tree / "compose.yaml")),
            *("--file", str(tree / "tests-compose" / "compose.tests.yaml")),
        )
        self.variables = {
            "PARLEY_SECRETS": str(secrets),
            "PARLEY_LOGS": str(self.kept_logs),
            "PARLEY_VERSION": version,
            "PARLEY_PUBLIC_URL": self.url,
            "GATEWAY_PORT": str(port),
            # for the scripts behind `make`, which run without the options above
            "COMPOSE_PROJECT_NAME": project,
            "COMPOSE_FILE": "compose.yaml:tests-compose/compose.tests.yaml",
        }

    @property
    def url(self) -> str:
        """The URL of the port that all gateways share."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def compose(self, *arguments: str) -> str:
        """Run `docker compose arguments`, which must succeed; returns its standard output."""
        return run(*self.command, *arguments, environment=self.environment)

    def up(self, **replicas: int) -> None:
        """Run this many replicas of each service, by default one, and wait until all containers are healthy."""
        if replicas == self._replicas:
            return
        self._replicas = replicas
        for service in SERVICES:
            name = service.replace("-", "_")
            self.variables[f"{name.upper()}_REPLICAS"] = str(replicas.get(name, 1))
        self.compose("up", "--detach", "--wait")

    def script(self, name: str, *arguments: str) -> str:
        """Run one of the scripts behind `make`."""
        return run(str(REPOSITORY / "deploy" / name), *arguments, environment=self.environment)

    def ids(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        labels = (f"com.docker.compose.project={self._project}", f"com.docker.compose.service={service}")
        filters = [argument for label in labels for argument in ("--filter", f"label={label}")]
        return run("docker", "ps", "--quiet", "--no-trunc", *filters).split()

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """Docker's description of each container."""
        return inspect(self.ids(service))

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of the service; it may fail."""
        arguments = ["docker", "exec", self.ids(service)[0], *command]
        return subprocess.run(arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def inspect(identifiers: Iterable[str]) -> list[dict[str, Any]]:
    names = list(identifiers)
    found: list[dict[str, Any]] = json.loads(run("docker", "inspect", *names)) if names else []
    return found


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command, which must succeed; returns its standard output."""
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-3000:]}"
    return done.stdout
