"""Connections to the other services: a pool for each use, nothing invented, nothing sent twice."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import hdrs
from yarl import URL

# Well below the 75 s after which an upstream closes an idle connection, so that one is rarely used as it closes.
KEEPALIVE_TIMEOUT = 15.0
_INVENTED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.CONTENT_TYPE)


class BrokenConnectionError(aiohttp.ClientError):
    """The connection broke after something may have been sent on it."""


async def _never_twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending an idempotent request again, for which it waits for these two errors.

    It would do so on a fresh connection too, and its replay of a body that was streamed is an empty one.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenConnectionError(type(error).__name__) from error


@contextlib.asynccontextmanager
async def pool(connections: int, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with a pool of its own: as many connections at once as `connections`, no cookies, no retries."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_INVENTED,
        auto_decompress=False,
        timeout=timeout,
        middlewares=(_never_twice,),
    ) as session:
        yield session


def url_of(origin: str, target: str) -> URL:
    """The URL whose request line holds exactly `target`.

    Path and query stay in one piece: yarl would drop the question mark of an empty query.
    """
    return URL(origin).with_path(target, encoded=True)


def could_not_connect(error: Exception) -> bool:
    """Whether nothing was sent: no connection, or no place in the pool, in time."""
    return isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
