"""The attacked stack with its users, and the resources that it uses."""

import contextlib
import subprocess
from dataclasses import dataclass

import asyncpg
import psutil
import redis.asyncio

from bench.flood.attack import Aim
from bench.flood.honest import PASSWORD, Plan, email, login_request
from bench.flood.request_attacks import LoginFlood
from bench.tokens import ask, cpu_seconds
from dev import testing

ATTACKER = "attacker@example.com"
DAY = 86400

# All users get this user's password hash: hashing for each would take half a minute.
SIGN_UP = """
    INSERT INTO users (email, email_key, password_hash, epoch)
    SELECT name, name, password_hash, epoch FROM users, unnest($1::text[]) name WHERE email = 'person1@example.com'
"""


@dataclass
class World:
    """A running stack with its honest users. `gateway` is attacked; the stack's own gateway is idle."""

    stack: testing.Stack
    gateway: subprocess.Popen[bytes]
    plan: Plan
    attacker_addresses: list[str]
    settings: dict[str, str]

    def memory(self) -> dict[str, float]:
        """Resident megabytes of each process; for PostgreSQL the proportional shares of all its processes."""
        processes = self._processes()
        postgres = processes.pop("postgres")
        megabytes = {name: process.memory_info().rss / 1e6 for name, process in processes.items()}
        return {**megabytes, "postgres": sum(map(_share_of_memory, [postgres, *postgres.children(recursive=True)]))}

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process and its children so far."""
        return cpu_seconds(self._processes())

    def cpu_of_machine(self) -> float:
        """CPU seconds of the whole machine so far."""
        times = psutil.cpu_times()
        return float(times.user + times.nice + times.system)

    def _processes(self) -> dict[str, psutil.Process]:
        return {**self.stack.processes(), "gateway": psutil.Process(self.gateway.pid)}

    async def rows(self) -> dict[str, int]:
        """The number of sessions and access token digests, of keys in Redis, and of keys kept for more than a day."""
        rows = {}
        connection = await asyncpg.connect(self.settings["AUTH_DATABASE_URL"])
        for name, table in (("sessions", "sessions"), ("digests", "access_tokens")):
            rows[name] = await connection.fetchval(f"SELECT count(*) FROM {table}")
        await connection.close()
        if "REDIS_URL" in self.settings:
            async with redis.asyncio.from_url(self.settings["REDIS_URL"]) as client:
                lives = [await client.ttl(key) async for key in client.scan_iter(count=1000)]
            rows |= {"Redis keys": len(lives), "over a day": sum(life > DAY for life in lives)}
        return rows

    async def sign_up(self) -> None:
        """Add the honest users, the attacker's account, and the accounts that a flood logs in to."""
        flooded = [f"flood{number}@example.com" for number in range(LoginFlood.accounts)]
        connection = await asyncpg.connect(self.settings["USERS_DATABASE_URL"])
        await connection.execute(SIGN_UP, [email(number) for number in range(len(self.plan.sources))])
        await connection.execute(SIGN_UP, [ATTACKER, *flooded])
        await connection.close()

    async def aim(self, hash_rate: float) -> Aim:
        """The attacker's own account, with a session and its tokens; the refresh token is unused."""
        tokens = await ask(int(self.settings["AUTH_PORT"]), login_request(ATTACKER, PASSWORD))
        connection = await asyncpg.connect(self.settings["USERS_DATABASE_URL"])
        user_id = await connection.fetchval("SELECT id FROM users WHERE email = $1", ATTACKER)
        await connection.close()
        return Aim(
            host=self.plan.host,
            port=self.plan.port,
            tls=self.plan.tls,
            addresses=self.attacker_addresses,
            login=ATTACKER,
            password=PASSWORD,
            user_id=user_id,
            access_token=tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            hash_rate=hash_rate,
        )


def _share_of_memory(process: psutil.Process) -> float:
    """Megabytes, with shared pages divided among the processes that share them (PSS)."""
    with contextlib.suppress(psutil.Error):
        return float(process.memory_full_info().pss / 1e6)
    return 0.0
