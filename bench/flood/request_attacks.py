"""Attacks by whole requests: logins, guesses, refreshes, sessions, name changes, junk."""

import asyncio
import itertools
import json

from bench.flood.arrivals import arrivals
from bench.flood.attack import Aim, Attack
from bench.flood.honest import email, login_request, read_request, refresh_request
from bench.flood.networks import IPV4
from bench.http_load import get, post

FOREVER = 3600.0
TRUSTED = ("GATEWAY_TRUSTED_PROXIES", IPV4.attacker[0])


class OneAccount(Attack):
    """120 threads log in to one account with the right password; each waits 0.2 s after a refusal"""

    threads = 120

    async def run(self) -> None:
        login = login_request(self.aim.login, self.aim.password)
        await asyncio.gather(*(self.keep_asking(lambda: login) for _ in range(self.threads)))


class PasswordChanges(Attack):
    """40 threads change one account's password to the same one, two hashes each"""

    threads = 40

    async def run(self) -> None:
        body = json.dumps({"current_password": self.aim.password, "password": self.aim.password}).encode()
        token = f"Authorization: Bearer {self.aim.access_token}\r\n"
        change = post(f"/api/v1/users/{self.aim.user_id}/password", body, headers=token)
        await asyncio.gather(*(self.keep_asking(lambda: change) for _ in range(self.threads)))


class LoginFlood(Attack):
    """ten times as many logins as can be hashed, to 400 accounts, from 400 networks that a trusted proxy names: with
    so many, no fair share can serve honest logins, but refreshes and reads continue"""

    gateway = (TRUSTED,)
    lead = 2.0  # until the hashing queue is full
    by_hash_rate = True
    times_hash_rate = 10
    accounts = 400

    async def run(self) -> None:
        logins = [
            _from_address(f"203.0.{number // 250}.{number % 250 + 1}", f"flood{number}@example.com", self.aim.password)
            for number in range(self.accounts)
        ]
        rate = self.times_hash_rate * self.aim.hash_rate
        await arrivals(rate, FOREVER, lambda number, due: self.send(logins[number % self.accounts], due))


class Spray(Attack):
    """20 guesses per second, each at another account and from another /64 of one /48, named by a trusted proxy"""

    gateway = (TRUSTED,)
    rate = 20.0

    async def run(self) -> None:
        async def guess(number: int, due: float) -> None:
            address = f"2001:db8:66:{number % 65536:x}::1"
            await self.send(_from_address(address, email(number % 200), "a wrong password"), due)

        await arrivals(self.rate, FOREVER, guess)


class Retries(Attack):
    """one used refresh token, within its grace period, 800 times per second"""

    rate = 800.0

    async def run(self) -> None:
        refresh = refresh_request(self.aim.refresh_token)
        await arrivals(self.rate, FOREVER, lambda _, due: self.send(refresh, due))


class Rotations(Attack):
    """one session refreshed repeatedly, each time with the latest token"""

    async def run(self) -> None:
        tokens = [self.aim.refresh_token]
        await self.keep_asking(
            lambda: refresh_request(tokens[-1]), lambda body: tokens.append(json.loads(body)["refresh_token"])
        )


class Sessions(Attack):
    """4 threads log in to one account and revoke every second session at once"""

    threads = 4

    async def run(self) -> None:
        await asyncio.gather(*(self._open_and_revoke() for _ in range(self.threads)))

    async def _open_and_revoke(self) -> None:
        login = login_request(self.aim.login, self.aim.password)
        revocations: list[bytes] = []
        turns = itertools.count()

        def respond(body: bytes) -> None:
            if b"refresh_token" in body and next(turns) % 2:
                token = json.loads(body)["refresh_token"]
                revocations.append(
                    post("/oauth/revoke", json.dumps({"client_id": "doorkeeper", "token": token}).encode())
                )

        await self.keep_asking(lambda: revocations.pop() if revocations else login, respond)


class Names(Attack):
    """333 changes of one user's e-mail address per second, alternating between a taken and a free one"""

    rate = 333.0

    async def run(self) -> None:
        token = f"Authorization: Bearer {self.aim.access_token}\r\n"
        path = f"/api/v1/users/{self.aim.user_id}"

        async def change(number: int, due: float) -> None:
            name = email(number // 2 % 200) if number % 2 else f"free{number}@example.com"
            request = post(path, json.dumps({"user": {"email": name}}).encode(), headers=token)
            await self.send(request.replace(b"POST", b"PATCH", 1), due)

        await arrivals(self.rate, FOREVER, change)


class JunkTokens(Attack):
    """600 threads, each on its own connection, send a different junk token with each request, where 32 tokens may be
    verified at once and 4 of one network; each waits 0.2 s after a refusal"""

    gateway = (("GATEWAY_UPSTREAM_CONNECTIONS", "32"), ("GATEWAY_UPSTREAM_REQUESTS_PER_NETWORK", "4"))
    threads = 600

    async def run(self) -> None:
        numbers = itertools.count()
        await asyncio.gather(
            *(self.keep_asking(lambda: read_request(f"junk{next(numbers)}")) for _ in range(self.threads))
        )


class OddNames(Attack):
    """4,096 odd header names at once, then 20,000 new ones per second, 100 in each request"""

    first = 4096
    rate = 200.0
    names = 100

    def __init__(self, aim: Aim) -> None:
        super().__init__(aim)
        self.begun.clear()

    async def run(self) -> None:
        connection = await self.connect()
        at_once = -(-self.first // self.names)
        for number in range(at_once):
            await self.ask_on(connection, self._request(number))
        self.begun.set()
        await arrivals(self.rate, FOREVER, lambda number, due: self.send(self._request(at_once + number), due))

    def _request(self, number: int) -> bytes:
        """A request with header names that no other number has, which the gateway itself answers."""
        names = range(number * self.names, (number + 1) * self.names)
        return get("/", "".join(f"odd-{name}: x\r\n" for name in names))


def _from_address(address: str, login: str, password: str) -> bytes:
    """A login forwarded by a proxy."""
    return login_request(login, password).replace(b"\r\n", f"\r\nX-Forwarded-For: {address}\r\n".encode(), 1)
