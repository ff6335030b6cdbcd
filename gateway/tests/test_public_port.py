"""The port holder: gateways are replaced without a connection being refused or reset."""

import asyncio
import contextlib
import os
import signal
import socket
import sys

import pytest
from test_workers import Parent

from gateway import hold_port, public_port
from gateway.serving import InProcess
from gateway.settings import Settings
from processes import free_ports, spawned
from wire import Connection, read_head, request_bytes

TOKEN = "/oauth/token"
CLIENTS = 4


class Holder:
    """`python -m gateway.hold_port` on a free port."""

    def __init__(self, path):
        self.path = path
        self.port, _ = free_ports()

    async def start(self):
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.hold_port"),
            env={**os.environ, "GATEWAY_LISTENER": str(self.path), "GATEWAY_PORT": str(self.port)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert b'"listening"' in await asyncio.wait_for(self._process.stdout.readline(), 10)

    async def kill(self):
        self._process.kill()
        await self._process.wait()

    async def ask(self):
        """The status for a client that sends its request a moment after it has connected."""
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        with contextlib.closing(connection):
            await asyncio.sleep(0.05)
            await connection.send(request_bytes("GET", TOKEN))
            async with asyncio.timeout(30):  # the request may have to wait until a gateway has started
                answer = await read_head(connection.reader)
                await answer.read_body(connection.reader)
            return answer.status


@pytest.fixture
async def holder(tmp_path):
    holder = Holder(tmp_path / "listener")
    await holder.start()
    yield holder
    await holder.kill()


class Clients:
    """Clients that open a connection for each request. `answers` has a status or an exception for each."""

    def __init__(self, holder):
        self._holder = holder
        self.answers = []

    @contextlib.asynccontextmanager
    async def asking(self):
        clients = [asyncio.create_task(self._ask_for_ever()) for _ in range(CLIENTS)]
        try:
            yield self
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def are_answered(self):
        """Wait for another fifty answers."""
        enough = len(self.answers) + 50
        async with asyncio.timeout(20):
            while len(self.answers) < enough:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _ask_for_ever(self):
        while True:
            try:
                self.answers.append(await self._holder.ask())
            except (OSError, asyncio.IncompleteReadError) as error:
                self.answers.append(repr(error))


@pytest.fixture
async def start(gateway, holder):
    """Call to start a gateway on the holder's port."""
    async with contextlib.AsyncExitStack() as gateways:

        async def start(**variables):
            variables |= {"GATEWAY_LISTENER": str(holder.path), "GATEWAY_DRAIN_DELAY": "0.2", "GATEWAY_ACCESS_LOG": "0"}
            return await gateways.enter_async_context(spawned(gateway, **variables))

        yield start


async def _stop(one):
    one.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(one.process.wait(), 10) == 0


async def test_no_connection_is_lost_while_gateways_and_their_holder_are_replaced(gateway, start, holder):
    first = await start()
    async with Clients(holder).asking() as clients:
        await clients.are_answered()
        second = await start()
        await _stop(first)
        await clients.are_answered()
        await holder.kill()
        await clients.are_answered()
        await holder.start()  # it gets its port back from the gateway
        await _stop(second)
        left = Connection(*await asyncio.open_connection("127.0.0.1", holder.port))
        await left.send(request_bytes("POST", TOKEN, body=b"{}"))
        left.close()
        await start()  # it accepts the connections that have been waiting
        await clients.are_answered()
    assert set(clients.answers) == {200}
    assert "POST" not in {message.method for message in gateway.auth.received}, "nobody waits for it any more"


async def test_workers_take_the_socket_of_a_holder_that_starts_on_another_port(gateway, holder):
    parent = Parent(gateway, GATEWAY_LISTENER=str(holder.path))
    await parent.start()
    try:
        await holder.kill()
        holder.port, _ = free_ports()
        await holder.start()
        async with asyncio.timeout(10):
            assert await holder.ask() == 200
    finally:
        await parent.stop()


async def test_a_gateway_that_stands_still_takes_no_connection_from_the_others(start, holder):
    frozen, _ = await start(), await start()
    frozen.process.send_signal(signal.SIGSTOP)
    async with Clients(holder).asking() as clients:
        await clients.are_answered()
    assert set(clients.answers) == {200}


async def test_a_gateway_without_a_holder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(public_port, "_PATIENCE", 0.1)
    serving = InProcess(Settings(listener=tmp_path / "listener", access_log=0))
    with pytest.raises(SystemExit, match=r"^no listening socket from .*/listener: No such file or directory$"):
        await serving.start()


def test_a_port_that_another_program_has_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hold_port, "OFFERED_WITHIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            hold_port.PortHolder("127.0.0.1", port, str(tmp_path / "listener")).run()
    assert capsys.readouterr().err == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_a_second_holder_does_not_take_the_place_of_the_first(holder):
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.hold_port"),
        env={**os.environ, "GATEWAY_LISTENER": str(holder.path), "GATEWAY_PORT": "0"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(second.communicate(), 10)
    assert (second.returncode, errors.decode()) == (1, f"{holder.path}: another process answers there\n")
