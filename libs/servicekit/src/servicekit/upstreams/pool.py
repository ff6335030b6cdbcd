"""The connections to one upstream, lent to one borrower at a time and opened as they are needed."""

import asyncio
import math
import ssl
from collections import OrderedDict
from random import uniform
from urllib.parse import urlsplit

from servicekit.deadlines import Deadlines
from servicekit.upstreams.connection import CLOSED, FULL, UNREACHABLE, Borrower, PooledReplica, UpstreamConnection
from servicekit.upstreams.detached import Detached
from servicekit.upstreams.probes import Probes
from servicekit.upstreams.replicas import EJECTED, GONE, Replicas
from servicekit.upstreams.resolver import Address, Resolve, Resolver, ask_system
from servicekit.upstreams.retries import RetryBudget
from servicekit.upstreams.waiting import Attempt, Waiting

IDLE = 15.0  # well below the 75 s after which services close, so that a connection is rarely used as it closes
AGE = (60.0, 120.0)
REQUESTS = 1000
# The most silence that one check counts: a loop that was held up may not have read yet what a replica has sent.
_STEP = 0.25


class Upstream:
    """An http or https origin whose name resolves to any number of replicas.

    Idle connections, silence, ejections and timeouts are checked periodically, by `deadlines`. A replica that has to
    answer and is silent for `stall_timeout` seconds is probed at `health_path`; if it is silent for as long again, it
    hangs.
    """

    def __init__(
        self,
        origin: str,
        *,
        connections: int,
        connect_timeout: float,
        dns_interval: float,
        stall_timeout: float,
        deadlines: Deadlines,
        health_path: str = "/healthz",
        resolve: Resolve = ask_system,
    ) -> None:
        url = urlsplit(origin)
        tls = url.scheme == "https"
        self.host = url.netloc.encode()  # for the Host header of requests
        self._host = url.hostname or ""
        self._tls = ssl.create_default_context() if tls else None
        self._limit = connections
        self._connect_timeout = connect_timeout
        self._deadlines = deadlines
        self._replicas: Replicas[UpstreamConnection] = Replicas(origin)
        self._probes = Probes(self._replicas, self._dial, self.host, health_path, stall_timeout)
        self._resolver = Resolver(
            self._host,
            url.port or (443 if tls else 80),
            interval=dns_interval,
            resolve=resolve,
            on_addresses=self._replicas.update,
        )
        self._waiting: OrderedDict[Borrower, Waiting] = OrderedDict()
        self._connections = 0  # including those being opened
        self._detached = Detached()
        self._tasks: set[asyncio.Task[None]] = set()
        self._budget = RetryBudget()
        self.deadline = 0.0  # of the next check

    async def start(self) -> None:
        """Returns once the name was resolved for the first time, or could not be."""
        self._loop = asyncio.get_running_loop()
        self._replicas.now = self._loop.time()
        self._deadlines.add(self)
        await self._resolver.start()

    async def close(self) -> None:
        """Close all connections. Waiting borrowers are told that there is none, others that theirs is lost."""
        self._deadlines.discard(self)
        await self._resolver.close()
        await self._probes.close()
        self._replicas.update([])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in list(self._waiting.values()):
            self._give_up(waiting, UNREACHABLE)
        for replica in self._replicas.leaving:
            for connection in list(replica.connections):
                connection.fail(CLOSED)
        self._detached.close()
        await asyncio.sleep(0)  # transports close in the loop's next round

    def acquire(self, borrower: Borrower, avoid: PooledReplica | None = None) -> None:
        """Call `on_connection`, at once where a connection is idle, or `on_no_connection`, at once or later."""
        if avoid is None:
            self._budget.deposit()
            replica = self._replicas.choose()
        else:
            replica = self._replicas.choose_except((), avoid)
        if replica is None:
            borrower.on_no_connection(UNREACHABLE)
        elif replica.idle:
            replica.idle.pop().lend(borrower)
        else:
            waiting = Waiting(borrower, avoid, self._loop.time() + self._connect_timeout)
            self._waiting[borrower] = waiting
            self._place(waiting, replica)

    def may_retry(self) -> bool:
        """True if a request without an answer may be sent to another replica. The retry is then counted."""
        # A replica that was just ejected or removed counts too: another replica may answer what it lost.
        return len(self._replicas.all) + len(self._replicas.leaving) > 1 and self._budget.withdraw()

    def abandon(self, borrower: Borrower) -> None:
        """The borrower no longer waits. A connection that is being opened for it goes to the next one."""
        self._waiting.pop(borrower, None)

    def release(self, connection: UpstreamConnection) -> None:
        """The borrower is done: keep the connection if it is reusable, otherwise close it."""
        if connection.borrower is None:
            return
        connection.borrower = None
        replica = connection.replica
        replica.in_flight -= 1
        if connection.reusable and connection.requests < REQUESTS and connection.expires > self._replicas.now:
            connection.resume()
            self._keep(connection)
        else:
            self.forget(connection)

    def detach(self, connection: UpstreamConnection) -> None:
        """Remove the connection from the pool for another protocol. Its borrower keeps it."""
        replica = connection.replica
        replica.connections.discard(connection)
        replica.in_flight -= 1
        self._connections -= 1
        self._detached.add(connection)
        if self._waiting:
            self._place_all()

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is closed, or is to be closed."""
        self._remove(connection)
        if self._waiting:
            self._place_all()

    def status(self) -> dict[str, object]:
        """The state of the pool, as `/stats` shows it."""
        replicas = self._replicas.status()
        return {"connections": self._connections, "waiting": len(self._waiting), "replicas": replicas}

    def expire(self) -> None:
        now = self._loop.time()
        elapsed = min(now - self._replicas.now, _STEP)
        self._replicas.look(now)
        while self._waiting and (waiting := next(iter(self._waiting.values()))).deadline <= now:
            self._give_up(waiting, UNREACHABLE if waiting.connecting or waiting.tried else FULL)
        self._probes.look(elapsed)
        for replica in (*self._replicas.all, *self._replicas.leaving):
            self._close_idle(replica, now - IDLE)
            if self._replicas.leaves_out(replica):
                replica.give_up_requests()
        if self._waiting:
            self._place_all()

    def _keep(self, connection: UpstreamConnection) -> None:
        """Lend the connection to the first waiting borrower that may have it, or keep it for later."""
        replica = connection.replica
        if self._waiting and replica.open:
            for waiting in self._waiting.values():
                if waiting.avoid is not replica:
                    self._serve(waiting, connection)
                    return
        connection.idle_since = self._replicas.now
        replica.idle.append(connection)
        if self._waiting:
            self._place_all()

    def _remove(self, connection: UpstreamConnection) -> None:
        replica = connection.replica
        if connection not in replica.connections:
            return
        replica.connections.discard(connection)
        self._connections -= 1
        if connection.borrower is not None:
            connection.borrower = None
            replica.in_flight -= 1
        elif connection in replica.idle:
            replica.idle.remove(connection)
        connection.disconnect()

    def distrust(self, replica: PooledReplica) -> None:
        """Close the idle connections of a replica that is alive but has lost one of its connections."""
        self._close_idle(replica, math.inf)

    def _close_idle(self, replica: PooledReplica, before: float) -> None:
        if replica.state in (EJECTED, GONE) or self._replicas.leaves_out(replica):
            before = math.inf
        while replica.idle and replica.idle[0].idle_since <= before:
            self._remove(replica.idle[0])

    # Waiting borrowers

    def _place_all(self) -> None:
        """Serve waiting borrowers in order, as far as there is room."""
        while True:
            waiting = next((waiting for waiting in self._waiting.values() if not waiting.connecting), None)
            if waiting is None:
                return
            replica = self._replicas.choose_except(waiting.tried, waiting.avoid)
            if not self._place(waiting, replica):
                return

    def _place(self, waiting: Waiting, replica: PooledReplica | None) -> bool:
        """Get a connection to `replica`, or give up if there is no replica. False if there is no room."""
        if replica is None:
            self._give_up(waiting, UNREACHABLE)
        elif replica.idle:
            self._serve(waiting, replica.idle.pop())
        elif self._make_room():
            self._connect(waiting, replica)
        else:
            return False
        return True

    def _make_room(self) -> bool:
        """True if one more connection may be opened. At the limit, an idle one is closed to make room."""
        if self._connections < self._limit:
            return True
        longest = max((*self._replicas.all, *self._replicas.leaving), key=lambda replica: len(replica.idle))
        if longest.idle:
            self._remove(longest.idle[0])
        return self._connections < self._limit

    def _serve(self, waiting: Waiting, connection: UpstreamConnection) -> None:
        del self._waiting[waiting.borrower]
        connection.lend(waiting.borrower)

    def _give_up(self, waiting: Waiting, fault: str) -> None:
        del self._waiting[waiting.borrower]
        waiting.borrower.on_no_connection(fault)

    # Opening connections

    def _connect(self, waiting: Waiting, replica: PooledReplica) -> None:
        waiting.connecting = True
        replica.connecting += 1
        self._connections += 1
        task = self._loop.create_task(self._try(waiting, replica))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, waiting: Waiting, replica: PooledReplica) -> None:
        others = any(other is not replica and other not in waiting.tried for other in self._replicas.all)
        # Half the time if there is another replica to try, in case this one drops packets.
        patience = self._connect_timeout / 2 if others else self._connect_timeout
        connection = None
        try:
            async with asyncio.timeout(None) as limit:
                attempt = Attempt(limit, self._loop.time() + patience)
                self._deadlines.add(attempt)
                connection = await self._open(replica)
        except OSError:
            pass  # the next replica is tried below
        finally:
            self._deadlines.discard(attempt)
            replica.connecting -= 1
            if connection is None:
                self._connections -= 1
        if connection is None:
            self._try_next(waiting, replica)
            return
        replica.connections.add(connection)
        if self._waiting.get(waiting.borrower) is waiting:
            self._serve(waiting, connection)
        else:
            self._keep(connection)

    async def _open(self, replica: PooledReplica) -> UpstreamConnection:
        connection = UpstreamConnection(replica, self, self._loop.time() + uniform(*AGE))  # noqa: S311
        await self._dial(connection, replica.address)
        if connection.closing:
            raise ConnectionAbortedError
        return connection

    async def _dial(self, protocol: asyncio.Protocol, address: Address) -> None:
        name = self._host if self._tls is not None else None
        await self._loop.create_connection(lambda: protocol, *address, ssl=self._tls, server_hostname=name)

    def _try_next(self, waiting: Waiting, replica: PooledReplica) -> None:
        """The replica could not be reached. Nothing was written, so any other one may be tried."""
        replica.failed()
        waiting.connecting = False
        waiting.tried.append(replica)
        if self._waiting:
            self._place_all()
