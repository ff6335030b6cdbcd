"""The composition root: lists the dialects and the grants, and wires everything together."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

from aiohttp import web

from auth_service.api import discovery
from auth_service.api.revocation import TokenManagement
from auth_service.api.sessions import SessionsApi
from auth_service.api.token import TokenEndpoint
from auth_service.api.verification import VerificationEndpoint
from auth_service.backends.clients import PostgresClients
from auth_service.backends.endings import PostgresEndedSessions
from auth_service.backends.internal_tokens import InternalTokenMinter
from auth_service.backends.keyring import Keyring, UnknownMasterKeyError, parse_master_keys
from auth_service.backends.sessions import PostgresSessions
from auth_service.backends.signing_keys import SigningKeys
from auth_service.backends.throttle import GuessThrottle
from auth_service.backends.upkeep import keep_up
from auth_service.backends.user_events import Pulse, catch_up, follow_user_events, say_when_late
from auth_service.backends.user_service import UserService
from auth_service.core.clients import ClientAuthentication
from auth_service.core.endings import Endings
from auth_service.core.errors import UnavailableError
from auth_service.core.grants.client_credentials import ClientCredentialsGrant
from auth_service.core.grants.grant import Grant, Provers
from auth_service.core.grants.password import PasswordGrant
from auth_service.core.grants.refresh_token import RefreshTokenGrant
from auth_service.core.login import Login
from auth_service.core.server import AuthorizationServer
from auth_service.core.tokens.refresh import RefreshTokens
from auth_service.core.verification import Checked, Verifier
from auth_service.dialects import bongo, cubux, doorkeeper, doorkeeper_jwt, passport, rfc6749
from auth_service.migrations import DIRECTORY
from auth_service.settings import Settings, StoreSettings
from servicekit import http
from servicekit.bounded import BoundedMap
from servicekit.internal_tokens import InternalTokens
from servicekit.postgres import Database, connect
from servicekit.schema import is_current
from servicekit.serving import HEADER_LIMIT
from servicekit.throttling.networks import Networks, client_address
from servicekit.throttling.rate_limiter import RateLimiter, open_rate_limiter
from servicekit.upstreams.calls import open_service

# The first is the standard dialect, which answers when nothing indicates another one.
DIALECTS = {
    module.DIALECT.name: module.DIALECT for module in (rfc6749, doorkeeper_jwt, doorkeeper, cubux, passport, bongo)
}
GRANTS: tuple[type[Grant], ...] = (PasswordGrant, RefreshTokenGrant, ClientCredentialsGrant)

FORMATS = {name: dialect.formats for name, dialect in DIALECTS.items()}
SIGNED_DIALECTS = {
    algorithm: [name]
    for name, formats in FORMATS.items()
    if (algorithm := formats.access_token.key_algorithm) is not None
}
_CHECKED_TOKENS = 20_000


@contextlib.asynccontextmanager
async def open_store(settings: StoreSettings, *, wait: bool = True) -> AsyncIterator[tuple[Database, Keyring]]:
    """Open the database, whose schema is checked, and the key ring, for the service or the command line."""
    keyring = Keyring(parse_master_keys(settings.master_keys.get_secret_value()))
    async with connect(
        settings.database_url, pool_size=settings.database_pool_size, unavailable=UnavailableError, wait=wait
    ) as database:
        if not await is_current(database, DIRECTORY):
            raise SystemExit("the database's schema is not current: run `python -m auth_service migrate`")
        try:
            yield database, keyring
        except UnknownMasterKeyError as error:
            raise SystemExit(f"AUTH_MASTER_KEYS: {error}") from None


def create_app(settings: Settings) -> web.Application:
    """The application, which opens its resources when it starts and closes them when it stops."""
    app = web.Application(middlewares=[http.frame()])
    app[HEADER_LIMIT] = 16 * 1024  # a proxy that asks about an overlong token understands no denial but 401

    async def behind(app: web.Application) -> AsyncIterator[None]:
        async with _opened(settings) as routes:
            app.add_routes(routes)
            yield

    app.cleanup_ctx.append(behind)
    return app


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[list[web.RouteDef]]:
    """The routes; the pool, the HTTP client and the background work they need last as long as the context."""
    exempt = Networks(settings.throttle_exempt)
    async with (
        open_store(settings) as (database, keyring),
        open_rate_limiter(settings.redis_url, exempt, database.now) as limiter,
        open_service(settings.users_url) as user_service,
    ):
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        await keys.ensure()
        minter = InternalTokenMinter(settings.issuer, keys, database.now)
        users = UserService(user_service, minter, exempt)
        endings = Endings(PostgresEndedSessions(database))
        pulse = Pulse()
        await catch_up(users, database, endings)
        background = [
            asyncio.create_task(keep_up(database, keys)),
            asyncio.create_task(follow_user_events(users, database, endings, pulse)),
            asyncio.create_task(say_when_late(pulse)),
        ]
        try:
            yield _routes(settings, database, keyring, keys, minter, users, endings, limiter, pulse)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


def _routes(
    settings: Settings,
    database: Database,
    keyring: Keyring,
    keys: SigningKeys,
    minter: InternalTokenMinter,
    users: UserService,
    endings: Endings,
    limiter: RateLimiter,
    pulse: Pulse,
) -> list[web.RouteDef]:
    clients = PostgresClients(database, keyring)
    sessions = PostgresSessions(database, settings.refresh_limits, settings.sessions_per_user)
    refresh_tokens = RefreshTokens(keyring.refresh_token_keys)
    throttle = GuessThrottle(limiter, settings.budgets, keyring.account_key)
    address_of = functools.partial(client_address, gateways=Networks(settings.gateways))
    authentication = ClientAuthentication(clients, throttle, database.now)
    provers = Provers(Login(users, throttle), refresh_tokens, FORMATS)
    grants = [grant(provers) for grant in GRANTS]
    server = AuthorizationServer(
        settings.issuer, authentication, sessions, keys, refresh_tokens, grants, FORMATS, throttle
    )
    checked: Checked = BoundedMap(_CHECKED_TOKENS)
    verifier = Verifier(settings.issuer, sessions, keys, refresh_tokens, FORMATS, endings, checked)
    document = discovery.metadata(settings.issuer, (grant.grant_type for grant in grants))
    return [
        *TokenEndpoint(server, clients, DIALECTS, address_of).routes(),
        *(route for dialect in DIALECTS.values() for route in dialect.routes(verifier)),
        *TokenManagement(authentication, clients, verifier, throttle, address_of).routes(),
        *discovery.routes(document, keys),
        *VerificationEndpoint(verifier, minter, DIALECTS).routes(),
        *SessionsApi(sessions, endings, InternalTokens(settings.issuer, keys, database.now)).routes(),
        *http.health_routes(database.faults, lambda: [*database.warnings(), *pulse.warnings()]),
        http.stats_route(lambda: limiter.counters),
    ]
