"""What is added to every user's epoch when auth-service is told it: raised when a backup was restored."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE epoch_base (base bigint NOT NULL)")
    op.execute("CREATE UNIQUE INDEX one_epoch_base ON epoch_base ((true))")
    op.execute("INSERT INTO epoch_base VALUES (0)")
