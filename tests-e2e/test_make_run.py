"""`make run` itself: the starts it refuses, the data it keeps, the processes it restarts, and a complete stop."""

import contextlib
import itertools
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dev import redis, testing
from dev.examples import examples
from dev.testing import Stack
from marks import needs_own_stack

pytestmark = needs_own_stack


@pytest.fixture(scope="module")
def data_dir(new_data_dir: Callable[..., Path]) -> Path:
    """A data directory from the first start, kept through all further starts. Its path has a space."""
    return new_data_dir("make run")


@pytest.fixture(scope="module")
def stack(data_dir: Path) -> Iterator[Stack]:
    """A stack shared by tests that leave it running."""
    with testing.running(data_dir) as stack:
        yield stack


@pytest.fixture
def start(new_data_dir: Callable[..., Path]) -> Iterator[Callable[[], Stack]]:
    """Call to start a stack; all calls use the same data directory, which is private to the test."""
    data_dir = new_data_dir("make run")
    stacks = []

    def start() -> Stack:
        stacks.append(testing.start(data_dir))
        return stacks[-1]

    yield start
    for stack in stacks:
        stack.stop()


def refused(data_dir: Path, **variables: str) -> str:
    """The one line of output of a refused start."""
    arguments, environment = testing.command(data_dir, **variables)
    result = subprocess.run(
        arguments, env=environment, cwd=testing.REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def post(stack: Stack, path: str, **members: object) -> dict[str, object]:
    request = urllib.request.Request(
        stack.url + path, json.dumps(members).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def log_in(stack: Stack, login: str = "person1@example.com", password: str = "password") -> dict[str, object]:
    return post(stack, "/oauth/token", grant_type="password", login=login, password=password)


def eventually(check: Callable[[], object], seconds: float = 20.0) -> None:
    """Retry until the check raises no OSError, the superclass of urllib's errors."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            check()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def descendants(stack: Stack) -> list[psutil.Process]:
    return psutil.Process(stack.supervisor.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process], seconds: float = 0.0) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "GATEWAY_OPS_PORT", "AUTH_PORT", "USERS_PORT", "REDIS_PORT"])
def test_port_in_use_is_named_before_anything_starts(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused(tmp_path / "data", **{variable: port})
    assert f"{variable}: cannot listen on port {port}" in line
    assert f"make run {variable}=" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"AUTH_PORT": "eighty"}, ["AUTH_PORT"]),
        ({"USERS_PORT": "0"}, ["USERS_PORT"]),
        ({"GATEWAY_PORT": "65536", "AUTH_PORT": "-1"}, ["GATEWAY_PORT", "AUTH_PORT"]),
        ({"GATEWAY_PORT": "18080", "USERS_PORT": "18080"}, ["GATEWAY_PORT", "USERS_PORT", "18080"]),
        ({"DATA_DIR": "/dev/null/data"}, ["DATA_DIR", "/dev/null/data"]),
    ],
)
def test_broken_setting_is_named(tmp_path: Path, variables: dict[str, str], named: list[str]) -> None:
    line = refused(tmp_path / "data", **variables)
    assert all(word in line for word in named)


def test_service_that_ends_at_once_ends_the_start(new_data_dir: Callable[..., Path]) -> None:
    line = refused(new_data_dir("make run"), GATEWAY_LOG_LEVEL="loud")
    assert "gateway" in line
    assert "GATEWAY_LOG_LEVEL" in line


def test_first_start_warns_of_nothing(tmp_path: Path) -> None:
    stack = testing.start(tmp_path / "data")
    log_in(stack)
    stack.stop()
    for service in ("gateway", "auth-service", "user-service"):
        lines = map(json.loads, (tmp_path / "data" / "logs" / f"{service}.log").read_text().splitlines())
        until_stopped = list(itertools.takewhile(lambda line: line["event"] != "stopping", lines))
        assert until_stopped, service
        assert [line for line in until_stopped if line["level"] != "info"] == []


def test_second_start_keeps_the_data(start: Callable[[], Stack]) -> None:
    stack = start()
    post(stack, "/api/v1/users", user={"email": "kept@example.com", "password": "password"})
    processes = descendants(stack)
    assert stack.send(signal.SIGTERM) == 0
    assert_gone(processes)

    started = time.monotonic()
    stack = start()
    print(f"second start: {time.monotonic() - started:.1f} s")
    assert log_in(stack, "kept@example.com")["token_type"] == "bearer"
    processes = descendants(stack)
    assert stack.send(signal.SIGINT, group=True) == 0
    assert_gone(processes)


def test_secrets_are_private(stack: Stack, data_dir: Path) -> None:
    modes = {path: path.stat().st_mode & 0o777 for path in (data_dir / "secrets", *(data_dir / "secrets").iterdir())}
    assert modes == {data_dir / "secrets": 0o700, data_dir / "secrets" / "AUTH_MASTER_KEYS": 0o600}
    assert (data_dir / "env").stat().st_mode & 0o777 == 0o600


def test_two_stacks_on_one_data_directory_are_refused(stack: Stack, data_dir: Path) -> None:
    assert "DATA_DIR" in refused(data_dir)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_printed_requests_work_as_they_stand(stack: Stack) -> None:
    for title, command in examples(stack.url).items():
        result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20, check=True)
        reply = json.loads(result.stdout)
        assert "access_token" in reply.get("result", reply) or reply.get("email") == "person1@example.com", title


def test_environment_file_serves_the_command_lines(stack: Stack, data_dir: Path) -> None:
    script = 'set -a; . "$0"; set +a; "$1" -m auth_service clients list --json'
    arguments, environment = testing.command(data_dir)
    result = subprocess.run(
        ["sh", "-c", script, str(data_dir / "env"), arguments[0]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert "MY_CLIENT_ID" in result.stdout
    assert "GATEWAY_" not in (data_dir / "env").read_text(), "`make up` in the same shell would take it for its own"


def test_whatever_is_killed_comes_back(stack: Stack) -> None:
    names = {"gateway", "auth_service", "user_service", "postgres"} | (
        {"redis-server"} if redis.executable() else set()
    )

    def all_run() -> None:
        if stack.processes().keys() != names:
            raise ChildProcessError(names ^ stack.processes().keys())

    for name in sorted(names):
        stack.processes()[name].kill()
        eventually(lambda: log_in(stack))
        eventually(all_run)


def test_every_postgres_process_killed_at_once(stack: Stack) -> None:
    postmaster = stack.processes()["postgres"]
    for process in (*postmaster.children(recursive=True), postmaster):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended because another one did
            process.kill()
    eventually(lambda: log_in(stack))


def test_nothing_outlives_a_killed_supervisor(start: Callable[[], Stack]) -> None:
    stack = start()
    processes = descendants(stack)
    stack.supervisor.kill()
    assert_gone(processes, seconds=10)
    start()
