"""`throttles …`: what was counted against guessers."""

import asyncio
import time
from typing import Annotated

import typer

from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.throttle import clear_login
from auth_service.commands.output import fail
from auth_service.settings import ThrottleCommandSettings
from servicekit.settings import load_settings
from servicekit.throttling.redis_budgets import BudgetsAwayError, RedisBudgets, open_redis

app = typer.Typer(no_args_is_help=True, help="What was counted against guessers.")


@app.command()
def clear(login: Annotated[str, typer.Argument(help="The name, address or number as it is typed to log in.")]) -> None:
    """Forget the failed logins at an account, so that its owner may try again; networks keep what they have used."""
    settings = load_settings(ThrottleCommandSettings)
    if settings.redis_url is None:
        raise fail("without REDIS_URL each process counts for itself, and forgets when it is started again")
    keyring = Keyring(parse_master_keys(settings.master_keys.get_secret_value()))
    try:
        cleared = asyncio.run(_clear(settings.redis_url, keyring.login_name_key, login))
    except BudgetsAwayError as error:
        raise fail(f"Redis cannot be reached: {error}") from None
    typer.echo("cleared" if cleared else "nothing was counted at this account")


async def _clear(redis_url: str, key: bytes, login: str) -> bool:
    async with open_redis(redis_url) as redis:
        return await clear_login(RedisBudgets(redis, time.time), key, login)
