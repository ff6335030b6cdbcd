"""A condition for statements that write: that they are still waited for, by this server's clock."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Volatile, so it is evaluated where it stands: as a condition before the write, and in RETURNING after whatever
    # lock had to be waited for.
    op.execute(
        """
        CREATE FUNCTION before_deadline(deadline float8) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            IF extract(epoch FROM clock_timestamp()) < deadline THEN
                RETURN true;
            END IF;
            RAISE EXCEPTION 'nobody waits for this statement any longer' USING ERRCODE = 'PY408';
        END
        $$
        """
    )
