"""Sessions and stored access tokens in PostgreSQL, whose clock is the only one that counts."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from auth_service.backends.endings import SURPLUS
from auth_service.backends.partitions import create_partition
from auth_service.backends.rotation import ROTATE, RefreshLimits, refusal
from auth_service.core.errors import (
    ExpiredTokenError,
    InvalidCredentialsError,
    RefreshTokenReusedError,
    StaleClientError,
)
from auth_service.core.model import ActiveToken, Client, Session, SessionSummary, StoredToken, User, subject_of
from servicekit.postgres import Database

log = structlog.get_logger()

_OPENED = """
    WITH client AS (SELECT FROM clients WHERE client_id = $2 AND version = $3 AND disabled_at IS NULL),
    opened AS (
        INSERT INTO sessions
            (id, client_id, user_id, email, epoch, scope, idle_expires_at, expires_at, global_epoch, auth_time, amr)
        SELECT $1, $2, $4, $5, $6, $7, now() + $8, now() + $9, (SELECT epoch FROM global_epoch),
            CASE WHEN $4::bigint IS NOT NULL THEN now() END, $11 FROM client
        WHERE NOT EXISTS (SELECT FROM user_epochs WHERE user_id = $4 AND epoch > $6) AND before_deadline($15)
        RETURNING id, expires_at
    ),
    stored AS (
        INSERT INTO access_tokens (digest, drop_day, session_id, scope, expires_at)
        SELECT $12, $13, id, $7, least(now() + $14, expires_at) FROM opened WHERE $12::bytea IS NOT NULL
    )
"""
_ANSWER = """
    SELECT EXISTS (SELECT FROM client) AS client_current, extract(epoch FROM now())::float8 AS now,
        (SELECT extract(epoch FROM expires_at)::float8 FROM opened) AS expires_at,
"""
OPEN_FOR_USER = _OPENED + SURPLUS + _ANSWER + "(SELECT count(*) FROM ended) AS ended"  # noqa: S608 - constants
# A client may have any number of sessions of its own, and opens one with each request: $10 is null.
OPEN_FOR_CLIENT = _OPENED + _ANSWER + "coalesce($10::bigint, 0) AS ended"
STORE = """
    INSERT INTO access_tokens (digest, drop_day, session_id, scope, expires_at)
    SELECT $3, $4, id, $2, least(now() + $5, expires_at) FROM sessions WHERE id = $1 AND before_deadline($6)
"""
ACTIVE = """
    SELECT id, client_id, dialect, user_id, subject, scope, extract(epoch FROM now())::float8 AS now,
        extract(epoch FROM created_at)::float8 AS issued_at, extract(epoch FROM expires_at)::float8 AS expires_at,
        extract(epoch FROM auth_time)::float8 AS auth_time, amr
    FROM live_sessions
    WHERE id = $1 AND ($2::integer IS NULL OR (counter = $2 AND idle_expires_at > now()))
"""
# An unknown token costs as many index probes as an ended one: timing must not reveal that a token was once valid.
ACTIVE_BY_TOKEN = """
    SELECT s.id, s.client_id, s.dialect, s.user_id, s.subject, t.scope, extract(epoch FROM now())::float8 AS now,
        extract(epoch FROM t.issued_at)::float8 AS issued_at, extract(epoch FROM t.expires_at)::float8 AS expires_at,
        extract(epoch FROM s.auth_time)::float8 AS auth_time, s.amr,
        coalesce(t.expires_at <= now(), false) AS expired
    FROM (VALUES (-1::bigint)) none (id)
    LEFT JOIN access_tokens t ON t.digest = $1 AND t.drop_day = $2
    LEFT JOIN live_sessions s ON s.id = coalesce(t.session_id, none.id)
"""
_LONGEST_LIFE = 3650
OF_USER = """
    SELECT id, client_id, scope, extract(epoch FROM created_at)::float8 AS created_at,
        extract(epoch FROM rotated_at)::float8 AS refreshed_at, extract(epoch FROM expires_at)::float8 AS expires_at
    FROM live_sessions WHERE user_id = $1 AND idle_expires_at > now() ORDER BY created_at DESC, id LIMIT 1000
"""


class PostgresSessions:
    """Implements the port `Sessions`. `per_user` is the number of live sessions that a user may have at one client."""

    def __init__(self, database: Database, limits: RefreshLimits, per_user: int) -> None:
        self._database = database
        self._limits = limits
        self._per_user = per_user

    def now(self) -> float:
        return self._database.now()

    async def open(
        self,
        client: Client,
        user: User | None,
        scope: frozenset[str],
        *,
        keep_email: bool,
        token: StoredToken | None,
        amr: Sequence[str] = (),
    ) -> Session:
        session_id = secrets.randbits(63)
        access, refreshes = client.access_token_lifetime, client.refreshes and user is not None
        row = await self._fetchrow_storing(
            OPEN_FOR_USER if user else OPEN_FOR_CLIENT,
            token,
            access,
            session_id,
            client.client_id,
            client.version,
            user.id if user else None,
            user.email if user and keep_email else None,
            user.epoch if user else 0,
            sorted(scope),
            timedelta(seconds=access + client.idle_lifetime),
            timedelta(seconds=max(access, client.session_lifetime) if refreshes else access),
            self._per_user if user else None,
            amr or None,
        )
        if not row["client_current"]:
            raise StaleClientError
        if row["expires_at"] is None:
            raise InvalidCredentialsError
        if row["ended"]:
            log.info(
                "oldest sessions ended", client_id=client.client_id, user_id=user and user.id, sessions=row["ended"]
            )
        return Session(
            id=session_id,
            client_id=client.client_id,
            user_id=user.id if user else None,
            subject=subject_of(user.id if user else None, client.client_id),
            scope=scope,
            access_scope=scope,
            counter=0,
            now=row["now"],
            expires_at=row["expires_at"],
            email=user.email if user else None,
            auth_time=row["now"] if user else None,
            amr=tuple(amr),
        )

    async def rotate(
        self, client: Client, session_id: int, counter: int, scope: frozenset[str] | None, token: StoredToken | None
    ) -> Session:
        narrowed = sorted(scope) if scope is not None else None
        grace, retries, rotations, window = self._limits.parameters
        row = await self._fetchrow_storing(
            ROTATE,
            token,
            client.access_token_lifetime,
            session_id,
            client.client_id,
            counter,
            client.version,
            narrowed,
            grace,
            timedelta(seconds=client.access_token_lifetime + client.idle_lifetime),
            retries,
            rotations,
            window,
        )
        if row is None:
            raise await refusal(self._database, client, (session_id, counter), narrowed, self._limits)
        if row["reused"]:
            raise RefreshTokenReusedError(session_id)
        return Session(
            id=session_id,
            client_id=client.client_id,
            user_id=row["user_id"],
            subject=subject_of(row["user_id"], client.client_id, row["subject"]),
            scope=frozenset(row["scope"]),
            access_scope=frozenset(row["scope"]) if scope is None else scope,
            counter=row["counter"],
            now=row["now"],
            expires_at=row["expires_at"],
            email=row["email"],
            auth_time=row["auth_time"],
            amr=tuple(row["amr"] or ()),
        )

    async def _fetchrow_storing(self, statement: str, token: StoredToken | None, lifetime: int, *arguments: Any) -> Any:
        """Run a statement that may store a token; if its day has no partition yet, create one and run it again."""
        digest, drop_day = (token.digest, token.drop_day) if token else (None, None)
        arguments = (*arguments, digest, drop_day, timedelta(seconds=lifetime))
        try:
            return await self._database.write_row(statement, *arguments)
        except asyncpg.CheckViolationError:
            if drop_day is None:
                raise
            await create_partition(self._database, drop_day)
            return await self._database.write_row(statement, *arguments)

    async def store_token(self, session: Session, token: StoredToken, lifetime: int) -> None:
        await self._fetchrow_storing(STORE, token, lifetime, session.id, sorted(session.access_scope))

    async def active(self, session_id: int) -> ActiveToken | None:
        return _active_token(await self._database.fetchrow(ACTIVE, session_id, None))

    async def refreshable(self, session_id: int, counter: int) -> ActiveToken | None:
        return _active_token(await self._database.fetchrow(ACTIVE, session_id, counter))

    async def active_by_token(self, token: StoredToken) -> ActiveToken | None:
        row = await self._database.fetchrow(ACTIVE_BY_TOKEN, token.digest, self._plausible(token.drop_day))
        if row["expired"]:
            raise ExpiredTokenError
        return _active_token(row)

    def _plausible(self, drop_day: int) -> int:
        """The day itself, or today, which has a partition, if none of our tokens can carry that day.

        Past days are plausible: a token may carry a wrong day, and its partition stays until the token expires.
        """
        today = int(self.now() // 86400)
        return drop_day if abs(drop_day - today) <= _LONGEST_LIFE else today

    async def of_user(self, user_id: int) -> Sequence[SessionSummary]:
        return [
            SessionSummary(
                id=row["id"],
                client_id=row["client_id"],
                scope=frozenset(row["scope"]),
                created_at=row["created_at"],
                refreshed_at=row["refreshed_at"],
                expires_at=row["expires_at"],
            )
            for row in await self._database.fetch(OF_USER, user_id)
        ]


def _active_token(row: Any) -> ActiveToken | None:
    if row is None or row["id"] is None:
        return None
    return ActiveToken(
        session_id=row["id"],
        client_id=row["client_id"],
        dialect=row["dialect"],
        user_id=row["user_id"],
        subject=subject_of(row["user_id"], row["client_id"], row["subject"]),
        scope=frozenset(row["scope"]),
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        now=row["now"],
        auth_time=row["auth_time"],
        amr=tuple(row["amr"] or ()),
    )
