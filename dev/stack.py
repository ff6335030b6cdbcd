"""The stack's processes: started in order, kept running, stopped in reverse order."""

import asyncio
from collections.abc import Callable

import aiohttp

from dev import processes, redis, seed, services
from dev.data_directory import DataDirectory
from dev.migrations import migrate
from dev.postgres import Postgres
from dev.processes import Process
from dev.services import Service
from dev.settings import Settings

STOP_PATIENCE = 3.0


class Stack:
    """PostgreSQL, Redis and the three services on one data directory. `say` reports progress to the user."""

    def __init__(self, settings: Settings, data: DataDirectory, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._data = data
        self._say = say
        self._postgres: Postgres | None = None
        self._redis: Process | None = None
        self._gateway: Process | None = None
        self._behind: list[Process] = []

    async def start(self) -> None:
        """Start everything, with the databases migrated and, the first time, seeded. Raises `StartError`."""
        self._say("starting PostgreSQL")
        self._data.make_secrets()
        self._postgres = await asyncio.to_thread(Postgres, self._data.postgres, self._data.logs / "postgres.log")
        await self._postgres.start()
        await self._postgres.create_databases()
        shared = await self._start_redis()
        auth = services.auth_service(self._settings, self._data, self._postgres, shared)
        users = services.user_service(self._settings, self._postgres, shared)
        gateway = services.gateway(self._settings)
        self._write_environment(auth, users)  # without the gateway's, which has no commands: `make up` would read them
        self._say("migrating the databases")
        await processes.together(
            migrate(auth, self._postgres.url("auth", "auth")), migrate(users, self._postgres.url("users", "users"))
        )
        await self._seed_once(self._postgres, auth, users)
        await self._start_services(auth, users, gateway)

    async def _start_redis(self) -> dict[str, str]:
        """The services' setting for Redis; nothing if this machine has none."""
        server = redis.executable()
        if server is None:
            self._say("no redis-server on this machine: each process throttles on its own")
            return {}
        self._redis = redis.process(server, self._settings.redis_port, self._data)
        await self._redis.start()
        return {"REDIS_URL": redis.url(self._settings.redis_port)}

    async def watch(self) -> None:
        """Restart processes that die, until cancelled."""
        await processes.together(*(process.keep_running(self._say) for process in self._started()))

    async def stop(self) -> None:
        """Stop everything that runs: the gateway first, the database last."""
        if self._gateway is not None:
            await self._gateway.stop(STOP_PATIENCE)
        await asyncio.gather(*(process.stop(STOP_PATIENCE) for process in self._behind))
        for store in self._stores():
            await store.stop(STOP_PATIENCE)

    def _stores(self) -> list[Process]:
        stores = [self._postgres.process if self._postgres is not None else None, self._redis]
        return [store for store in stores if store is not None]

    def _started(self) -> list[Process]:
        gateway = [self._gateway] if self._gateway is not None else []
        return [*self._stores(), *self._behind, *gateway]

    def _write_environment(self, *parts: Service) -> None:
        variables = {"DATA_DIR": str(self._data.root)}
        for part in parts:
            variables.update(part.variables)
        self._data.write_environment(variables)

    async def _seed_once(self, postgres: Postgres, auth: Service, users: Service) -> None:
        async with postgres.superuser() as connection:
            if await seed.is_done(connection):
                return
            self._say("adding the development clients and users (first start only)")
            await seed.seed(auth, users)
            await seed.note_done(connection)

    async def _start_services(self, auth: Service, users: Service, gateway: Service) -> None:
        self._say("starting the services")
        self._behind = [auth.process(self._data), users.process(self._data)]
        self._gateway = gateway.process(self._data)
        pairs = list(zip((auth, users, gateway), (*self._behind, self._gateway), strict=True))
        for _, process in pairs:
            await process.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            await processes.together(*(services.until_ready(session, service, process) for service, process in pairs))
