"""The private parts of aiohttp that servicekit depends on."""

import aiohttp
from aiohttp import web


async def test_connections_have_the_private_attributes_that_we_read() -> None:
    """`servicekit.callers` and `servicekit.serving` read from them which requests a connection still has to answer."""
    connection = web.Server(lambda _request: None)()  # type: ignore[arg-type, return-value]
    gone = [name for name in ("_current_request", "_messages") if not hasattr(connection, name)]
    assert not gone, f"aiohttp {aiohttp.__version__}: web.RequestHandler no longer has {', '.join(gone)}"
