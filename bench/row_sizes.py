"""Measures the size of a user, a session and a stored access token in PostgreSQL, including indexes.

Starts its own stack, logs in once, copies the resulting rows a hundred thousand times with different ids, and asks
PostgreSQL for the sizes of the tables.
"""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from bench.tokens import OPAQUE_LOGIN, ask
from dev import testing

ROWS = 100_000
COPIES = {
    "users": """
        INSERT INTO users (email, email_key, password_hash, epoch)
        SELECT n || email, n || email_key, password_hash, epoch
        FROM users, generate_series(1, $1::bigint) n WHERE email = 'person1@example.com'
    """,
    "sessions": """
        INSERT INTO sessions
            (id, client_id, user_id, email, epoch, scope, counter, rotated_at, idle_expires_at, expires_at, auth_time,
             amr)
        SELECT (random() * 2 ^ 62)::bigint, client_id, n, email, epoch, scope, 1, now(), idle_expires_at,
            expires_at + n * interval '1 second', auth_time, amr
        FROM (SELECT * FROM sessions LIMIT 1) one, generate_series(1, $1::bigint) n
    """,
    "access_tokens": """
        INSERT INTO access_tokens (digest, drop_day, session_id, scope, expires_at)
        SELECT substring(sha256(n::text::bytea) FOR length(digest)), drop_day, session_id, scope, expires_at
        FROM (SELECT * FROM access_tokens LIMIT 1) one, generate_series(1, $1::bigint) n
    """,
}
SIZE = """
    SELECT sum(pg_total_relation_size(relation)) FROM (
        SELECT $1::text::regclass AS relation
        UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass
    ) of_table
"""


async def measure(databases: dict[str, str]) -> None:
    table = Table("a row of", "bytes", title=f"{ROWS:,} rows each")
    for name, copy in COPIES.items():
        connection = await asyncpg.connect(databases["USERS" if name == "users" else "AUTH"])
        before = await connection.fetchval(SIZE, name)
        await connection.execute(copy, ROWS)
        table.add_row(name, f"{(await connection.fetchval(SIZE, name) - before) / ROWS:.0f}")
        await connection.close()
    Console().print(table)


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as directory,
        testing.running(Path(directory) / "data") as stack,
    ):
        settings = stack.environment()
        asyncio.run(ask(int(settings["AUTH_PORT"]), OPAQUE_LOGIN))
        asyncio.run(measure({name: settings[f"{name}_DATABASE_URL"] for name in ("AUTH", "USERS")}))


if __name__ == "__main__":
    main()
