"""What operators do with sessions: find them and end them, by user or client or all at once."""

import secrets
from collections.abc import Sequence
from typing import Any

from servicekit.postgres import Database

SELECT = """
    SELECT id, user_id, client_id, scope, created_at, rotated_at, expires_at FROM live_sessions
    WHERE idle_expires_at > now() AND ($1::bigint IS NULL OR user_id = $1) AND ($2::text IS NULL OR client_id = $2)
    ORDER BY created_at DESC LIMIT $3
"""
END = """
    UPDATE sessions SET revoked_at = now()
    WHERE revoked_at IS NULL AND expires_at > now() AND ($1::bigint IS NULL OR id = $1)
        AND ($2::bigint IS NULL OR user_id = $2) AND ($3::text IS NULL OR client_id = $3) AND before_deadline($4)
"""
# Every session carries the epoch it was opened in, so that all of them end by one row, however many there are.
END_ALL = "UPDATE global_epoch SET epoch = epoch + 1 WHERE before_deadline($1)"
# The versions jump too: those that a process remembers from before a restore may else come again.
NOTE_RESTORED = """
    WITH ended AS (UPDATE global_epoch SET epoch = epoch + 1 WHERE before_deadline($2))
    UPDATE clients SET version = version + $1 WHERE before_deadline($2)
"""
_JUMP = 2**40


async def live_sessions(database: Database, user_id: int | None, client_id: str | None, limit: int) -> Sequence[Any]:
    """Live sessions as rows, the newest first."""
    return await database.fetch(SELECT, user_id, client_id, limit)


async def end_sessions(database: Database, session_id: int | None, user_id: int | None, client_id: str | None) -> int:
    """End the sessions that all of the given ids match; returns how many were ended."""
    return await database.write(END, session_id, user_id, client_id)


async def end_all_sessions(database: Database) -> None:
    """End every session that there is, whatever its user and client."""
    await database.write(END_ALL)


async def note_restored(database: Database) -> None:
    """End every session and have every process read its clients anew: this database, or the users', is an older one."""
    await database.write(NOTE_RESTORED, 1 + secrets.randbelow(_JUMP))
