"""The development stack's ports and data directory, checked before anything is started."""

import socket
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dev.errors import StartError

HOST = "127.0.0.1"
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Each field is the environment variable with its name in capitals; an empty one counts as absent."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    gateway_port: Port = 8080
    gateway_ops_port: Port = 8090
    auth_port: Port = 8081
    users_port: Port = 8082
    redis_port: Port = 8083
    data_dir: Path = Path(".data")

    @property
    def ports(self) -> dict[str, int]:
        """The ports by the variable that sets them."""
        return {name.upper(): getattr(self, name) for name in self.port_fields()}

    @classmethod
    def port_fields(cls) -> list[str]:
        return [name for name in cls.model_fields if name.endswith("_port")]

    @property
    def public_url(self) -> str:
        return f"http://{HOST}:{self.gateway_port}"

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        variables: dict[int, str] = {}
        for variable, port in self.ports.items():
            if port in variables:
                raise ValueError(f"{variables[port]} and {variable} are both {port}")
            variables[port] = variable
        return self


def load_settings() -> Settings:
    """Read the environment. Raises `StartError` that names every invalid variable."""
    try:
        return Settings()
    except ValidationError as error:
        raise StartError("settings: " + "; ".join(_words(fault) for fault in error.errors())) from None


def _words(fault: Any) -> str:
    variable = "".join(f"{part}: " for part in fault["loc"]).upper()
    return variable + str(fault["msg"]).removeprefix("Value error, ")


def check_ports(settings: Settings) -> None:
    """Raises `StartError` that names each port that cannot be bound, and its variable."""
    faults, taken = [], []
    for variable, port in settings.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen(1)
            except OSError as error:
                faults.append(f"{variable}: cannot listen on port {port}: {error.strerror}")
                taken.append(variable)
    if faults:
        others = " ".join(f"{variable}={settings.ports[variable] % 50000 + 1000}" for variable in taken)
        raise StartError("; ".join(faults) + f" (choose others: `make run {others}`)")
