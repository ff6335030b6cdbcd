"""What a session's refreshes are counted in, and an index of each user's sessions that have not been revoked."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # Before the new columns: while the index is built logins and refreshes wait, but tokens are still verified. The
    # index by user alone stays for the version before, which needs it.
    """
    CREATE INDEX unrevoked_sessions_by_user ON sessions (user_id, client_id)
        WHERE user_id IS NOT NULL AND revoked_at IS NULL
    """,
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
