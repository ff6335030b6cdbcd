"""Adds the clients and users of `make run` to a stack in containers, with the services' command lines there."""

import asyncio
import shutil

from containers import Containers
from dev import seed
from dev.services import Service


def seed_containers(containers: Containers) -> None:
    asyncio.run(seed.seed(_service(containers, "auth-service"), _service(containers, "user-service")))


class _InContainer(Service):
    """A service whose command line is run in its container."""

    def command(self, *arguments: str) -> list[str]:
        compose = shutil.which("docker"), *self.serve
        return [*map(str, compose), "exec", "-T", self.name, "python", "-m", self.module, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.variables)


def _service(containers: Containers, name: str) -> Service:
    module = name.replace("-", "_")
    return _InContainer(name, module, containers.command[1:], containers.environment, "")
