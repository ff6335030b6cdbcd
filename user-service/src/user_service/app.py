"""The composition root, which wires all parts of user-service together."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from aiohttp import web

from servicekit import http, schema
from servicekit.http import ServiceUnavailableError
from servicekit.internal_tokens import InternalTokens, RemoteKeys
from servicekit.postgres import Database, connect
from servicekit.throttling.networks import Networks
from servicekit.throttling.rate_limiter import open_rate_limiter
from servicekit.upstreams.calls import open_service
from user_service.accounts import Accounts
from user_service.acting import Callers
from user_service.api import UsersApi
from user_service.bodies import refusals
from user_service.internal_api import InternalApi
from user_service.outbox import Outbox
from user_service.password_policy import PasswordPolicy
from user_service.passwords import hash_pool
from user_service.reauthentication import Reauthentication
from user_service.request_limits import RequestLimits
from user_service.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
ACCOUNTS = web.AppKey("accounts", Accounts)  # for callers in the same process


def create_app(settings: Settings) -> web.Application:
    """The application, which opens its resources when it starts and closes them when it stops."""
    app = web.Application(middlewares=[http.frame(), refusals])

    async def behind(app: web.Application) -> AsyncIterator[None]:
        async with _opened(settings) as (routes, accounts, outbox):

            async def answer_waiting_callers(_app: web.Application) -> None:
                outbox.close()

            app[ACCOUNTS] = accounts
            app.add_routes(routes)
            app.on_shutdown.append(answer_waiting_callers)
            yield

    app.cleanup_ctx.append(behind)
    return app


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[list[web.RouteDef], Accounts, Outbox]]:
    """The routes; the database, the hash pool and Redis that they need last as long as the context."""
    async with (
        connect(
            settings.database_url, pool_size=settings.database_pool_size, unavailable=ServiceUnavailableError
        ) as database,
        open_service(settings.jwks_url) as jwks,
        hash_pool(settings.hash_threads, settings.hash_deadline) as hashes,
        open_rate_limiter(settings.redis_url, Networks(settings.throttle_exempt), database.now) as limiter,
    ):
        policy = PasswordPolicy(settings.password_min_length, settings.password_blocklist)
        accounts = Accounts(database, hashes, policy, settings.phone_region)
        outbox = Outbox(database)
        keys = RemoteKeys(jwks, database.now)
        tokens = InternalTokens(settings.issuer, keys, database.now)
        limits = RequestLimits(limiter, settings)
        callers = Callers(accounts, tokens, open_sign_up=settings.open_sign_up)
        reauthentication = Reauthentication(accounts, limits, tokens)
        async with outbox.listening(), keys.following():
            yield (
                [
                    *_operations(database, limits, accounts),
                    *UsersApi(accounts, outbox, limits, callers, reauthentication).routes(),
                    *InternalApi(accounts, outbox, tokens).routes(),
                ],
                accounts,
                outbox,
            )


def _operations(database: Database, limits: RequestLimits, accounts: Accounts) -> list[web.RouteDef]:
    async def faults() -> list[str]:
        found = await database.faults()
        if not found and not await schema.is_current(database, MIGRATIONS):
            found.append("the database's schema is not current")
        return found

    def counters() -> Mapping[str, int]:
        return {**limits.counters, **accounts.hash_counters}

    return [*http.health_routes(faults, database.warnings), http.stats_route(counters)]
