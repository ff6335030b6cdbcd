"""`users …`, with which operators manage users (tables for people, JSON for programs), and `restored`."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import asyncpg
import typer

from servicekit import postgres, wire
from servicekit.command_line import command_group, line_from_stdin, print_table
from servicekit.http import ServiceUnavailableError
from servicekit.logs import configure_logs
from servicekit.settings import load_settings
from user_service import api, passwords
from user_service.accounts import Accounts
from user_service.login_names import Kind
from user_service.password_policy import PasswordPolicy
from user_service.settings import AccountSettings
from user_service.users import Account, ChangedMeanwhileError, InvalidFieldsError, NoSuchUserError, Role, User

TIMEOUT = 15.0
SKIPPED_IDS = 100_000

users = command_group("Add, find, list, change and delete users.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]
UserId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="The user's id.")]


@users.command()
def add(
    email: Annotated[str | None, typer.Option(help="E-mail address to log in with.")] = None,
    username: Annotated[str | None, typer.Option(help="User name to log in with.")] = None,
    phone_number: Annotated[str | None, typer.Option(help="Phone number to log in with.")] = None,
    role: Annotated[Role, typer.Option(help="The user's rights.")] = "default",
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Add a user. Without a password nobody can log in as that user."""
    password = line_from_stdin("the password") if password_stdin else None
    names: dict[Kind, str | None] = {"email": email, "username": username, "phone_number": phone_number}
    _print([_run(lambda accounts: accounts.sign_up(names, password, role))], as_json, one=True)


@users.command("list")
def list_users(
    after: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Begin after this id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=2**31, help="The maximum number of users.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List users in the order of their ids."""
    _print(_run(lambda accounts: accounts.page(after, limit)), as_json)


@users.command()
def show(user_id: UserId, as_json: AsJson = False) -> None:
    """Show a user."""
    _print([_found(user_id)], as_json, one=True)


@users.command()
def find(
    login_name: Annotated[str, typer.Argument(help="E-mail address, user name or phone number, as typed to log in.")],
    as_json: AsJson = False,
) -> None:
    """Find the user who logs in with this name."""
    user = _run(lambda accounts: accounts.find_by_login(login_name))
    if user is None:
        raise SystemExit("nobody logs in by this name")
    _print([user], as_json, one=True)


@users.command()
def set_password(user_id: UserId, password_stdin: PasswordStdin = False, as_json: AsJson = False) -> None:
    """Give a user a new password, which ends all sessions of the user. Prompts for it without --password-stdin."""
    if password_stdin:
        password = line_from_stdin("the password")
    else:
        password = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)

    async def step(accounts: Accounts) -> User:
        await accounts.set_password(user_id, password)
        return (await accounts.find(user_id)).user

    _print([_run(step)], as_json, one=True)


@users.command()
def delete(
    user_id: UserId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a user, which ends all sessions of the user, and show the deleted user."""
    user = _found(user_id)
    if not yes:
        names = ", ".join(name for name in (user.email, user.username, user.phone_number) if name is not None)
        typer.confirm(f"Delete user {user_id} ({names})?", abort=True, err=True)
    _run(lambda accounts: accounts.delete(user_id))
    _print([user], as_json, one=True)


@users.command()
def set_role(
    user_id: UserId, role: Annotated[Role, typer.Argument(help="The user's rights.")], as_json: AsJson = False
) -> None:
    """Give a user another role, which ends all sessions of the user."""
    _print([_run(lambda accounts: accounts.update(user_id, {}, role, proven=True))], as_json, one=True)


@users.command()
def disable(user_id: UserId, as_json: AsJson = False) -> None:
    """Prevent a user from logging in, and end all sessions of the user."""
    _print([_run(lambda accounts: accounts.set_disabled(user_id, True))], as_json, one=True)


@users.command()
def enable(user_id: UserId, as_json: AsJson = False) -> None:
    """Let a disabled user log in again."""
    _print([_run(lambda accounts: accounts.set_disabled(user_id, False))], as_json, one=True)


def restored(
    skipped_ids: Annotated[
        int | None,
        typer.Option(
            "--skip-ids",
            min=0,
            max=10**9,
            help="The number of user ids to skip: more than the users who signed up since the backup. "
            "Default: a random number from 100,000 to 1,000,000, so that restoring the same backup again skips others.",
        ),
    ] = None,
) -> None:
    """Raise this database's epochs and ids after it, or auth-service's, was restored from a backup.

    Running this more than once does no harm.
    """
    skipped = skipped_ids if skipped_ids is not None else SKIPPED_IDS + secrets.randbelow(9 * SKIPPED_IDS)
    _run(lambda accounts: accounts.note_restored(skipped))
    typer.echo("users can log in again once `python -m auth_service restored` has been run, too")


def _found(user_id: int) -> User:
    account: Account = _run(lambda accounts: accounts.find(user_id))
    return account.user


def _run(step: Callable[[Accounts], Awaitable[Any]]) -> Any:
    """Run one step; a refusal exits with status 1 and one line on standard error."""
    settings = load_settings(AccountSettings)
    configure_logs("user-service", settings.log_level, sys.stderr)
    try:
        return asyncio.run(asyncio.wait_for(_with_accounts(settings, step), TIMEOUT))
    except InvalidFieldsError as error:
        faults = (f"{field} {fault}".strip() for field, fault in error.faults.items())
        raise SystemExit("refused: " + "; ".join(faults)) from None
    except NoSuchUserError:
        raise SystemExit("there is no user with this id") from None
    except ChangedMeanwhileError:
        raise SystemExit("the user was changed at the same time: nothing was done, run the command again") from None
    except asyncpg.UndefinedTableError:
        raise SystemExit("the database's schema is not current: run `python -m user_service migrate`") from None
    except (TimeoutError, ServiceUnavailableError):
        raise SystemExit("the database does not answer") from None


async def _with_accounts(settings: AccountSettings, step: Callable[[Accounts], Awaitable[Any]]) -> Any:
    async with _accounts(settings) as accounts:
        return await step(accounts)


@contextlib.asynccontextmanager
async def _accounts(settings: AccountSettings) -> AsyncIterator[Accounts]:
    async with (
        postgres.connect(settings.database_url, pool_size=1, unavailable=ServiceUnavailableError) as database,
        passwords.hash_pool(threads=1, deadline=TIMEOUT) as hashes,
    ):
        policy = PasswordPolicy(settings.password_min_length, settings.password_blocklist)
        yield Accounts(database, hashes, policy, settings.phone_region)


def _print(shown: list[User], as_json: bool, *, one: bool = False) -> None:
    rows = [{**api.rendered(user), "disabled": user.disabled} for user in shown]
    if as_json:
        sys.stdout.write(wire.encode(rows[0] if one else rows).decode() + "\n")
        return
    columns = ("id", "email", "username", "phone_number", "role", "disabled", "created_at")
    cells = [[str(row[name]) if row.get(name) is not None else "" for name in columns] for row in rows]
    print_table(columns, cells, ids=("id",))
