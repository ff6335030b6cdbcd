"""The data directory: its lock, the secrets made at the first start, and the file to source in a shell."""

import base64
import contextlib
import fcntl
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from dev.errors import StartError

_MASTER_KEYS = "AUTH_MASTER_KEYS"


class DataDirectory:
    """Paths below one directory, all absolute, because services and shells use them from elsewhere."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.postgres = self.root / "postgres"
        self.secrets = self.root / "secrets"
        self.logs = self.root / "logs"
        self.environment = self.root / "env"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Create the directory and lock it against other stacks while the context lasts. Raises `StartError`."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            lock = (self.root / "lock").open("w")
        except OSError as error:
            raise StartError(f"DATA_DIR: {error.filename}: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StartError(
                    f"DATA_DIR: another stack is running in {self.root} (choose another: `make run DATA_DIR=.data-2`)"
                ) from None
            yield

    def make_secrets(self) -> None:
        """Create auth-service's master key at the first start. Raises `StartError` if it was lost."""
        path = self.secrets / _MASTER_KEYS
        if path.exists():
            return
        if self.postgres.exists():
            raise StartError(f"DATA_DIR: {path} is missing, and {self.postgres} cannot be read without it; remove both")
        _write_private(path, "dev:" + base64.b64encode(secrets.token_bytes(32)).decode())

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Write the shell file with the settings of the services' command lines."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
        _write_private(self.environment, "".join(lines))


def _write_private(path: Path, content: str) -> None:
    """Write a file atomically that only its owner can read."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
