"""`python -m gateway` as a process: its two ports, its logs, its start and its end."""

import asyncio
import contextlib
import json
import resource
import signal
import socket
from dataclasses import dataclass, field

import pytest

from processes import failure_of, free_ports, spawn, spawned

ME = "/api/v1/users/me"
SECRETS = ("s3cr3t-token", "s3cr3t-query", "s3cr3t-path", "s3cr3t-header", "s3cr3t-body", "internal.token.157")


@dataclass
class Process:
    """A gateway process; `lines` has what it has logged so far."""

    process: asyncio.subprocess.Process
    port: int
    ops_port: int
    lines: list[dict] = field(default_factory=list)

    async def log(self, event, count=1):
        """The lines of an event, once there are this many."""
        async with asyncio.timeout(10):
            while len(found := [line for line in self.lines if line["event"] == event]) < count:
                line = await self.process.stdout.readline()
                assert line, "the gateway ended"
                self.lines.append(json.loads(line))
        return found


@pytest.fixture
async def process(gateway):
    """A gateway process in front of the same upstreams as `gateway`."""
    port, ops_port = free_ports()
    urls = {f"GATEWAY_{name}_URL": f"http://127.0.0.1:{number}" for name, number in gateway.upstream_ports.items()}
    child = await spawn(GATEWAY_PORT=str(port), GATEWAY_OPS_PORT=str(ops_port), **urls)
    started = Process(child, port, ops_port)
    try:
        await started.log("listening", 2)
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_a_process_serves_logs_and_stops(gateway, process):
    body, headers = b"s3cr3t-body", (("Authorization", "Bearer s3cr3t-token"), ("X-Custom", "s3cr3t-header"))
    requests = (
        ("GET", f"{ME}?password=s3cr3t-query", b"", 200, "/api/v1/users/me"),
        ("POST", "/oauth/token?secret=s3cr3t-query", body, 200, "/oauth/token"),
        ("GET", "/s3cr3t-path/%0a", b"", 400, "-"),
        ("GET", "/s3cr3t-path", b"", 404, "-"),
        ("DELETE", "/api/v1/sessions/00000000000000aa", b"", 200, "/api/v1/sessions/{}"),
    )
    async with gateway.connect(process.port) as connection:
        for number, (method, target, sent, _status, _route) in enumerate(requests):
            identified = (*headers, ("X-Request-Id", f"request-{number}"))
            await connection.send(gateway.bytes(method, target, *identified, body=sent))
            await connection.response()
            if target.endswith("%0a"):
                connection.close()
                connection.reader, connection.writer = await asyncio.open_connection("127.0.0.1", process.port)
    process.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.process.wait(), 10) == 0
    output = await process.process.stdout.read()
    process.lines.extend(json.loads(line) for line in output.splitlines())
    logged = [line for line in process.lines if line["event"] == "request"]
    assert [(line["method"], line["status"], line["route"]) for line in logged] == [
        (method, status, route) for method, _, _, status, route in requests
    ]
    assert [line["request_id"] for line in logged] == [f"request-{number}" for number in range(len(requests))]
    assert all(secret not in json.dumps(process.lines) for secret in SECRETS)
    assert await process.process.stderr.read() == b""


async def test_malformed_requests_leave_no_line_but_a_count(gateway, process):
    malformed = (
        (b"GET /s3cr3t-path HTTP/9.9\r\nX: s3cr3t-header\r\n\r\n", 400),
        (gateway.bytes("GET", ME, ("Authorization", "Bearer " + "s3cr3t-token" * 1000)), 431),
        (gateway.bytes("GET", "/" + "s3cr3t-path" * 1000), 414),
    )
    for raw, status in malformed * 20:
        async with gateway.connect(process.port) as connection:
            await connection.send(raw)
            assert (await connection.response()).status == status
    async with gateway.connect(process.ops_port) as connection:
        await connection.send(gateway.bytes("GET", "/stats"))
        assert (await connection.response()).json()["counters"]["malformed"] == 60
    process.process.send_signal(signal.SIGTERM)
    await process.log("stopping")
    assert [line["event"] for line in process.lines if line.get("route") != "/stats"] == 2 * ["listening"] + [
        "stopping"
    ]


async def test_the_ops_port_tells_health_and_readiness(gateway, process):
    assert await _status(gateway, process.ops_port, "/healthz") == 200
    assert await _status(gateway, process.ops_port, "/readyz") == 200
    assert [message.target for message in gateway.auth.received] == ["/readyz"]
    gateway.auth.answers(503)
    assert await _status(gateway, process.ops_port, "/readyz") == 503
    assert await _status(gateway, process.ops_port, "/healthz") == 200
    for path in ("/healthz", "/readyz"):
        assert await _status(gateway, process.port, path) == 404
    for path in (ME, "/oauth/token"):
        assert await _status(gateway, process.ops_port, path) == 404


async def test_the_ops_port_is_for_this_machine_unless_an_address_is_set(gateway):
    """127.0.0.2 is an address of this machine other than the default."""
    async with spawned(gateway, GATEWAY_HOST="0.0.0.0") as closed:
        socket.create_connection(("127.0.0.2", closed.port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", closed.ops_port))
    async with spawned(gateway, GATEWAY_OPS_HOST="0.0.0.0") as opened:
        socket.create_connection(("127.0.0.2", opened.ops_port)).close()


async def test_a_silent_auth_service_is_not_ready(start_gateway):
    gateway = await start_gateway(verify_timeout=60)

    async def silence(_message, reader, _writer):
        await reader.read()

    gateway.auth.script = silence
    assert await _status(gateway, gateway.ops_port, "/readyz") == 503


async def test_a_gateway_out_of_files_serves_again_when_there_are_some(gateway, process):
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    held = [await asyncio.open_connection("127.0.0.1", process.port) for _ in range(100)]
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(10):
        while await _attempt(gateway, process.port, "/oauth/token") != 200:
            pass
    assert await _status(gateway, process.ops_port, "/healthz") == 200


async def _attempt(gateway, port, path):
    try:
        return await _status(gateway, port, path)
    except (OSError, asyncio.IncompleteReadError):
        return None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "many"),
        ("GATEWAY_AUTH_URL", "http://s3cr3t@auth-service:8081"),
        ("GATEWAY_USERS_URL", "http://users:8082/s3cr3t"),
        ("GATEWAY_USERS_URL", "ftp://s3cr3t"),
        ("GATEWAY_READ_TIMEOUT", "-1"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1, s3cr3t"),
    ],
)
async def test_a_setting_that_cannot_be_is_named_in_one_line(name, value):
    status, lines = await failure_of(**{name: value})
    assert status == 2
    assert len(lines) == 1
    assert name in lines[0]
    assert "s3cr3t" not in lines[0]


async def test_a_port_that_is_taken_is_named_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, lines = await failure_of(GATEWAY_PORT=str(port), GATEWAY_OPS_PORT="0")
    assert status == 1
    assert len(lines) == 1
    assert str(port) in lines[0]


async def _status(gateway, port, path):
    async with gateway.connect(port) as connection:
        await connection.send(gateway.bytes("GET", path))
        return (await connection.response()).status


@pytest.mark.parametrize(
    ("argument", "status", "words"),
    [("--help", 0, "GATEWAY_… variables"), ("--version", 0, "gateway 0.1.0\n"), ("nonsense", 2, "nonsense")],
)
async def test_an_argument_starts_no_gateway(argument, status, words):
    """Valid settings are not needed for this."""
    process = await spawn(argument, GATEWAY_PORT="x", COLUMNS="200")
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == status
    assert words in (output + errors).decode()
