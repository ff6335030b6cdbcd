"""The command line, run as a separate process."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

PASSWORD = b"correct horse battery\n"


class Ended(NamedTuple):
    status: int | None
    output: str
    errors: str


Run = Callable[..., Awaitable[Ended]]


async def started(database_url: str, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("USERS_")}
    environment |= {"USERS_DATABASE_URL": database_url, "COLUMNS": "200"}
    if "serve" in arguments:
        environment |= {"USERS_ISSUER": "https://parley.example", "USERS_JWKS_URL": "http://127.0.0.1:9/jwks.json"}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "user_service", *arguments),
        env=environment | variables,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )


@pytest.fixture
def run(database_url: str) -> Run:
    """Call with arguments to run the command line against this test's database."""

    async def run(*arguments: str, stdin: bytes = b"", url: str = database_url, **variables: str) -> Ended:
        process = await started(url, *arguments, **variables)
        output, errors = await process.communicate(stdin)
        return Ended(process.returncode, output.decode(), errors.decode())

    return run


async def test_an_operator_adds_lists_promotes_disables_and_enables_users(run: Run, service: Any) -> None:
    options = ("--email", "a@x.com", "--username", "User name", "--password-stdin", "--json")
    added = await run("users", "add", *options, stdin=PASSWORD)
    assert added.status == 0
    user = json.loads(added.output)
    assert (user["email"], user["username"], user["role"], user["disabled"]) == (
        "a@x.com",
        "User name",
        "default",
        False,
    )
    assert (await service.check("a@x.com", "correct horse battery"))["id"] == user["id"]
    user_id = str(user["id"])
    promoted = await run("users", "set-role", user_id, "admin", "--json")
    assert json.loads(promoted.output)["role"] == "admin"
    disabled, listed = await asyncio.gather(run("users", "disable", user_id), run("users", "list", "--json"))
    assert disabled.status == 0
    assert [entry["id"] for entry in json.loads(listed.output)] == [user["id"]]
    assert await service.check("a@x.com", "correct horse battery") is None
    table, enabled = await asyncio.gather(run("users", "list"), run("users", "enable", user_id, "--json"))
    assert "User name" in table.output
    assert json.loads(enabled.output)["disabled"] is False
    assert [(event["type"], event["epoch"]) for event in await service.events()] == [
        ("sessions_ended", 1),
        ("sessions_ended", 2),
    ]
    logged = [json.loads(line)["event"] for done in (added, promoted, disabled) for line in done.errors.splitlines()]
    assert logged == ["user created", "role changed", "user disabled"]


async def test_an_operator_finds_a_user_by_whatever_somebody_logs_in_with(run: Run, service: Any) -> None:
    email = await service.add(email="a@x.com")
    name = await service.add(username="User name")
    phone = await service.add(phone_number="+8801700000000")
    logins = {"A@X.com": email, "USER name": name, "+880 1700-000000": phone, "8801700000000": phone}
    *found, shown = await asyncio.gather(
        *(run("users", "find", login, "--json") for login in logins), run("users", "show", str(phone.id), "--json")
    )
    assert [json.loads(ended.output)["id"] for ended in found] == [user.id for user in logins.values()]
    assert shown == found[-1]


async def test_an_operator_sets_a_password_which_ends_every_session(run: Run, service: Any) -> None:
    user = await service.add("correct horse battery", email="a@x.com")
    path = ("users", "set-password", str(user.id), "--password-stdin")
    short = await run(*path, stdin=b"short\n")
    assert short == (1, "", "refused: password must have at least 15 characters\n")
    assert await service.events() == []
    done = await run(*path, "--json", stdin=b"a completely new one\n")
    assert (done.status, json.loads(done.output)["id"]) == (0, user.id)
    assert [json.loads(line)["event"] for line in done.errors.splitlines()] == ["password set"]
    assert await service.check("a@x.com", "correct horse battery") is None
    assert (await service.check("a@x.com", "a completely new one"))["epoch"] == 1
    [event] = await service.events()
    assert (event["user_id"], event["type"], event["keep_session"]) == (user.id, "sessions_ended", None)


async def test_an_operator_deletes_a_user_once_that_is_confirmed(run: Run, service: Any) -> None:
    user = await service.add(email="a@x.com", username="mallory [/b]")
    path = ("users", "delete", str(user.id), "--json")
    refused = await asyncio.gather(run(*path), run(*path, stdin=b"n\n"))
    assert {(ended.status, ended.output.strip()) for ended in refused} == {(1, "")}
    assert f"Delete user {user.id} (a@x.com, mallory [/b])?" in refused[1].errors
    assert await service.events() == []
    assert json.loads((await run(*path, stdin=b"y\n")).output)["email"] == "a@x.com"
    assert await service.rows("SELECT FROM users") == []
    assert [(event["user_id"], event["type"]) for event in await service.events()] == [(user.id, "sessions_ended")]
    other = await service.add(username="other")
    assert json.loads((await run("users", "delete", str(other.id), "--yes", "--json")).output)["id"] == other.id


async def test_tables_show_names_as_they_are_and_ids_in_one_piece(run: Run, service: Any) -> None:
    await service.rows("SELECT setval('users_id_seq', 123456789012345678)")
    user = await service.add(username="mallory [/b] :tada:")
    listed, narrow = await asyncio.gather(run("users", "list"), run("users", "list", COLUMNS="60"))
    assert "mallory [/b] :tada:" in listed.output
    assert str(user.id) in narrow.output
    behind = await run("users", "list", "--after", str(10**20))
    assert (behind.status, behind.output) == (2, "")
    assert "Traceback" not in behind.errors


async def test_a_refusal_is_one_line_and_status_1(run: Run, service: Any) -> None:
    await service.add(email="taken@x.com")
    short = run("users", "add", "--email", "a@x.com", "--password-stdin", stdin=b"short\n")
    refusals = {
        "refused: email is already taken": run("users", "add", "--email", "taken@x.com"),
        "refused: password must have at least 15 characters": short,
        "refused: must have an email, a username or a phone_number": run("users", "add"),
        "there is no user with this id": run("users", "disable", "987654321"),
        "nobody logs in by this name": run("users", "find", "nobody@x.com"),
    }
    for words, ended in zip(refusals, await asyncio.gather(*refusals.values()), strict=True):
        assert ended == (1, "", words + "\n")


async def test_faulty_settings_are_one_line_and_status_2(run: Run) -> None:
    ended = await run("serve", USERS_ISSUER="", USERS_HASH_DEADLINE="-1")
    assert ended.status == 2
    assert ended.errors.startswith("settings: ")
    assert "USERS_ISSUER: is missing" in ended.errors
    assert "USERS_HASH_DEADLINE: " in ended.errors
    assert ended.errors.count("\n") == 1


async def test_several_migrations_at_once_leave_one_schema(run: Run, unmigrated_database_url: str) -> None:
    both = await asyncio.gather(*(run("migrate", url=unmigrated_database_url) for _ in range(2)))
    assert [ended.status for ended in both] == [0, 0]
    listed = await run("users", "list", "--json", url=unmigrated_database_url)
    assert (listed.status, json.loads(listed.output)) == (0, [])


async def test_a_database_that_is_away_is_one_line(run: Run) -> None:
    ended = await run("migrate", url="postgresql://127.0.0.1:9/users")
    assert ended.status == 1
    assert ended.errors.startswith("the database cannot be reached")
    assert ended.errors.count("\n") == 1


async def test_a_stop_answers_who_waits_and_ends_the_process_at_once(
    database_url: str, service: Any, client: Any
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await started(database_url, "serve", USERS_PORT=str(port), USERS_JWKS_URL=service.issuer.jwks_url)
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["event"] == "no REDIS_URL"
    line = json.loads(await process.stdout.readline())
    assert (line["event"], line["port"], line["service"]) == ("listening", port, "user-service")
    headers = {"Authorization": f"Bearer {service.issuer.service_token('events:consume')}"}
    url = f"http://127.0.0.1:{port}/internal/events"
    assert (await client.get(url, headers=headers)).status == 200
    waiting = asyncio.create_task(client.get(f"{url}?wait=30", headers=headers))
    await asyncio.wait((waiting,), timeout=0.3)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    response = await waiting
    assert await response.json() == {"events": []}
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert time.monotonic() - begun < 5


async def test_a_stop_ends_also_a_start_that_waits_for_the_database() -> None:
    process = await started("postgresql://127.0.0.1:9/users", "serve")
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["event"] == "waiting for the database"
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, errors) == (0, b"")


async def test_a_port_in_use_is_one_line_and_status_1(run: Run, service: Any) -> None:
    ended = await run("serve", USERS_PORT=service.url.rpartition(":")[2])
    assert ended.status == 1
    assert ended.errors.startswith("cannot listen on 127.0.0.1:")
    assert ended.errors.count("\n") == 1
