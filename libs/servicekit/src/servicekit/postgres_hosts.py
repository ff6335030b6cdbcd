"""Connects to the one of several PostgreSQL servers that accepts writes, even if another one hangs.

The driver itself would try the hosts of a URL one after the other, within one time limit for all of them.
"""

import asyncio
import re
from typing import Any

import asyncpg

_URL = re.compile(r"(postgresql://(?:[^/?#@]*@)?)([^/?#@]*)([/?#].*)?", re.DOTALL)


async def connect(dsn: str, **options: Any) -> Any:
    """Connect to the host that `dsn` names, or, of several, to the first that answers and accepts writes.

    The URL may ask for another kind with `target_session_attrs`. Raises what the driver raises for one of the hosts.
    """
    urls = _one_url_each(dsn)
    if len(urls) == 1:
        return await asyncpg.connect(dsn, **options)
    if "target_session_attrs=" not in dsn:
        options["target_session_attrs"] = "read-write"
    chosen: list[Any] = []

    def close_unless_chosen(attempt: asyncio.Task[Any]) -> None:
        if not attempt.cancelled() and attempt.exception() is None and attempt.result() not in chosen:
            attempt.result().terminate()

    attempts = [asyncio.create_task(asyncpg.connect(url, **options)) for url in urls]
    try:
        chosen.append(await _first_success(attempts))
        return chosen[0]
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(close_unless_chosen)


async def _first_success(attempts: list[asyncio.Task[Any]]) -> Any:
    failure: BaseException | None = None
    for attempt in asyncio.as_completed(attempts):
        try:
            return await attempt
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            failure = error
    raise failure or OSError("there is no host")


def _one_url_each(dsn: str) -> list[str]:
    """One URL for each host of `dsn`."""
    match = _URL.fullmatch(dsn)
    if match is None:
        return [dsn]
    before, hosts, after = match.groups()
    return [f"{before}{host}{after or ''}" for host in hosts.split(",")]
