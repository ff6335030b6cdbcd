"""Sessions in the real database behave like their model."""

import asyncio
import contextlib
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from auth_service.app import SIGNED_DIALECTS
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.signing_keys import SigningKeys
from auth_service.core.errors import UnavailableError
from servicekit.postgres import Database, connect

from .session_model import Sessions


def test_sessions_behave_like_the_model(create_database: Callable[[str], str], template: str, master_keys: str) -> None:
    dsn = create_database(template)

    async def opened(stack: contextlib.AsyncExitStack) -> tuple[Database, Keyring, SigningKeys]:
        database = await stack.enter_async_context(connect(dsn, pool_size=2, unavailable=UnavailableError))
        keyring = Keyring(parse_master_keys(master_keys))
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        await keys.ensure()
        return database, keyring, keys

    stack = contextlib.AsyncExitStack()
    with asyncio.Runner() as runner:
        Sessions.run = staticmethod(runner.run)
        Sessions.database, Sessions.keyring, Sessions.keys = runner.run(opened(stack))
        run_state_machine_as_test(
            Sessions,
            settings=settings(
                max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
        runner.run(stack.aclose())
