"""A plain proxy made of aiohttp's server and client on uvloop, as the gateway once was; it does not verify tokens.

Its arguments are the port to listen on and the port to forward to.
"""

import os
import sys

import aiohttp
import uvloop
from aiohttp import hdrs, web
from yarl import URL

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length")
)


def _end_to_end(headers: tuple[tuple[bytes, bytes], ...]) -> list[tuple[str, str]]:
    pairs = ((name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in headers)
    return [(name, value) for name, value in pairs if name.lower() not in _HOP_BY_HOP]


def _application(backend: str) -> web.Application:
    async def sessions(_app: web.Application):  # type: ignore[no-untyped-def]
        nonlocal session
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=512),
            timeout=aiohttp.ClientTimeout(connect=1, sock_read=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session:
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        request_id = os.urandom(16).hex()
        headers = [*_end_to_end(request.raw_headers), ("X-Request-Id", request_id)]
        if request.content_length is not None:
            headers.append((hdrs.CONTENT_LENGTH, str(request.content_length)))
        body = request.content if request.can_read_body else None
        url = URL(backend + request.raw_path, encoded=True)
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.raw_headers))
            response.headers["X-Request-Id"] = request_id
            response.content_length = answer.content_length
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    session: aiohttp.ClientSession
    app = web.Application()
    app.cleanup_ctx.append(sessions)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


def main() -> None:
    uvloop.install()
    port, backend = sys.argv[1:]
    app = _application(f"http://127.0.0.1:{backend}")
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None, backlog=4096)


if __name__ == "__main__":
    main()
