"""A client that sends many requests at once does not keep the process to itself."""

import asyncio

TOKEN = "/oauth/token"
MANY = 3000


async def test_requests_that_one_client_sends_at_once_are_served_among_those_of_others(gateway):
    answered = 0

    async def read(connection):
        nonlocal answered
        for _ in range(MANY):
            assert (await connection.response()).status == 404
            answered += 1

    async with gateway.connect() as connection, gateway.connect() as other:
        await connection.send(gateway.bytes("GET", "/nowhere") * MANY)
        reading = asyncio.create_task(read(connection))
        await other.send(gateway.bytes("GET", TOKEN))
        assert (await other.response()).status == 200
        assert answered < MANY / 4
        await reading
