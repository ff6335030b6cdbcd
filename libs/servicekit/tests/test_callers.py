"""Callers that wait for an answer: the timeouts they send, and the detection of those that have left."""

import asyncio
import contextlib
import math

import pytest
from aiohttp import web

from servicekit import callers, http
from servicekit.testing import ServiceServer


class Work:
    """A handler that works until its caller no longer waits, or for ever."""

    def __init__(self):
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.gone = None

    async def serve(self, request):
        caller = callers.current()
        self.begun.set()
        try:
            async with caller.waiting(asyncio.get_running_loop().time() + float(request.query.get("until", "inf"))):
                await asyncio.Event().wait()
        except TimeoutError:
            self.gone = caller.gone
            self.ended.set()
        return web.Response(status=204)

    async def tidy_up(self, request):
        """Exceed the time limit at once, and tidy up until the caller has left."""
        lost = asyncio.Event()
        request.protocol.on_lost.add(lost.set)
        with contextlib.suppress(TimeoutError):
            async with callers.current().waiting(0):
                try:
                    await asyncio.Event().wait()
                finally:
                    self.begun.set()
                    await lost.wait()
        self.ended.set()
        return web.Response()


async def remaining(_request):
    return web.json_response({"remaining": str(callers.current().remaining())})


async def overloaded(_request):
    raise http.OverloadedError(7)


@pytest.fixture
def work():
    return Work()


@pytest.fixture
async def service(work, aiohttp_client):
    app = web.Application(middlewares=[http.frame()])
    app.add_routes(
        [
            web.get("/remaining", remaining),
            web.get("/work", work.serve),
            web.get("/untidy", work.tidy_up),
            web.get("/overloaded", overloaded),
        ]
    )
    return await aiohttp_client(ServiceServer(app))


@pytest.fixture
def url(service):
    return service.server.origin


@pytest.fixture
def client(service):
    return service.session


async def remaining_for(client, url, *timeouts):
    headers = [("X-Parley-Timeout", timeout) for timeout in timeouts]
    async with client.get(f"{url}/remaining", headers=headers) as response:
        return float((await response.json())["remaining"])


@pytest.mark.parametrize("timeout", ["3600", "12.5", "0012.500", "60"])
async def test_a_caller_says_how_long_it_waits(client, url, timeout):
    assert float(timeout) - 5 < await remaining_for(client, url, timeout) <= float(timeout)


async def test_a_caller_that_waits_no_longer_is_known(client, url):
    assert await remaining_for(client, url, "0") <= 0


@pytest.mark.parametrize(
    "timeouts",
    [(), ("",), ("-1",), ("3601",), ("3600.1",), ("99999",), ("1e2",), ("inf",), ("nan",), ("1,5",), ("1 s",), ("٣",)],
)
async def test_what_is_malformed_says_nothing(client, url, timeouts):
    assert await remaining_for(client, url, *timeouts) == math.inf


async def test_what_is_said_twice_says_nothing(client, url):
    assert await remaining_for(client, url, "5", "6") == math.inf


async def test_what_one_request_said_does_not_hold_for_the_next_on_its_connection(client, url):
    assert await remaining_for(client, url, "5") <= 5
    assert await remaining_for(client, url) == math.inf


@pytest.mark.parametrize(
    ("path", "headers"), [("?until=0.05", {}), ("", {"X-Parley-Timeout": "0.05"}), ("?until=0", {})]
)
async def test_waiting_ends_at_the_callers_deadline_or_at_another(client, url, work, path, headers):
    async with client.get(f"{url}/work{path}", headers=headers) as response:
        assert response.status == 204
    assert work.gone is False


async def test_waiting_ends_when_the_caller_leaves(client, url, work):
    task = asyncio.create_task(client.get(f"{url}/work"))
    await work.begun.wait()
    task.cancel()
    await asyncio.wait_for(work.ended.wait(), 5)
    assert work.gone is True


async def test_a_caller_that_leaves_while_its_work_is_given_up_already_does_no_harm(client, url, work):
    loop, faults = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    task = asyncio.create_task(client.get(f"{url}/untidy"))
    await work.begun.wait()
    task.cancel()
    await asyncio.wait_for(work.ended.wait(), 5)
    loop.set_exception_handler(None)
    assert faults == []


async def test_outside_of_a_request_nobody_limits_the_time():
    caller = callers.current()
    assert (caller.gone, caller.remaining()) == (False, math.inf)
    async with caller.waiting():
        await asyncio.sleep(0)


def test_an_outgoing_timeout_is_what_is_left_and_never_negative():
    assert callers.outgoing_timeout(2.34567) == {"X-Parley-Timeout": "2.346"}
    assert callers.outgoing_timeout(-0.5) == {"X-Parley-Timeout": "0.000"}


async def test_a_refusal_for_lack_of_room_says_when_to_come_back(client, url):
    async with client.get(f"{url}/overloaded") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "7")
