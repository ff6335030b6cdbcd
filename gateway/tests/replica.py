"""A replica of an upstream as a process, served like every service: `replica.py HOST PORT`."""

import asyncio
import sys

from aiohttp import web

from backend import ALLOW
from servicekit.serving import serve


async def main(host: str, port: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/verify-token":
            return web.json_response(ALLOW)
        return web.Response(text=host)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    await serve((app, host, port))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
