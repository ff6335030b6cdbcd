"""Columns that count a session's refreshes, and an index of each user's sessions that have not been revoked."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # Before all that locks readers out: while the index is built logins and refreshes wait, but tokens are verified.
    """
    CREATE INDEX unrevoked_sessions_by_user ON sessions (user_id, client_id)
        WHERE user_id IS NOT NULL AND revoked_at IS NULL
    """,
    # It found the sessions that were revoked, too, and there may be very many of one user. Without it a change of an
    # e-mail address reads the whole table where the version before is still running.
    "DROP INDEX sessions_by_user",
    # `retries` of the refresh token spent last, and `rotations` since `rotations_since`. Constant defaults rewrite no
    # row. None of them may be indexed: a refresh changes them, and an update of indexed columns costs far more.
    """
    ALTER TABLE sessions
        ADD COLUMN retries integer NOT NULL DEFAULT 0,
        ADD COLUMN rotations integer NOT NULL DEFAULT 0,
        ADD COLUMN rotations_since timestamptz
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
