"""Calls to a service with two replicas: if one replica loses a call, the other answers it; no caller waits in vain."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from servicekit import callers
from servicekit.upstreams import calls
from servicekit.upstreams.calls import CallFailedError, Service, open_service

from .stage import FIRST, SECOND, free_port, until

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Replica:
    """A replica that answers with its address or as its `script` says; `lives` says whether it answers probes."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.lives = True
        self.script: Script | None = None
        self.requests: list[tuple[web.Request, bytes]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/healthz":
            if not self.lives:
                await asyncio.Event().wait()
            return web.Response()
        self.requests.append((request, await request.read()))
        return await self.script(request) if self.script is not None else web.Response(text=self.host)


class Pair:
    """Both replicas, and the service that they form."""

    def __init__(self, replicas: list[Replica], service: Service) -> None:
        self.first, self.second = replicas
        self.replicas = replicas
        self.service = service

    @property
    def requests(self) -> list[tuple[web.Request, bytes]]:
        return [request for replica in self.replicas for request in replica.requests]

    async def call(self, timeout: float = 5.0, **how: float) -> str:
        answer = await self.service.call("POST", "/path?a=b", {"X-Name": "value"}, b"body", timeout=timeout, **how)
        return answer.body.decode()


async def dropping(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def silent(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def falling_silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b" ")
    await asyncio.Event().wait()
    return response


@pytest.fixture
async def pair(aiohttp_server: AiohttpServer) -> AsyncIterator[Pair]:
    port = free_port()
    replicas = [Replica(FIRST), Replica(SECOND)]
    for replica in replicas:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", replica.serve)
        await aiohttp_server(app, host=replica.host, port=port, shutdown_timeout=0.1)

    async def resolve(_host: str, _port: int) -> list[tuple[str, int]]:
        return [(replica.host, port) for replica in replicas]

    async with open_service(f"http://replicas.test:{port}/base", resolve) as service:
        yield Pair(replicas, service)


@pytest.fixture
def stage_of_threads() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a service in separate threads, which answers `old` to its first request, and the requests received."""
    port = free_port()
    received: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                received.append(connection.recv(65536))
                body = b"new"
                if len(received) == 1:
                    body = b"old"
                    time.sleep(0.2)  # the calling process is standing still by then
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n" + body)
                connection.close()

    listeners = [socket.create_server((host, port)) for host in (FIRST, SECOND)]
    threads = [threading.Thread(target=serve, args=(listener,)) for listener in listeners]
    for thread in threads:
        thread.start()
    yield f"http://replicas.test:{port}", received
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


async def test_a_call_is_answered_whole(pair: Pair) -> None:
    hosts = {await pair.call() for _ in range(30)}
    assert hosts == {FIRST, SECOND}
    request, body = pair.requests[0]
    assert (request.method, request.raw_path, request.host.split(":")[0]) == ("POST", "/base/path?a=b", "replicas.test")
    assert (request.headers["X-Name"], body) == ("value", b"body")
    assert 4 < float(request.headers["X-Parley-Timeout"]) <= 5


@pytest.mark.parametrize("fault", [dropping, silent, falling_silent])
async def test_what_one_replica_loses_the_other_one_answers(pair: Pair, fault: Script) -> None:
    pair.first.script, pair.first.lives = fault, False
    started = time.monotonic()
    assert await asyncio.gather(*(pair.call() for _ in range(8))) == [SECOND] * 8
    assert pair.first.requests
    assert time.monotonic() - started < 1.5


async def test_a_replica_that_lives_is_waited_for(pair: Pair) -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response(text="slow")

    pair.first.script = pair.second.script = slow
    assert await pair.call() == "slow"
    assert len(pair.requests) == 1


@pytest.mark.parametrize("fault", [silent, falling_silent])
async def test_one_that_is_silent_for_too_long_is_left_though_it_lives(pair: Pair, fault: Script) -> None:
    pair.first.script = fault
    started = time.monotonic()
    assert await asyncio.gather(*(pair.call(silence=0.3) for _ in range(8))) == [SECOND] * 8
    assert pair.first.requests
    assert time.monotonic() - started < 1


async def test_an_answer_that_was_there_while_this_process_stood_still_is_asked_for_again(
    stage_of_threads: tuple[str, list[bytes]],
) -> None:
    url, received = stage_of_threads

    async def resolve(_host: str, port: int) -> list[tuple[str, int]]:
        return [(FIRST, port), (SECOND, port)]

    async with open_service(url, resolve) as service:
        call = asyncio.create_task(service.call("GET", "/", {}, timeout=5, silence=0.5))
        await until(lambda: received)
        time.sleep(1)  # noqa: ASYNC251 - as if the process were suspended
        assert (await call).body == b"new"


async def test_it_is_sent_twice_at_the_most(pair: Pair) -> None:
    pair.first.script = pair.second.script = dropping
    with pytest.raises(CallFailedError):
        await pair.call()
    assert [len(replica.requests) for replica in pair.replicas] == [1, 1]


async def test_nothing_is_waited_for_longer_than_was_said(pair: Pair) -> None:
    pair.first.script = pair.second.script = silent
    started = time.monotonic()
    with pytest.raises(CallFailedError):
        await pair.call(0.3)
    assert time.monotonic() - started < 0.6
    ((request, _),) = pair.requests
    await until(lambda: request.transport is None)  # the connection is not left open


async def test_a_caller_that_waits_no_longer_asks_nobody(pair: Pair) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(CallFailedError):
        await pair.service.call("GET", "/", {}, timeout=5, caller=callers.Caller(loop.time() - 1))
    assert pair.requests == []
    pair.first.script = pair.second.script = silent
    with pytest.raises(CallFailedError):
        await pair.service.call("GET", "/", {}, timeout=5, caller=callers.Caller(loop.time() + 0.2))
    ((request, _),) = pair.requests
    assert float(request.headers["X-Parley-Timeout"]) <= 0.2


async def test_an_answer_without_an_end_is_not_kept(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ANSWER_LIMIT", 1000)

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(1001))

    pair.first.script = pair.second.script = large
    with pytest.raises(CallFailedError):
        await pair.call()


async def test_who_cannot_be_reached_is_told_at_once() -> None:
    async with open_service("http://127.0.0.1:1") as service:
        with pytest.raises(CallFailedError):
            await service.call("GET", "/", {}, timeout=5)
