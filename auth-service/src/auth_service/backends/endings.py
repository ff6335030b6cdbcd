"""The statements that end sessions, but for the rotation of refresh tokens, which ends the session of a reused one."""

import secrets

from auth_service.core.endings import EarlierEpochs, Ended, Selection
from servicekit.postgres import Database

# Of the user's sessions at the client, those beyond the $10 - 1 that were used last end with the statement that opens a
# session. The login does not wait for a locked one, which is just being refreshed or ended. Where an older version has
# left very many, a thousand of them end at a time, so that the statement stays short.
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
_END = "UPDATE sessions SET revoked_at = now() WHERE revoked_at IS NULL AND expires_at > now()"
# The session that is kept rises with the user, and only from the epoch just before: one that had ended stays ended.
END_EARLIER_EPOCHS = """
    WITH raised AS (
        INSERT INTO user_epochs (user_id, epoch, raised_at) SELECT $1, $2, now() WHERE before_deadline($4)
        ON CONFLICT (user_id) DO UPDATE
        SET epoch = greatest(user_epochs.epoch, excluded.epoch), raised_at = now()
        RETURNING before_deadline($4)
    )
    UPDATE sessions SET epoch = $2 WHERE id = $3 AND user_id = $1 AND epoch = $2 - 1 AND before_deadline($4)
"""
# Every session carries the epoch it was opened in, so that all of them end by one row, however many there are.
END_ALL = "UPDATE global_epoch SET epoch = epoch + 1 WHERE before_deadline($1)"
# The versions of clients jump: those that a process remembers from before a restore might come again otherwise.
END_RESTORED = """
    WITH ended AS (UPDATE global_epoch SET epoch = epoch + 1 WHERE before_deadline($2))
    UPDATE clients SET version = version + $1 WHERE before_deadline($2)
"""
_JUMP = 2**40


class PostgresEndedSessions:
    """The port `EndedSessions`."""

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
        """Only the given ids are conditions: a plan for all of them would have to read the whole table."""
        columns = {"id": sessions.session_id, "user_id": sessions.user_id, "client_id": sessions.client_id}
        given = [(column, value) for column, value in columns.items() if value is not None]
        conditions = "".join(f" AND {column} = ${number}" for number, (column, _) in enumerate(given, 1))
        deadline = f"before_deadline(${len(given) + 1})"
        statement = f"{_END}{conditions} AND {deadline} RETURNING {deadline}"
        return await self._database.write(statement, *(value for _, value in given))
