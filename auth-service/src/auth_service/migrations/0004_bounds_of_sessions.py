"""Columns that count a session's refreshes, and an index of each user's sessions that have not been revoked."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # This comes before the statements that lock readers out: logins and refreshes wait while the index is built, but
    # tokens are verified.
    """
    CREATE INDEX unrevoked_sessions_by_user ON sessions (user_id, client_id)
        WHERE user_id IS NOT NULL AND revoked_at IS NULL
    """,
    # The old index has revoked sessions too, of which one user may have very many. Once it is gone, a change of an
    # e-mail address reads the whole table in processes of the previous version.
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
