"""The database itself tells all replicas of new events and of acknowledged ones, whichever statement wrote them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE FUNCTION tell_of_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify(TG_ARGV[0], '');
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER outbox_added AFTER INSERT ON outbox
        FOR EACH ROW EXECUTE FUNCTION tell_of_outbox('outbox_added')
    """,
    """
    CREATE TRIGGER outbox_acknowledged AFTER DELETE ON outbox
        FOR EACH ROW EXECUTE FUNCTION tell_of_outbox('outbox_acknowledged')
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
