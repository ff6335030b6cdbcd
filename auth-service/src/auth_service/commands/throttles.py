"""`throttles …`: the counts of failed logins."""

import asyncio
import sys
import time
from itertools import chain
from typing import Annotated

import typer

from auth_service.app import SIGNED_DIALECTS, open_store
from auth_service.backends.internal_tokens import InternalTokenMinter
from auth_service.backends.signing_keys import SigningKeys
from auth_service.backends.throttle import clear_logins
from auth_service.backends.user_service import UserService
from auth_service.commands.output import fail
from auth_service.core.errors import UnavailableError
from auth_service.settings import ThrottleCommandSettings
from servicekit.command_line import command_group
from servicekit.logs import configure_logs
from servicekit.settings import load_settings
from servicekit.throttling.networks import UNKNOWN, Networks
from servicekit.throttling.redis_budgets import BudgetsAwayError, RedisBudgets, open_redis
from servicekit.upstreams.calls import open_service

app = command_group("Counts of failed logins.")


@app.command()
def clear(login: Annotated[str, typer.Argument(help="The name, address or number, as typed to log in.")]) -> None:
    """Clear the failed logins at an account, so that its owner may try again; the counts of networks are kept."""
    settings = load_settings(ThrottleCommandSettings)
    configure_logs("auth-service", settings.log_level, sys.stderr)
    if settings.redis_url is None:
        raise fail("without REDIS_URL each process counts for itself, and starts from zero when it is restarted")
    if not login.isprintable():
        raise fail("the login name contains unprintable characters")
    try:
        cleared = asyncio.run(_clear(settings, settings.redis_url, login))
    except BudgetsAwayError as error:
        raise fail(f"Redis cannot clear it: {error}") from None
    except UnavailableError as error:
        raise fail(f"the account cannot be looked up: {error}") from None
    if not cleared:
        raise fail("no failed logins are counted at this account")
    typer.echo("cleared")


async def _clear(settings: ThrottleCommandSettings, redis_url: str, login: str) -> bool:
    async with (
        open_store(settings, wait=False) as (database, keyring),
        open_service(settings.users_url) as user_service,
        open_redis(redis_url) as redis,
    ):
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        await keys.reload()
        users = UserService(user_service, InternalTokenMinter(settings.issuer, keys, database.now), Networks(""))
        found = [await users.accounts_of(login, login_type, UNKNOWN) for login_type in _login_types(login)]
        accounts = set(chain.from_iterable(found))
        return await clear_logins(RedisBudgets(redis, time.time), keyring.account_key, accounts)


def _login_types(login: str) -> tuple[str, ...]:
    """The login types under which `login`, as a person types it, may belong to somebody."""
    is_number = any(c.isdigit() for c in login) and not any(c.isalpha() or c == "@" for c in login)
    return ("any", "phone_number") if is_number else ("any",)
