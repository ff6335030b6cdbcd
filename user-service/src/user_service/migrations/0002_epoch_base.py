"""A number that is added to every epoch sent to auth-service; it is raised after a backup was restored."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE epoch_base (base bigint NOT NULL)")
    op.execute("CREATE UNIQUE INDEX one_epoch_base ON epoch_base ((true))")
    op.execute("INSERT INTO epoch_base VALUES (0)")
