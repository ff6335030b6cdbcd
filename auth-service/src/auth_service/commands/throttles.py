"""`throttles …`: what was counted against guessers."""

import asyncio
import sys
import time
from typing import Annotated

import typer

from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.throttle import clear_login
from auth_service.commands.output import fail
from auth_service.settings import ThrottleCommandSettings
from servicekit.logs import configure_logs
from servicekit.settings import load_settings
from servicekit.throttling.redis_budgets import BudgetsAwayError, RedisBudgets, open_redis

app = typer.Typer(no_args_is_help=True, help="What was counted against guessers.")


@app.command()
def clear(login: Annotated[str, typer.Argument(help="The name, address or number as it is typed to log in.")]) -> None:
    """Forget the failed logins at an account, so that its owner may try again; networks keep what they have used."""
    settings = load_settings(ThrottleCommandSettings)
    configure_logs("auth-service", settings.log_level, sys.stderr)
    if settings.redis_url is None:
        raise fail("without REDIS_URL each process counts for itself, and forgets when it is started again")
    if not login.isprintable():
        raise fail("the login cannot be read")
    keyring = Keyring(parse_master_keys(settings.master_keys.get_secret_value()))
    try:
        cleared = asyncio.run(_clear(settings.redis_url, keyring.login_name_key, login))
    except BudgetsAwayError as error:
        raise fail(f"Redis does not do it: {error}") from None
    if not cleared:
        raise fail("nothing was counted at this account")
    typer.echo("cleared")


async def _clear(redis_url: str, key: bytes, login: str) -> bool:
    async with open_redis(redis_url) as redis:
        return await clear_login(RedisBudgets(redis, time.time), key, login)
