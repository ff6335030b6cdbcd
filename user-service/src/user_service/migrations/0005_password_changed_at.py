"""The time of a user's last password change, by which the repetition of a change is told from a wrong password."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN password_changed_at timestamptz")
