"""The SQL statements about users, and the functions that run them."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import asyncpg

from servicekit.postgres import Database
from user_service.login_names import Kind, LoginName, Lookup
from user_service.users import (
    Account,
    ChangedMeanwhileError,
    InvalidFieldsError,
    LoginNames,
    NoSuchUserError,
    Role,
    TakenError,
    UnprovenError,
    User,
)

TAKEN = "is already taken"
ATTEMPTS = 10  # at changing a user whom others are changing at the same time

# A change and its events are one statement, so a process that hangs in between keeps no lock and changes nothing later.
UPDATE = """
    WITH changed AS (
        UPDATE users SET email = $2, email_key = $3, username = $4, username_key = $5, phone_number = $6, role = $7,
            epoch = CASE WHEN role = $7 THEN epoch ELSE epoch + 1 END, updated_at = now()
        WHERE id = $1 AND updated_at = $8 AND before_deadline($11)
        RETURNING *, before_deadline($11)
    ),
    renamed AS (
        INSERT INTO outbox (type, user_id, epoch, email)
        SELECT 'email_changed', id, epoch, email FROM changed WHERE email IS DISTINCT FROM $9 RETURNING id
    ),
    -- the count ensures that the events are numbered in this order
    ended AS (
        INSERT INTO outbox (type, user_id, epoch)
        SELECT 'sessions_ended', id, epoch FROM changed, (SELECT count(*) FROM renamed) AS first
        WHERE epoch > $10
    )
    SELECT * FROM changed
"""
CHANGE_PASSWORD = """
    WITH changed AS (
        UPDATE users SET password_hash = $3, epoch = epoch + 1, password_changed_at = now(), updated_at = now()
        WHERE id = $1 AND epoch = $2 AND before_deadline($5) RETURNING id, epoch, before_deadline($5)
    )
    INSERT INTO outbox (type, user_id, epoch, keep_session)
    SELECT 'sessions_ended', id, epoch, $4 FROM changed RETURNING id
"""
SET_DISABLED = """
    WITH changed AS (
        UPDATE users SET disabled_at = CASE WHEN $2::boolean THEN now() END, epoch = epoch + $2::int, updated_at = now()
        WHERE id = $1 AND (disabled_at IS NULL) = $2 AND before_deadline($3) RETURNING *, before_deadline($3)
    ),
    ended AS (
        INSERT INTO outbox (type, user_id, epoch) SELECT 'sessions_ended', id, epoch FROM changed WHERE $2
    )
    SELECT * FROM changed
"""
DELETE = """
    WITH gone AS (
        DELETE FROM users WHERE id = $1 AND ($2::bigint IS NULL OR epoch = $2) AND before_deadline($3)
        RETURNING id, epoch + 1 AS epoch, before_deadline($3)
    )
    INSERT INTO outbox (type, user_id, epoch) SELECT 'sessions_ended', id, epoch FROM gone RETURNING id
"""


def _user(row: Any) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        username=row["username"],
        phone_number=row["phone_number"],
        role=row["role"],
        epoch=row["epoch"],
        disabled=row["disabled_at"] is not None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _name(shown: str | None, key: str | None) -> LoginName | None:
    return LoginName(shown, key) if shown is not None and key is not None else None


def _account(row: Any) -> Account:
    names = LoginNames(
        email=_name(row["email"], row["email_key"]),
        username=_name(row["username"], row["username_key"]),
        phone_number=_name(row["phone_number"], row["phone_number"]),
    )
    return Account(_user(row), names, row["password_hash"])


def _columns(names: LoginNames) -> tuple[str | None, ...]:
    email, username, phone_number = names.email, names.username, names.phone_number
    return (
        *(email or (None, None)),
        *(username or (None, None)),
        phone_number.key if phone_number is not None else None,
    )


def _taken(error: asyncpg.UniqueViolationError) -> TakenError:
    kind = str(error.constraint_name).removeprefix("users_").removesuffix("_taken")
    return TakenError({kind: TAKEN})


async def find(database: Database, user_id: int) -> Account | None:
    row = await database.fetchrow("SELECT * FROM users WHERE id = $1", user_id)
    return _account(row) if row is not None else None


async def find_by_login(database: Database, lookup: Lookup) -> Account | None:
    """The user whom `lookup` means, with the epoch in the form that auth-service gets.

    The database is asked even if nobody can have the name, so that both take the same time.
    """
    statements: dict[Kind, str] = {
        "email": "SELECT * FROM users, epoch_base WHERE email_key = ANY($1::text[])",
        "username": "SELECT * FROM users, epoch_base WHERE username_key = ANY($1::text[])",
        "phone_number": """
            SELECT * FROM users, epoch_base WHERE phone_number = ANY($1::text[])
            ORDER BY array_position($1, phone_number) LIMIT 1
        """,
    }
    row = await database.fetchrow(statements[lookup.kind], lookup.keys)
    if row is None:
        return None
    account = _account(row)
    return replace(account, user=replace(account.user, epoch=account.user.epoch + row["base"]))


async def ids_by_login(database: Database, lookup: Lookup) -> list[int | None]:
    """The id of the user of each key of `lookup`, or None. Known and unknown keys take the same time."""
    column = "phone_number" if lookup.kind == "phone_number" else f"{lookup.kind}_key"
    row = await database.fetchrow(
        f"""
        SELECT array_agg((SELECT id FROM users WHERE {column} = key) ORDER BY place) AS ids
        FROM unnest($1::text[]) WITH ORDINALITY AS given (key, place)
        """,  # noqa: S608 - no column is named after a request
        lookup.keys,
    )
    return row["ids"] or [] if row is not None else []


async def page(database: Database, after: int, limit: int) -> list[User]:
    """Up to `limit` users with ids above `after`, in the order of their ids."""
    rows = await database.fetch("SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
    return [_user(row) for row in rows]


async def check_free(database: Database, names: LoginNames) -> None:
    """Raise TakenError with each of these names that another user has. Only `insert` can know for certain."""
    row = await database.fetchrow(
        """
        SELECT EXISTS (SELECT FROM users WHERE email_key = $1) AS email,
               EXISTS (SELECT FROM users WHERE username_key = $2) AS username,
               EXISTS (SELECT FROM users WHERE phone_number = $3) AS phone_number
        """,
        *(name.key if name is not None else None for name in (names.email, names.username, names.phone_number)),
    )
    taken = {kind: TAKEN for kind in get_args(Kind) if row[kind]}
    if taken:
        raise TakenError(taken)


async def insert(database: Database, names: LoginNames, password_hash: str | None, role: Role) -> User:
    """Add a user. Raises TakenError if another user has one of the names by now."""
    try:
        row = await database.write_row(
            """
            INSERT INTO users (email, email_key, username, username_key, phone_number, password_hash, role)
            SELECT $1, $2, $3, $4, $5, $6, $7 WHERE before_deadline($8) RETURNING *, before_deadline($8)
            """,
            *_columns(names),
            password_hash,
            role,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(error) from None
    return _user(row)


async def update(
    database: Database,
    user_id: int,
    changes: Mapping[Kind, LoginName | None],
    role: Role | None,
    *,
    proven: bool,
    epoch: int | None,
) -> tuple[User, bool]:
    """Change login names, and the role if one is given; returns the user, and True if all sessions end.

    Raises NoSuchUserError, TakenError, or InvalidFieldsError if no login name would be left; UnprovenError if something
    would change and the caller is not `proven` to be the token's user; ChangedMeanwhileError if others kept changing
    the user, or if the user's epoch is no longer `epoch`.
    """
    for _ in range(ATTEMPTS):
        account = await find(database, user_id)
        if account is None:
            raise NoSuchUserError
        if epoch is not None and epoch != account.user.epoch:
            raise ChangedMeanwhileError
        with contextlib.suppress(ChangedMeanwhileError):
            return await _update(database, account, changes, role, proven)
    raise ChangedMeanwhileError


async def _update(
    database: Database,
    account: Account,
    changes: Mapping[Kind, LoginName | None],
    role: Role | None,
    proven: bool,
) -> tuple[User, bool]:
    """Make one attempt, which changes nothing if the user has been changed since it was read."""
    before = account.user
    names = replace(account.names, **{str(kind): name for kind, name in changes.items()})
    if not names.keys():
        raise InvalidFieldsError(dict.fromkeys(changes, "is the last login name of the user, who keeps at least one"))
    new_role = role or before.role
    if (names, new_role) == (account.names, before.role):
        return before, False
    if not proven:
        raise UnprovenError
    try:
        row = await database.write_row(
            UPDATE, before.id, *_columns(names), new_role, before.updated_at, before.email, before.epoch
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(error) from None
    if row is None:
        raise ChangedMeanwhileError
    return _user(row), new_role != before.role


async def replace_hash(database: Database, user_id: int, old: str, new: str) -> None:
    """Store a newer hash of the same password, unless the password has been changed meanwhile."""
    await database.write(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 AND before_deadline($4)",
        user_id,
        old,
        new,
    )


async def change_password(
    database: Database, user_id: int, epoch: int, password_hash: str, keep_session: str | None
) -> None:
    """Set a new password and end all sessions but one. Raises ChangedMeanwhileError if `epoch` has changed."""
    if await database.write_row(CHANGE_PASSWORD, user_id, epoch, password_hash, keep_session) is None:
        raise ChangedMeanwhileError


async def password_changed_lately(database: Database, user_id: int) -> bool:
    """True if the password was changed so recently that a client may be repeating the change."""
    row = await database.fetchrow(
        "SELECT FROM users WHERE id = $1 AND password_changed_at > now() - interval '10 minutes'", user_id
    )
    return row is not None


async def set_disabled(database: Database, user_id: int, disabled: bool) -> User:
    """Disable or enable a user; disabling ends all sessions. Raises NoSuchUserError."""
    row = await database.write_row(SET_DISABLED, user_id, disabled)
    if row is not None:
        return _user(row)
    account = await find(database, user_id)  # there is no such user, or nothing to change
    if account is None:
        raise NoSuchUserError
    return account.user


async def delete(database: Database, user_id: int, epoch: int | None) -> None:
    """Delete a user and end all sessions. Raises NoSuchUserError, or ChangedMeanwhileError if `epoch` has changed."""
    if await database.write_row(DELETE, user_id, epoch) is None:
        raise NoSuchUserError if await find(database, user_id) is None else ChangedMeanwhileError
