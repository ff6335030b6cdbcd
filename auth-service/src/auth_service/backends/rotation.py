"""The statement that rotates refresh tokens, and the reasons why it may change nothing."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from auth_service.core.errors import InvalidGrantError, InvalidScopeError, StaleClientError, TooManyRequestsError
from auth_service.core.model import Client
from servicekit.postgres import Database
from servicekit.throttling.budgets import Window

# One statement tells rotation, retry and theft apart: the loser of a race waits for the row and is judged by the row's
# new values; a second statement would need a second snapshot. For the same reason the conditions of the view
# live_sessions are spelled out: PostgreSQL checks the row again after the wait, but not the rows of a view.
ROTATE = """
    WITH rotated AS (
        UPDATE sessions s SET
            counter = CASE WHEN s.counter = $3 THEN s.counter + 1 ELSE s.counter END,
            rotated_at = CASE WHEN s.counter = $3 THEN now() ELSE s.rotated_at END,
            idle_expires_at = CASE WHEN s.counter = $3 THEN now() + $7 ELSE s.idle_expires_at END,
            retries = CASE WHEN s.counter = $3 THEN 0 ELSE s.retries + 1 END,
            rotations = CASE WHEN s.counter <> $3 THEN s.rotations
                WHEN s.rotations_since > now() - $10::interval THEN s.rotations + 1 ELSE 1 END,
            rotations_since = CASE WHEN s.counter <> $3 OR s.rotations_since > now() - $10::interval
                THEN s.rotations_since ELSE now() END,
            revoked_at = CASE WHEN s.counter = $3 OR (s.counter = $3 + 1 AND s.rotated_at > now() - $6::interval)
                THEN NULL ELSE now() END
        FROM clients c
        WHERE s.id = $1 AND s.client_id = $2 AND c.client_id = $2 AND c.version = $4 AND c.disabled_at IS NULL
            AND s.created_at >= c.created_at
            AND s.counter >= $3 AND s.revoked_at IS NULL AND s.expires_at > now() AND s.idle_expires_at > now()
            AND s.global_epoch >= (SELECT epoch FROM global_epoch)
            AND ($5::text[] IS NULL OR $5 <@ s.scope
                OR s.counter > $3 + 1 OR (s.counter > $3 AND s.rotated_at <= now() - $6::interval))
            AND CASE
                WHEN s.counter = $3 THEN s.rotations < $9 OR s.rotations_since <= now() - $10::interval
                ELSE s.counter > $3 + 1 OR s.rotated_at <= now() - $6::interval OR s.retries < $8 END
            AND NOT EXISTS (SELECT FROM user_epochs e WHERE e.user_id = s.user_id AND e.epoch > s.epoch)
            AND before_deadline($14)
        RETURNING s.*, before_deadline($14)
    ),
    stored AS (
        INSERT INTO access_tokens (digest, drop_day, session_id, scope, expires_at)
        SELECT $11, $12, id, coalesce($5, scope), least(now() + $13, expires_at)
        FROM rotated WHERE $11::bytea IS NOT NULL AND revoked_at IS NULL
    )
    SELECT user_id, subject, email, scope, counter, revoked_at IS NOT NULL AS reused, amr,
        extract(epoch FROM coalesce(auth_time, CASE WHEN user_id IS NOT NULL THEN created_at END))::float8 AS auth_time,
        extract(epoch FROM now())::float8 AS now, extract(epoch FROM expires_at)::float8 AS expires_at
    FROM rotated
"""
# The view live_sessions has no columns that count rotations, so the row itself is joined as well.
WHY_NOT_ROTATED = """
    SELECT c.version <> $2 AS stale, s.id IS NOT NULL AS refreshable, $4::text[] <@ s.scope AS within_scope,
        CASE WHEN s.counter = $5 THEN extract(epoch FROM counted.rotations_since + $6::interval - now())::float8
            END AS wait
    FROM clients c
    LEFT JOIN live_sessions s
        ON s.client_id = c.client_id AND s.id = $3 AND s.counter >= $5 AND s.idle_expires_at > now()
    LEFT JOIN sessions counted ON counted.id = s.id
    WHERE c.client_id = $1
"""


@dataclass(frozen=True, slots=True)
class RefreshLimits:
    """Limits on the refreshes of one session.

    For `grace` seconds after its first use, a used refresh token gets its successor again, up to `retries` times.
    `rotations` limits how often the refresh token is replaced.
    """

    grace: float
    retries: int
    rotations: Window

    @property
    def parameters(self) -> tuple[timedelta, int, int, timedelta]:
        """Grace, retries, rotations, and the window in which that many rotations are allowed."""
        window = timedelta(seconds=self.rotations.seconds)
        return timedelta(seconds=self.grace), self.retries, self.rotations.limit, window


async def refusal(
    database: Database, client: Client, named: tuple[int, int], scope: list[str] | None, limits: RefreshLimits
) -> Exception:
    """The reason why the refresh token `named` by its session and counter was not rotated.

    A session that can be refreshed in this scope can only have been refreshed too often. That may have changed since,
    but the client must not be told that its token is invalid. The answer to a retry does not give the end of the grace
    period: a client that waited until then would come too late, which ends the session.
    """
    session_id, counter = named
    window = timedelta(seconds=limits.rotations.seconds)
    row: Any = await database.fetchrow(
        WHY_NOT_ROTATED, client.client_id, client.version, session_id, scope, counter, window
    )
    if row is None or row["stale"]:
        return StaleClientError()
    if not row["refreshable"]:
        return InvalidGrantError()
    if row["within_scope"] is False:
        return InvalidScopeError()
    return TooManyRequestsError(max(1, math.ceil(row["wait"] or 0)))
