"""Converts `docker compose config --format json` for `docker stack deploy`; see docs/handbook/swarm.md.

Swarm reads an older format, without conditions between services, and its secrets are immutable: each version has its
own name, which ends in `_` and PARLEY_SECRETS (1, 2, …). Databases and Redis are elsewhere, so networks have a way out.
Each gateway binds the public port itself, and Swarm spreads connections over all of them.
"""

import json
import os
import sys
from typing import Any

SERVICES = ("gateway", "auth-service", "user-service")
UNKNOWN_TO_SWARM = ("build", "depends_on", "restart", "security_opt", "command", "entrypoint")
USER = "10001"  # USER in the Dockerfile


def main() -> None:
    composed = json.load(sys.stdin)
    version = os.environ.get("PARLEY_SECRETS", "1")
    composed["services"]["gateway"] = with_a_port_of_its_own(**composed["services"])
    services = {name: service(composed["services"][name]) for name in SERVICES}
    used = {secret["source"] for one in services.values() for secret in one.get("secrets", ())}
    stack = {
        "version": "3.9",
        "services": services,
        "networks": {name: {"driver": "overlay"} for name in composed["networks"]},
        "secrets": {name: {"external": True, "name": f"{name}_{version}"} for name in sorted(used)},
    }
    json.dump(stack, sys.stdout, indent=2)


def with_a_port_of_its_own(gateway: dict[str, Any], port: dict[str, Any], **_others: Any) -> dict[str, Any]:
    """The gateway, binding the public port itself instead of getting it from the container `port`."""
    environment = {name: value for name, value in gateway["environment"].items() if name != "GATEWAY_LISTENER"}
    networks = {**port["networks"], **gateway["networks"]}
    volumes = [volume for volume in gateway["volumes"] if volume not in port["volumes"]]
    return {**gateway, "environment": environment, "networks": networks, "ports": port["ports"], "volumes": volumes}


def service(composed: dict[str, Any]) -> dict[str, Any]:
    one = {name: value for name, value in composed.items() if name not in UNKNOWN_TO_SWARM}
    one["networks"] = list(one["networks"])
    one["secrets"] = [secret(entry) for entry in one.get("secrets", ())]
    if "ports" in one:
        one["ports"] = [port_of_every_node(port) for port in one["ports"]]
    else:  # the name resolves to all replicas, not to one address in front of them: gateways choose
        one["deploy"]["endpoint_mode"] = "dnsrr"
    return one


def port_of_every_node(port: dict[str, Any]) -> dict[str, Any]:
    """Swarm can publish on all addresses of a node only."""
    return {**{name: port[name] for name in port if name != "host_ip"}, "published": int(port["published"])}


def secret(entry: dict[str, str]) -> dict[str, Any]:
    target = entry["target"].rpartition("/")[2]
    return {"source": entry["source"], "target": target, "uid": USER, "gid": USER, "mode": 0o400}


main()
