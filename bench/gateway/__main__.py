"""Measures this gateway and its peers and writes `bench/results/gateway.md`, `.csv` and `.svg`."""

import argparse
import datetime
import platform
import secrets
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.gateway import chart, report
from bench.gateway.contenders import CONTENDERS, Contender, Testbed
from bench.gateway.load import LARGE, Wrk
from bench.gateway.measuring import Measuring
from bench.gateway.pinned import free_port, raise_open_files, two_cores
from bench.gateway.programs import Programs

RESULTS = Path(__file__).parent.parent / "results"
PARTS = ("requests", "bodies", "idle")
OPEN_FILES = 18_000


def main() -> None:
    signal.signal(signal.SIGTERM, _stop)
    options = _options()
    programs = Programs()
    programs.collect(install=options.install)
    for line in (f"{name} {reason}" for name, reason in programs.missing.items()):
        print(line)
    if lacking := {"nginx", "wrk"} & programs.missing.keys():
        raise SystemExit(f"cannot measure anything without {' and '.join(sorted(lacking))}")
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        testbed = _testbed(Path(directory), programs)
        with testbed.started_backend():
            measuring = _measure(testbed, options)
    _write(measuring, programs, options)


def _stop(*_: object) -> NoReturn:
    raise SystemExit(143)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each proxy")
    parser.add_argument("--seconds", type=float, default=5, help="duration of the load in each round, in whole seconds")
    parser.add_argument("--idle", type=int, default=5000, help="number of idle connections")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--only", default="", help="measure only proxies with these name prefixes, separated by commas")
    parser.add_argument("--no-install", dest="install", action="store_false", help="install nothing")
    return parser.parse_args()


def _testbed(directory: Path, programs: Programs) -> Testbed:
    directory.chmod(0o755)  # the backend's workers run as another user
    for kind in LARGE:
        if kind.method == "GET":
            (directory / str(kind.size)).write_bytes(secrets.token_bytes(kind.size))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "public.pem").write_bytes(public)
    claims = {
        "iss": "http://bench",
        "aud": "parley",
        "sub": "157",
        "client_id": "demo",
        "exp": int(time.time()) + 86400,
    }
    values = {
        "backend": free_port(),
        "token": jwt.encode(claims, key, "RS256"),
        # As long as an internal token; nobody verifies it here.
        "internal_token": jwt.encode({**claims, "aud": "internal"}, secrets.token_hex(32), "HS512"),
        "files": raise_open_files(OPEN_FILES),
    }
    proxy_core, load_core = two_cores()
    return Testbed(directory, programs, values, proxy_core, load_core)


def _measure(testbed: Testbed, options: argparse.Namespace) -> Measuring:
    wrk = Wrk(testbed.programs.paths["wrk"], testbed.load_core, str(testbed.values["token"]))
    measuring = Measuring(testbed, wrk, rounds=options.rounds, seconds=options.seconds)
    contenders = _chosen(testbed.programs, options.only)
    if "requests" in options.parts:
        measuring.requests(contenders)
    if "bodies" in options.parts:
        measuring.bodies(contenders)
    if "idle" in options.parts:
        measuring.idle(contenders, options.idle)
    return measuring


def _chosen(programs: Programs, only: str) -> list[Contender]:
    beginnings = tuple(part.strip().lower() for part in only.split(","))
    return [
        contender
        for contender in CONTENDERS
        if (contender.program is None or contender.program in programs.paths)
        and contender.name.lower().startswith(beginnings)
    ]


def _write(measuring: Measuring, programs: Programs, options: argparse.Namespace) -> None:
    """Print the report, and store it unless only a part was measured."""
    occasion = report.Occasion(
        command=_command(options),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=f"{_processor()}, Linux {platform.release()}",
        versions=programs.versions(),
        missing=[f"{name} {reason}" for name, reason in programs.missing.items()],
        idle_connections=options.idle,
    )
    text = report.markdown(measuring.measurements, occasion)
    print(text)
    if _partial(options):
        print("only a part was measured: nothing is stored")
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gateway.md").write_text(text)
    (RESULTS / "gateway.csv").write_text(report.table(measuring.measurements))
    (RESULTS / "gateway.svg").write_text(chart.draw(measuring.measurements))


def _partial(options: argparse.Namespace) -> bool:
    return bool(options.only) or tuple(options.parts) != PARTS


def _command(options: argparse.Namespace) -> str:
    if _partial(options):
        return f"python -m bench.gateway {shlex.join(sys.argv[1:])}"
    return f"make bench-gateway ROUNDS={options.rounds} SECONDS={options.seconds:g}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
