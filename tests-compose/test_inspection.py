"""The containers' users, writable files, published ports, and the secrets that are visible in each."""

import re
import urllib.request
from pathlib import Path

import pytest

from containers import PROJECT, SERVICES, STORES, inspect, run

ALL = ("port", *SERVICES, *STORES)
IMAGES = ("port", *SERVICES)
SECRETS = {
    "port": set(),
    "gateway": set(),
    "auth-service": {"AUTH_DATABASE_URL", "AUTH_MASTER_KEYS", "REDIS_URL"},
    "user-service": {"USERS_DATABASE_URL", "REDIS_URL"},
    "postgres": {"POSTGRES_PASSWORD", "AUTH_DATABASE_PASSWORD", "USERS_DATABASE_PASSWORD"},
    "redis": {"REDIS_CONFIG"},
}
WRITABLE = {
    "port": {"/run/parley"},
    "gateway": {"/run/parley"},
    "auth-service": set(),
    "user-service": set(),
    "postgres": {"/tmp", "/var/lib/postgresql/data", "/run/postgresql"},
    "redis": {"/data"},
}
# The kernel's files, and single files mounted by Docker, all of which belong to root.
OTHERS = ("/proc", "/sys", "/dev", "/run/secrets/", "/docker-entrypoint", "/etc/", "/sbin/")
FOREIGN = {
    "port": ("aiohttp", "uvloop", "servicekit", "auth_service", "user_service"),
    "gateway": ("asyncpg", "redis", "argon2", "typer", "auth_service", "user_service", "pip"),
    "auth-service": ("argon2", "phonenumbers", "gateway", "user_service", "pip"),
    "user-service": ("gateway", "auth_service", "pip"),
}
by_container = pytest.mark.parametrize("service", ALL)
by_image = pytest.mark.parametrize("service", IMAGES)


@pytest.fixture(autouse=True)
def one_of_each(scaled):
    scaled()


@by_container
def test_nobody_is_root_or_may_become_it(containers, service):
    (container,) = containers.inspect(service)
    host = container["HostConfig"]
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert "no-new-privileges:true" in host["SecurityOpt"]
    status = containers.execute(service, "cat", "/proc/1/status").stdout
    assert re.search(r"^Uid:\s+[1-9]", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


@by_image
def test_a_service_runs_as_a_number(containers, service):
    assert containers.inspect(service)[0]["Config"]["User"] == "10001:10001"


@by_container
def test_limits_restarts_and_grace(containers, service):
    (container,) = containers.inspect(service)
    host = container["HostConfig"]
    assert 0 < host["Memory"] <= 1 << 30
    assert 0 < host["PidsLimit"] <= 300
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Init"] is True
    assert container["Config"]["StopTimeout"] >= {"gateway": 31, "auth-service": 12, "user-service": 12}.get(service, 5)
    assert container["State"]["Health"]["Status"] == "healthy"


@by_container
def test_what_is_writable(containers, service):
    assert containers.inspect(service)[0]["HostConfig"]["ReadonlyRootfs"] is True
    mounts = [line.split() for line in containers.execute(service, "cat", "/proc/mounts").stdout.splitlines()]
    writable = {
        target for _, target, _, options, *_ in mounts if "rw" in options.split(",") and not target.startswith(OTHERS)
    }
    assert writable == WRITABLE[service]
    for path in ("/", "/app", "/etc", "/usr", "/opt/parley", "/etc/hostname", "/run/secrets"):
        done = containers.execute(service, "sh", "-c", f"touch {path}/new 2>&1 || touch {path} 2>&1")
        assert done.returncode != 0, path


@by_container
def test_secrets_are_seen_where_they_are_needed_and_nowhere_else(containers, service, secret_values):
    listed = containers.execute(service, "sh", "-c", "ls /run/secrets 2>/dev/null").stdout.split()
    assert set(listed) == SECRETS[service]
    for name in listed:
        assert containers.execute(service, "cat", f"/run/secrets/{name}").returncode == 0
        modes = containers.execute(service, "stat", "-c", "%a", f"/run/secrets/{name}").stdout
        assert modes.strip() == "600"
    known = str(containers.inspect(service)) + containers.execute(service, "env").stdout
    known += run("docker", "history", "--no-trunc", containers.inspect(service)[0]["Image"])
    for value in secret_values:
        assert value not in known


def test_every_secret_is_a_file_of_its_own_that_only_its_owner_reads(secrets):
    files = {path.name: path.stat().st_mode & 0o777 for path in secrets.iterdir()}
    assert files == dict.fromkeys(set().union(*SECRETS.values()), 0o600)


@pytest.fixture(scope="module")
def secret_values(containers, secrets: Path) -> list[str]:
    """The secrets in the files, read as root in a container because they belong to other users."""
    script = "cat /secrets/*"
    mount = f"{secrets}:/secrets:ro"
    text = run("docker", "run", "--rm", "--user", "0:0", "--volume", mount, "parley-gateway:tests", "sh", "-c", script)
    values = [value for value in re.findall(r"[A-Za-z0-9_/+=-]{40,}", text) if len(value) >= 40]
    assert len(values) >= 8
    return values


def test_only_the_public_port_is_published(containers):
    published = {
        service: {
            port: [(end["HostIp"], end["HostPort"]) for end in ends]
            for port, ends in container["NetworkSettings"]["Ports"].items()
            if ends
        }
        for service in ALL
        for container in containers.inspect(service)
    }
    assert {service for service, ports in published.items() if ports} == {"port"}
    assert published["port"] == {"8080/tcp": [("127.0.0.1", str(containers.port))]}


def test_the_operations_port_is_for_the_operator(containers):
    """This machine and the internal network can reach it; the test above shows that it is not published."""
    addresses = containers.inspect("gateway")[0]["NetworkSettings"]["Networks"]
    with urllib.request.urlopen(
        f"http://{addresses[f'{PROJECT}_internal']['IPAddress']}:8090/stats", timeout=5
    ) as answer:
        assert answer.status == 200
    script = "import urllib.request as r; r.urlopen('http://gateway:8090/stats', timeout=5)"
    run("docker", "run", "--rm", f"--network={PROJECT}_internal", "parley-gateway:tests", "python", "-c", script)


def test_only_the_port_has_a_foot_outside_and_no_gateway_has_one_beside_the_stores(containers):
    networks = {service: set(containers.inspect(service)[0]["NetworkSettings"]["Networks"]) for service in ALL}
    assert networks == {
        service: {f"{PROJECT}_{name}" for name in names.split()}
        for service, names in {
            "port": "edge",
            "gateway": "internal",
            **dict.fromkeys(("auth-service", "user-service"), "internal data"),
            **dict.fromkeys(STORES, "data"),
        }.items()
    }
    assert [network["Internal"] for network in inspect([f"{PROJECT}_internal", f"{PROJECT}_data"])] == [True, True]


def test_the_gateway_reaches_no_store(containers):
    stores = {"postgres": 5432, "redis": 6379}
    attempt = ("python", "-c", CONNECT)
    connected = containers.execute("auth-service", *attempt, *(f"{name}:{port}" for name, port in stores.items()))
    assert connected.stdout.split() == ["connected"] * 2
    unknown = containers.execute("gateway", *attempt, *(f"{name}:{port}" for name, port in stores.items()))
    assert unknown.stdout.split() == ["gaierror"] * 2
    refused = containers.execute("gateway", *attempt, *_addresses(containers, stores))
    assert len(refused.stdout.split()) == 2
    assert set(refused.stdout.split()) <= {"TimeoutError", "OSError", "ConnectionRefusedError"}


# Connects to each `host:port` at the same time; prints `connected` or the name of the exception for each.
CONNECT = """
import concurrent.futures, socket, sys
def connect(target):
    host, _, port = target.rpartition(":")
    try: socket.create_connection((host, int(port)), 2)
    except OSError as error: return type(error).__name__
    return "connected"
print(*concurrent.futures.ThreadPoolExecutor(20).map(connect, sys.argv[1:]))
"""


def _addresses(containers, ports):
    """Every address of these services, with the port of each."""
    return [
        f"{network['IPAddress']}:{port}"
        for service, port in ports.items()
        for network in containers.inspect(service)[0]["NetworkSettings"]["Networks"].values()
    ]


def test_who_is_outside_reaches_nothing_inside(containers):
    ports = {"auth-service": 8081, "user-service": 8082, "postgres": 5432, "redis": 6379}
    targets = [*(f"{service}:{port}" for service, port in ports.items()), *_addresses(containers, ports)]
    attempt = ("--network", f"{PROJECT}_edge", "parley-gateway:tests", "python", "-c", CONNECT, *targets)
    outcomes = run("docker", "run", "--rm", *attempt).split()
    assert len(outcomes) == len(targets) == 10
    assert "connected" not in outcomes


def test_what_is_internal_has_no_way_out(containers):
    """The container that holds the public port is outside; the gateway accepts there, but cannot connect to it."""
    address = containers.inspect("port")[0]["NetworkSettings"]["Networks"][f"{PROJECT}_edge"]["IPAddress"]
    script = f"import socket; socket.create_connection(('{address}', 8080), 2)"
    run("docker", "run", "--rm", f"--network={PROJECT}_edge", "parley-gateway:tests", "python", "-c", script)
    for service in ("auth-service", "gateway"):
        assert containers.execute(service, "python", "-c", script).returncode != 0


@pytest.mark.parametrize(("role", "database"), [("auth", "users"), ("users", "auth"), ("auth", "postgres")])
def test_a_role_cannot_connect_to_another_database(containers, role, database):
    query = "psql --no-psqlrc --host 127.0.0.1 --username {} --dbname {} --command 'SELECT 1'"
    password = f'PGPASSWORD="$(cat /run/secrets/{role.upper()}_DATABASE_PASSWORD)" '
    assert containers.execute("postgres", "sh", "-c", password + query.format(role, role)).returncode == 0
    done = containers.execute("postgres", "sh", "-c", password + query.format(role, database))
    assert "permission denied for database" in done.stderr


@by_image
def test_an_image_holds_no_compiler_and_nothing_of_another_service(containers, service):
    for name in FOREIGN[service]:
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec('{name}') is not None)"
        assert containers.execute(service, "python", "-c", code).returncode == 0, name
    for name in ("cc", "gcc", "make", "ld"):
        assert containers.execute(service, "sh", "-c", f"command -v {name}").returncode != 0, name


@by_image
def test_a_stop_is_heard(containers, service):
    assert containers.inspect(service)[0]["Config"]["StopSignal"] == "SIGTERM"
