"""Deletes dead sessions: expired ones and those of removed clients at once, others a day after they ended."""

from servicekit.postgres import Database

_BATCH = 5000
_PAGES_AT_A_TIME = 500  # of 8 KB each, read by one statement
_STEPS = 10  # statements in one round

# Once a session's row is deleted, none of its tokens verifies or can be refreshed, and the answers stay the same.
DELETE_EXPIRED = """
    DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) AND before_deadline($2)
"""
# Reads the pages from $1 up to $2. Every refresh changes idle_expires_at; if that were indexed, each refresh would
# have to write to every index of the table. Scanning the table costs far less, and finds every dead session.
DELETE_DEAD = """
    DELETE FROM sessions WHERE id IN (
        SELECT s.id FROM sessions s
        WHERE s.ctid >= format('(%s,0)', $1::bigint)::tid AND s.ctid < format('(%s,0)', $2::bigint)::tid
            AND (s.revoked_at < now() - interval '1 day' OR s.idle_expires_at < now() - interval '1 day'
                OR (s.user_id IN (SELECT user_id FROM user_epochs WHERE raised_at < now() - interval '1 day')
                    AND s.epoch < (SELECT e.epoch FROM user_epochs e WHERE e.user_id = s.user_id))
                OR NOT EXISTS (
                    SELECT FROM clients c WHERE c.client_id = s.client_id AND c.created_at <= s.created_at
                ))
        FOR UPDATE OF s SKIP LOCKED
    ) AND before_deadline($3)
"""
COUNT_PAGES = "SELECT pg_relation_size('sessions') / current_setting('block_size')::bigint AS number"


class DeadSessions:
    """Scans the table page by page, 40 MB in one round, and starts again from the beginning when it reaches the end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._page = 0

    async def delete(self) -> int:
        """Do one round; returns the number of deleted sessions."""
        return await self._delete_expired() + await self._delete_dead()

    async def _delete_expired(self) -> int:
        total = 0
        while True:
            deleted = await self._database.write(DELETE_EXPIRED, _BATCH)
            total += deleted
            if deleted < _BATCH:
                return total

    async def _delete_dead(self) -> int:
        pages = (await self._database.fetchrow(COUNT_PAGES))["number"]
        total = 0
        for _ in range(_STEPS):
            total += await self._database.write(DELETE_DEAD, self._page, self._page + _PAGES_AT_A_TIME)
            self._page += _PAGES_AT_A_TIME
            if self._page >= pages:
                self._page = 0
                break
        return total
