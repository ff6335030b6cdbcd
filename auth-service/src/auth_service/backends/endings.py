"""The statements that end sessions, except that in `rotation.py`, which ends the session of a reused refresh token."""

import secrets

from auth_service.core.endings import EarlierEpochs, Ended, Selection
from servicekit.postgres import Database

# The statement that opens a session ends the user's other sessions at the client, except the $10 - 1 most recently
# used. The login does not wait for a locked session, which is being refreshed or ended just then. An older version may
# have left very many sessions; at most a thousand end at a time, so that the statement stays short.
SURPLUS = """
    , surplus AS (
        SELECT id FROM live_sessions WHERE user_id = $4 AND client_id = $2
        ORDER BY coalesce(rotated_at, created_at) DESC OFFSET $10 - 1 LIMIT 1000
    ),
    ended AS (
        UPDATE sessions SET revoked_at = now() WHERE EXISTS (SELECT FROM opened) AND id IN (
            SELECT id FROM sessions WHERE id IN (SELECT id FROM surplus) AND revoked_at IS NULL FOR UPDATE SKIP LOCKED
        ) RETURNING id
    )
"""
# Sessions at disabled clients end too: they would be live again once the client is enabled.
_END = """
    UPDATE sessions SET revoked_at = now()
    WHERE revoked_at IS NULL AND expires_at > now() AND global_epoch >= (SELECT epoch FROM global_epoch)
        AND NOT EXISTS (SELECT FROM user_epochs e WHERE e.user_id = sessions.user_id AND e.epoch > sessions.epoch)
"""
# The kept session moves to the user's new epoch, but only from the one just before it: an ended session stays ended.
END_EARLIER_EPOCHS = """
    WITH raised AS (
        INSERT INTO user_epochs (user_id, epoch, raised_at) SELECT $1, $2, now() WHERE before_deadline($4)
        ON CONFLICT (user_id) DO UPDATE
        SET epoch = greatest(user_epochs.epoch, excluded.epoch), raised_at = now()
        RETURNING before_deadline($4)
    )
    UPDATE sessions SET epoch = $2 WHERE id = $3 AND user_id = $1 AND epoch = $2 - 1 AND before_deadline($4)
"""
# Every session carries the global epoch it was opened in, so changing one row ends all of them.
END_ALL = "UPDATE global_epoch SET epoch = epoch + 1 WHERE before_deadline($1)"
# Client versions jump by a random number. Otherwise a version that a process cached before the restore might recur.
END_RESTORED = """
    WITH ended AS (UPDATE global_epoch SET epoch = epoch + 1 WHERE before_deadline($2))
    UPDATE clients SET version = version + $1 WHERE before_deadline($2)
"""
_JUMP = 2**40


class PostgresEndedSessions:
    """Implements the port `EndedSessions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def end(self, sessions: Ended) -> int | None:
        if isinstance(sessions, Selection):
            return await self._end_selected(sessions)
        if isinstance(sessions, EarlierEpochs):
            named = sessions.user_id, sessions.epoch, sessions.kept_session_id
            await self._database.write(END_EARLIER_EPOCHS, *named)
        elif sessions.restored:
            await self._database.write(END_RESTORED, 1 + secrets.randbelow(_JUMP))
        else:
            await self._database.write(END_ALL)
        return None

    async def _end_selected(self, sessions: Selection) -> int:
        """Only the given ids become conditions: a single statement for all cases would have to scan the table."""
        columns = {"id": sessions.session_id, "user_id": sessions.user_id, "client_id": sessions.client_id}
        given = [(column, value) for column, value in columns.items() if value is not None]
        conditions = "".join(f" AND {column} = ${number}" for number, (column, _) in enumerate(given, 1))
        deadline = f"before_deadline(${len(given) + 1})"
        statement = f"{_END}{conditions} AND {deadline} RETURNING {deadline}"
        return await self._database.write(statement, *(value for _, value in given))
