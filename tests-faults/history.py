"""A history of what was really done: database triggers record every write to sessions and users."""

from dataclasses import dataclass

import asyncpg

# Owned and run by the superuser: the services' roles need no privileges on it and do not notice it.
_TABLE = """
    CREATE SCHEMA history;
    CREATE TABLE history.effects (
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        operation text NOT NULL, subject text NOT NULL, argument text NOT NULL DEFAULT '', session bigint
    );
"""
_SESSIONS = """
    CREATE FUNCTION history.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO history.effects (operation, subject, session) VALUES ('login', NEW.user_id, NEW.id);
        ELSIF NEW.counter <> OLD.counter THEN
            INSERT INTO history.effects (operation, subject, session, argument)
            VALUES ('refresh', NEW.user_id, NEW.id, NEW.counter);
        ELSIF OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL THEN
            INSERT INTO history.effects (operation, subject, session) VALUES ('revocation', NEW.user_id, NEW.id);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER history AFTER INSERT OR UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION history.note();
"""
_USERS = """
    CREATE FUNCTION history.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO history.effects (operation, subject) VALUES ('sign-up', NEW.email);
        ELSIF NEW.password_hash IS DISTINCT FROM OLD.password_hash THEN
            INSERT INTO history.effects (operation, subject) VALUES ('password change', NEW.id);
        ELSIF NEW.username IS DISTINCT FROM OLD.username THEN
            INSERT INTO history.effects (operation, subject, argument)
            VALUES ('name change', NEW.id, coalesce(NEW.username, ''));
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER history AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION history.note();
"""


@dataclass(frozen=True)
class Effect:
    """A write: the kind of request that makes it, its user, the value set, and the time by the database's clock."""

    operation: str
    subject: str
    argument: str
    at: float
    session: int | None


async def record(auth: asyncpg.Connection, users: asyncpg.Connection) -> None:
    """Start recording writes."""
    await auth.execute(_TABLE + _SESSIONS)
    await users.execute(_TABLE + _USERS)


async def since(moment: float, *connections: asyncpg.Connection) -> list[Effect]:
    """The writes since a moment of the database's clock, in chronological order."""
    rows = [
        row
        for connection in connections
        for row in await connection.fetch(
            "SELECT operation, subject, argument, session, extract(epoch FROM at)::float8 AS at"
            " FROM history.effects WHERE at > to_timestamp($1)",
            moment,
        )
    ]
    return sorted((Effect(**row) for row in rows), key=lambda effect: effect.at)
