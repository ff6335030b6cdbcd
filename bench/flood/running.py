"""Starts the processes that an attack's class asks for, and stops them at the end."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from bench.flood.attack import Attack
from bench.flood.honest import Plan
from bench.flood.networks import IPV4, IPV6
from bench.flood.world import World
from dev import certificates, testing

_PREFIXES = ("AUTH_", "USERS_", "GATEWAY_")


@contextlib.contextmanager
def world(attack: type[Attack], directory: Path, seconds: float) -> Iterator[World]:
    """Start a stack and a gateway in front of it, with defaults for all that the attack's class does not set."""
    networks = IPV6 if attack.ipv6 else IPV4
    for_tests = _settings_for_tests(directory)
    # auth-service and user-service treat an empty variable as absent.
    defaults = {name: "" for name in for_tests if not name.startswith("GATEWAY_")}
    with contextlib.ExitStack() as running:
        stack = running.enter_context(testing.running(directory / "data", **defaults))
        settings, ports = stack.environment(), testing.free_ports()
        variables = {
            "GATEWAY_HOST": networks.host,
            "GATEWAY_OPS_HOST": networks.host,
            **{name: ports[name] for name in ("GATEWAY_PORT", "GATEWAY_OPS_PORT")},
            **dict(attack.gateway),
            **(_certificate(directory) if attack.tls else {}),
        }
        if attack.web_sockets:
            variables["GATEWAY_USERS_URL"] = f"http://127.0.0.1:{ports['USERS_PORT']}"
            server = ["bench.flood.web_socket_server", ports["USERS_PORT"], settings["USERS_PORT"]]
            running.enter_context(testing.module(server, os.environ, directory / "web_socket_server.log"))
        inherited = stack.processes()["gateway"].environ()
        environment = {name: value for name, value in inherited.items() if name not in for_tests} | variables
        gateway = running.enter_context(testing.module(["gateway"], environment, directory / "gateway.log"))
        if attack.open_files is not None:
            resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (attack.open_files, attack.open_files))
        host = f"[{networks.host}]" if ":" in networks.host else networks.host
        testing.wait_until_ready(f"http://{host}:{ports['GATEWAY_OPS_PORT']}/readyz")
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
    """The names of the services' settings for which `testing` overrides the default."""
    _, environment = testing.command(directory)
    services = {name for name in environment.keys() - os.environ.keys() if name.startswith(_PREFIXES)}
    return {name for name in services if not name.endswith("_PORT")}


def _certificate(directory: Path) -> dict[str, str]:
    """The gateway's settings for a new certificate."""
    key = certificates.new_key()
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificates.certificate("gateway", key))
    key_file.write_bytes(certificates.private_bytes(key))
    return {"GATEWAY_TLS_CERTIFICATE": str(certificate_file), "GATEWAY_TLS_KEY": str(key_file)}
