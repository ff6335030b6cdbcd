"""The development clients and users: examples from the five APIs' documents, and a client of the standard dialect."""

import asyncio
import hashlib
import json
from collections.abc import Iterable

import asyncpg

from dev import processes
from dev.services import Service

AT_ONCE = 4

CLIENTS: dict[str, tuple[str, ...]] = {
    "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca": (
        "--dialect=doorkeeper_jwt",
        "--secret=fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97",
        "--grant-type=password",
        "--grant-type=refresh_token",
    ),
    "0fee4eab40cc183cdaf825b5944d39d459756a1cb8d0def2ce44bd3b207d9737": (
        "--dialect=doorkeeper_jwt",
        "--secret=5b3e5b929c233fe3b27c9e0452b6d2926a449a1699e40ece739f8bc0cab1dd0d",
        "--grant-type=password",
        "--grant-type=refresh_token",
    ),
    "doorkeeper": (
        "--dialect=doorkeeper",
        "--public",
        "--grant-type=password",
        "--grant-type=refresh_token",
        "--default-for=/oauth/token",
    ),
    "MY_CLIENT_ID": (
        "--dialect=cubux",
        "--secret=MY_CLIENT_SECRET",
        "--grant-type=client_credentials",
        "--grant-type=password",
        "--grant-type=refresh_token",
        "--scope=SignUp UserActivity",
        "--secret-optional-for=password",
        "--secret-optional-for=refresh_token",
    ),
    "1": (
        "--dialect=passport",
        "--secret=k8cdDKNruUd0IXbuOUgdoFhCpG",
        "--grant-type=password",
        "--grant-type=refresh_token",
    ),
    "bongo": (
        "--dialect=bongo",
        "--public",
        "--grant-type=password",
        "--default-for=/api/oauth/access-token/v1/",
    ),
    "demo": (
        "--dialect=rfc6749",
        "--secret=demo-secret",
        "--grant-type=password",
        "--grant-type=refresh_token",
        "--grant-type=client_credentials",
    ),
}

# login name: its options, and the password
USERS: dict[str, tuple[tuple[str, ...], str]] = {
    "person1@example.com": (("--email=person1@example.com",), "password"),
    "usuario@noveltie.com": (("--email=usuario@noveltie.com",), "123456"),
    "User name": (("--username=User name",), "password"),
    "+8801700000000": (("--phone-number=+8801700000000",), "password"),
    "admin@example.com": (("--email=admin@example.com", "--role=admin"), "password"),
}

# The note is in the database itself, so it exists exactly as long as the seeded data.
_NOTE = "seeded " + hashlib.sha256(repr((CLIENTS, USERS)).encode()).hexdigest()


async def is_done(connection: asyncpg.Connection) -> bool:
    """True if exactly these clients and users were seeded before, even if some were removed since."""
    note = await connection.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'auth'"
    )
    return bool(note == _NOTE)


async def note_done(connection: asyncpg.Connection) -> None:
    """Note in the database that everything is seeded."""
    await connection.execute(f"COMMENT ON DATABASE auth IS '{_NOTE}'")


async def seed(auth: Service, users: Service) -> None:
    """Add missing clients and users with the services' own command lines. Raises `StartError`."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def add(service: Service, *arguments: str, stdin: str = "") -> None:
        async with slots:
            await processes.run(service.name, service.command(*arguments), service.environment, stdin=stdin)

    known_clients, known_users = await asyncio.gather(_listed(auth, "clients"), _listed(users, "users"))
    await processes.together(
        *(
            add(auth, "clients", "add", client_id, *options)
            for client_id, options in CLIENTS.items()
            if client_id not in known_clients
        ),
        *(
            add(users, "users", "add", *options, "--password-stdin", stdin=password)
            for login, (options, password) in USERS.items()
            if login not in known_users
        ),
    )


async def _listed(service: Service, what: str) -> set[str]:
    """Every string in a service's list, including ids and login names."""
    output = await processes.run(service.name, service.command(what, "list", "--json"), service.environment)
    return set(_texts(json.loads(output)))


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
