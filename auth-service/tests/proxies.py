"""The samples in `examples/proxies/`, each run by its own program if that is installed."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from .processes import free_port
from .serving import eventually

REPOSITORY = Path(__file__).parents[2]
SAMPLES = REPOSITORY / "examples" / "proxies"
# Debian's directories for root's programs, and the directory where `make bench-gateway` puts Envoy.
_PLACES = ("/usr/sbin", *map(str, REPOSITORY.glob(".bench/envoy/lib/python*/site-packages/envoy/_bin")))
_SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES))


@dataclass(frozen=True)
class Proxy:
    """A program and its sample `files`; `command` starts the program with the first of them.

    `changes` adapt the sample to the test: shorter timeouts for auth-service, and nothing outside the test's directory.
    `relays_denials`: the client gets auth-service's whole answer, not only its status and challenge.
    """

    program: str
    files: Sequence[str]
    command: Callable[[Path], Sequence[str | Path]]
    changes: Mapping[str, str]
    relays_denials: bool = True

    @property
    def path(self) -> str | None:
        return shutil.which(self.program, path=_SEARCHED)

    @contextlib.asynccontextmanager
    async def started(self, directory: Path, auth: int, orders: int) -> AsyncIterator[str]:
        """Run the proxy and yield its URL. auth-service and the company's service listen on the given ports."""
        port, second = free_port(), free_port()
        changes = {
            "8088": port,
            "8089": second,
            **_addresses("auth-service", 8081, auth),
            **_addresses("orders", 8000, orders),
        }
        for name in self.files:
            text = (SAMPLES / name).read_text()
            for before, after in {**changes, **self.changes}.items():
                text = text.replace(before, str(after).replace("@directory@", str(directory)))
            (directory / name).write_text(text)
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                self.path or self.program,
                *self.command(directory / self.files[0]),
                cwd=directory,
                env={**os.environ, "HOME": str(directory)},
                stdout=log,
                stderr=log,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            await _answers(url, process, (directory / "log").read_text)
            yield url
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _addresses(host: str, port: int, actual: int) -> dict[str, str]:
    """Replacements for an address in a sample, for each way it is written: as in a URL, and as in Envoy's file."""
    return {
        f"{host}:{port}": f"127.0.0.1:{actual}",
        f"address: {host}, port_value: {port}": f"address: 127.0.0.1, port_value: {actual}",
    }


async def _answers(url: str, process: asyncio.subprocess.Process, said: Callable[[], str]) -> None:
    """Wait until the proxy refuses a request without a token."""

    async def answers() -> bool:
        assert process.returncode is None, said()
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as client, client.get(url) as response:
                return response.status == 401
        return False

    await eventually(answers)


_TEMPORARY = "".join(
    f"{kind}_temp_path @directory@/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)

PROXIES = (
    Proxy(  # otherwise its workers run as nobody, who may not enter root's directories
        "nginx",
        ["nginx.conf"],
        lambda file: ["-c", file, "-g", f"daemon off; user root; pid {file.parent}/pid; error_log stderr;"],
        {"http {": "http { access_log off; " + _TEMPORARY, " 2s": " 500ms"},
        relays_denials=False,
    ),
    Proxy(
        "caddy",
        ["Caddyfile"],
        lambda file: ["run", "--adapter", "caddyfile", "--config", file],
        {"# Caddy before a": "{\n\tadmin off\n\tauto_https off\n}\n# Caddy before a", " 2s": " 500ms"},
    ),
    Proxy(
        "traefik", ["traefik.yaml", "traefik-routes.yaml"], lambda file: [f"--configfile={file}"], {": 2s": ": 500ms"}
    ),
    Proxy(
        "envoy",
        ["envoy.yaml"],
        lambda file: ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"],
        {"timeout: 2s": "timeout: 0.5s"},
    ),
)
