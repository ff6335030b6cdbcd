"""A list of live sessions for operators."""

from collections.abc import Sequence
from typing import Any

from servicekit.postgres import Database

SELECT = """
    SELECT id, user_id, client_id, scope, created_at, rotated_at, expires_at FROM live_sessions
    WHERE idle_expires_at > now() AND ($1::bigint IS NULL OR user_id = $1) AND ($2::text IS NULL OR client_id = $2)
    ORDER BY created_at DESC LIMIT $3
"""


async def live_sessions(database: Database, user_id: int | None, client_id: str | None, limit: int) -> Sequence[Any]:
    """Live sessions as rows, newest first."""
    return await database.fetch(SELECT, user_id, client_id, limit)
