"""The composition root: everything the user-service consists of, wired in one place."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from aiohttp import web

from servicekit import http, postgres, schema
from servicekit.http import ServiceUnavailableError
from servicekit.internal_tokens import InternalTokens, RemoteKeys
from servicekit.throttling.networks import Networks
from servicekit.throttling.throttle import open_throttle
from servicekit.upstreams.calls import open_service
from user_service import api, internal_api
from user_service.accounts import Accounts
from user_service.bodies import refusals
from user_service.keys import ACCOUNTS, OUTBOX, SETTINGS, THROTTLES, TOKENS
from user_service.outbox import Outbox
from user_service.password_policy import PasswordPolicy
from user_service.passwords import hash_pool
from user_service.settings import Settings
from user_service.throttles import Throttles

MIGRATIONS = Path(__file__).parent / "migrations"
DATABASE = web.AppKey("database", postgres.Database)


def create_app(settings: Settings) -> web.Application:
    """The service as an aiohttp application; it connects when it starts."""
    app = web.Application(middlewares=[http.frame(), refusals])
    app[SETTINGS] = settings
    app.cleanup_ctx.append(_resources)
    app.on_shutdown.append(_answer_who_waits)

    async def faults() -> list[str]:
        found = await app[DATABASE].faults()
        if not found and not await schema.is_current(app[DATABASE], MIGRATIONS):
            found.append("the database's schema is not current")
        return found

    def counters() -> Mapping[str, int]:
        return {**app[THROTTLES].counters, **app[ACCOUNTS].hash_counters}

    app.add_routes(
        [
            *http.health_routes(faults, lambda: app[DATABASE].warnings()),
            http.stats_route(counters),
            *api.ROUTES,
            *internal_api.ROUTES,
        ]
    )
    return app


async def _resources(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    async with (
        postgres.connect(
            settings.database_url, pool_size=settings.database_pool_size, unavailable=ServiceUnavailableError
        ) as database,
        open_service(settings.jwks_url) as jwks,
        hash_pool(settings.hash_threads, settings.hash_deadline) as hashes,
        open_throttle(settings.redis_url, Networks(settings.throttle_exempt), database.now) as throttle,
    ):
        policy = PasswordPolicy(settings.password_min_length, settings.password_blocklist)
        outbox = Outbox(database)
        app[THROTTLES] = Throttles(throttle, settings)
        app[DATABASE] = database
        keys = RemoteKeys(jwks, database.now)
        app[TOKENS] = InternalTokens(settings.issuer, keys, database.now)
        app[ACCOUNTS] = Accounts(database, hashes, policy, settings.phone_region)
        app[OUTBOX] = outbox
        async with outbox.listening(), keys.following():
            yield


async def _answer_who_waits(app: web.Application) -> None:
    app[OUTBOX].close()
