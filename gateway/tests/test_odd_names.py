"""Odd header names: a flood of them makes nobody else's requests slower for ever."""

import contextlib

from processes import processor_time, spawned

NAMES = [f"X-Application-Specific-Header-Of-This-Client-{number}" for number in range(100)]
REQUESTS = 200


async def test_odd_names_sent_first_displace_none_that_are_used(gateway):
    usual = gateway.bytes("GET", "/nowhere", *((name, "x") for name in NAMES))
    async with contextlib.AsyncExitStack() as stack:
        fresh = await stack.enter_async_context(spawned(gateway))
        flooded = await stack.enter_async_context(spawned(gateway))
        for first in range(0, 6000, 100):
            odd = (f"X-Odd-{number}" for number in range(first, first + 100))
            await _answered(gateway, flooded, gateway.bytes("GET", "/nowhere", *((name, "x") for name in odd)))
        in_fresh = min([await _cost(gateway, fresh, usual) for _ in range(5)])
        in_flooded = min([await _cost(gateway, flooded, usual) for _ in range(5)])
    assert in_flooded < 1.6 * in_fresh, "microseconds of the gateway's for each request"


async def _cost(gateway, process, raw):
    before = processor_time(process.pid)
    await _answered(gateway, process, raw, REQUESTS)
    return (processor_time(process.pid) - before) / REQUESTS


async def _answered(gateway, process, raw, number=1):
    async with gateway.connect(process.port) as connection:
        await connection.send(raw * number)
        for _ in range(number):
            assert (await connection.response()).status == 404
