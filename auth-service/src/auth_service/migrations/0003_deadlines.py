"""A condition for statements that write: that they are still waited for, by this server's clock."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Not inlined and not evaluated ahead: after a wait for a row's lock the condition is looked at once more.
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
