"""The output of `deploy/for-swarm.py` for a composed stack."""

import json
import os
import subprocess
import sys
from typing import Any

from dev.testing import REPOSITORY

SERVICE: dict[str, Any] = {
    "build": {"context": "."},
    "depends_on": {"auth-migrate": {"condition": "service_completed_successfully"}},
    "deploy": {"replicas": 2},
    "image": "parley",
    "networks": {"internal": None},
    "restart": "unless-stopped",
    "security_opt": ["no-new-privileges:true"],
}
PORT: dict[str, Any] = {"mode": "ingress", "target": 8080}
MASTER_KEYS = {"source": "AUTH_MASTER_KEYS", "target": "/run/secrets/AUTH_MASTER_KEYS"}
CERTIFICATE = {"type": "bind", "source": "/tls", "target": "/run/tls", "read_only": True}
LISTENER = {"type": "volume", "source": "listener", "target": "/run/parley"}
COMPOSED = {
    "name": "parley",
    "services": {
        "port": {
            **SERVICE,
            "networks": {"edge": None},
            "ports": [{**PORT, "host_ip": "127.0.0.1", "published": "8080"}],
            "volumes": [LISTENER],
        },
        "gateway": {
            **SERVICE,
            "environment": {"GATEWAY_LISTENER": "/run/parley/listener", "GATEWAY_AUTH_URL": "http://auth-service:8081"},
            "volumes": [LISTENER, CERTIFICATE],
        },
        "auth-service": {**SERVICE, "secrets": [MASTER_KEYS]},
        "user-service": SERVICE,
        "postgres": SERVICE,
        "auth-migrate": SERVICE,
    },
    "networks": {"edge": {"name": "parley_edge"}, "internal": {"name": "parley_internal", "internal": True}},
    "secrets": {"AUTH_MASTER_KEYS": {"file": "secrets/AUTH_MASTER_KEYS"}, "POSTGRES_PASSWORD": {"file": "x"}},
}


def test_swarm_is_given_what_it_knows_and_nothing_else() -> None:
    script = REPOSITORY / "deploy" / "for-swarm.py"
    environment = {**os.environ, "PARLEY_SECRETS": "7"}
    made = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(COMPOSED), env=environment, capture_output=True, text=True
    )
    assert (made.returncode, made.stderr) == (0, "")
    stack = json.loads(made.stdout)
    assert stack.keys() == {"version", "services", "networks", "secrets"}
    assert stack["services"].keys() == {"gateway", "auth-service", "user-service"}
    assert stack["networks"] == {"edge": {"driver": "overlay"}, "internal": {"driver": "overlay"}}
    assert stack["secrets"] == {"AUTH_MASTER_KEYS": {"external": True, "name": "AUTH_MASTER_KEYS_7"}}
    for service in stack["services"].values():
        assert service.keys() <= {"deploy", "environment", "image", "networks", "ports", "secrets", "volumes"}
    gateway, auth = stack["services"]["gateway"], stack["services"]["auth-service"]
    assert gateway["ports"] == [{**PORT, "published": 8080}]
    assert gateway["volumes"] == [CERTIFICATE]
    assert gateway["networks"] == ["edge", "internal"]
    assert gateway["environment"] == {"GATEWAY_AUTH_URL": "http://auth-service:8081"}
    assert "endpoint_mode" not in gateway["deploy"]
    assert auth["deploy"] == {"replicas": 2, "endpoint_mode": "dnsrr"}
    owned = {"uid": "10001", "gid": "10001", "mode": 0o400}
    assert auth["secrets"] == [{"source": "AUTH_MASTER_KEYS", "target": "AUTH_MASTER_KEYS", **owned}]
