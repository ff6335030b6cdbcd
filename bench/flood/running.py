"""Starts the processes that an attack is made on, as its class asks for them, and stops them in the end."""

import contextlib
import datetime
import os
import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.flood.attack import Attack
from bench.flood.honest import Plan
from bench.flood.networks import IPV4, IPV6
from bench.flood.world import World
from dev import testing

_PREFIXES = ("AUTH_", "USERS_", "GATEWAY_")
READY_WITHIN, STOPPED_WITHIN = 30.0, 10.0


@contextlib.contextmanager
def world(attack: type[Attack], directory: Path, seconds: float) -> Iterator[World]:
    """Start a stack, and before it a gateway; what the attack's class does not set of either is as by default."""
    networks = IPV6 if attack.ipv6 else IPV4
    for_tests = _settings_for_tests(directory)
    # To auth-service and user-service an empty variable is as good as none.
    stack = testing.start(directory / "data", **{name: "" for name in for_tests if not name.startswith("GATEWAY_")})
    with contextlib.ExitStack() as running:
        running.callback(stack.stop)
        settings, ports = stack.environment(), testing.free_ports()
        variables = {
            "GATEWAY_HOST": networks.host,
            **{name: ports[name] for name in ("GATEWAY_PORT", "GATEWAY_OPS_PORT")},
            **dict(attack.gateway),
            **(_certificate(directory) if attack.tls else {}),
        }
        if attack.web_sockets:
            variables["GATEWAY_USERS_URL"] = f"http://127.0.0.1:{ports['USERS_PORT']}"
            running.enter_context(
                _process(["bench.flood.web_socket_server", ports["USERS_PORT"], settings["USERS_PORT"]])
            )
        inherited = stack.processes()["gateway"].environ()
        environment = {name: value for name, value in inherited.items() if name not in for_tests} | variables
        gateway = running.enter_context(_process(["gateway"], environment, directory / "gateway.log"))
        if attack.open_files is not None:
            resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (attack.open_files, attack.open_files))
        _wait_until_ready(networks.host, ports["GATEWAY_OPS_PORT"])
        plan = Plan(
            host=networks.host,
            port=int(ports["GATEWAY_PORT"]),
            ops_port=int(ports["GATEWAY_OPS_PORT"]),
            tls=attack.tls,
            sources=networks.honest,
            seconds=seconds,
        )
        yield World(stack, gateway, plan, networks.attacker, settings)


def _settings_for_tests(directory: Path) -> set[str]:
    """The names of the services' settings that `testing` gives other values than the defaults."""
    _, environment = testing.command(directory)
    services = {name for name in environment.keys() - os.environ.keys() if name.startswith(_PREFIXES)}
    return {name for name in services if not name.endswith("_PORT")}


@contextlib.contextmanager
def _process(
    arguments: list[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A module of ours as a program, until the context ends."""
    with contextlib.ExitStack() as files:
        output = files.enter_context(log.open("wb")) if log is not None else None
        process = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(host: str, port: str) -> None:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz"
    deadline = time.monotonic() + READY_WITHIN
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"the gateway is not ready after {READY_WITHIN:.0f} s")
        time.sleep(0.05)


def _certificate(directory: Path) -> dict[str, str]:
    """The gateway's settings for a certificate that is made here, valid for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return {"GATEWAY_TLS_CERTIFICATE": str(certificate_file), "GATEWAY_TLS_KEY": str(key_file)}
