"""The server's frame: limits on a body, request ids, problem documents, and no echo of a malformed request."""

import asyncio
import contextlib
import io
import json
import logging

import msgpack
import pytest
import structlog
from aiohttp import web

from servicekit import http, wire
from servicekit.logs import configure_logs
from servicekit.testing import ServiceServer


async def echo(request):
    return web.json_response(await http.read_object(request, (wire.JSON, wire.FORM)))


async def fail(_request):
    raise ValueError("s3cr3t")


async def unavailable(_request):
    raise http.ServiceUnavailableError("s3cr3t")


@pytest.fixture
def log():
    written, handlers, level = io.StringIO(), list(logging.root.handlers), logging.root.level
    configure_logs("trial", "debug", written)
    structlog.configure(cache_logger_on_first_use=False)  # module loggers outlive this stream
    yield written
    structlog.reset_defaults()
    logging.root.handlers = handlers
    logging.root.setLevel(level)


@pytest.fixture
async def client(log, aiohttp_client):
    ready = asyncio.Event()

    async def faults():
        return [] if ready.is_set() else ["it is not ready"]

    async def become_ready(_request):
        ready.set()
        return web.Response()

    app = web.Application(middlewares=[http.frame()])
    app.add_routes([web.post("/echo", echo), web.get("/fail/{id}", fail), web.get("/unavailable", unavailable)])
    app.add_routes([web.post("/ready", become_ready), *http.health_routes(faults)])
    app.add_routes([web.get("/deep/{path:.*}", become_ready)])
    return await aiohttp_client(ServiceServer(app))


@pytest.fixture
def port(client):
    return client.port


@pytest.fixture
def ask(client):
    """Call with a method, a path and options of aiohttp's client to get status, headers and body."""

    async def ask(method, path, **given):
        async with client.request(method, path, **given) as response:
            return response.status, response.headers, await response.read()

    return ask


@contextlib.asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()


async def answer(port, raw):
    """The whole response to these bytes, until the server closes the connection."""
    async with connected(port) as (reader, writer):
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), 5)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + b"s3cr3t" * 2000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cr3t\0\r\n\r\n",
        b"GET /s3cr3t HTTP/9.9\r\n\r\n",
        b"GET /" + b"s3cr3t" * 2000 + b" HTTP/1.1\r\n\r\n",
        b"s3cr3t\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: s3cr3t\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_not_echoed(port, log, raw):
    head, _, body = (await answer(port, raw)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "error": "invalid_request",
    }
    assert b"connection: close" in head.lower()
    assert b"aiohttp" not in head
    assert b"s3cr3t" not in head + body
    assert "s3cr3t" not in log.getvalue()
    assert json.loads(log.getvalue().splitlines()[-1])["event"] == "malformed request"


async def test_a_body_that_is_framed_wrongly_is_refused_at_once(port):
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for broken in (b"zz\r\n", b"2\r\n{}xx\r\n", b"-1\r\n"):
        async with connected(port) as (reader, writer):
            writer.write(head + broken)
            assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == b"400"


async def test_a_body_has_limits(ask, monkeypatch, port):
    headers = {"Content-Type": "application/json"}

    async def chunks():
        for _ in range(70):
            yield b" " * 1024

    assert (await ask("POST", "/echo", data=b'{"a": 1}', headers=headers))[0] == 200
    assert (await ask("POST", "/echo", data=b" " * 65537, headers=headers))[0] == 413
    assert (await ask("POST", "/echo", data=chunks(), headers=headers))[0] == 413
    for coding in ("gzip", "br", "deflate", "s3cr3t"):
        assert (await ask("POST", "/echo", data=b"{}", headers=headers | {"Content-Encoding": coding}))[0] == 415
    types = ("", "s3cr3t", "text/plain", "application/jsonx", "multipart/form-data; boundary=x", "application/msgpack")
    charsets = (f"{wire.JSON}; charset={charset}" for charset in ("utf-7", "utf-16", "latin-1", "s3cr3t"))
    for content_type in (*types, *charsets, f"{wire.FORM}; charset=utf-7"):
        assert (await ask("POST", "/echo", data=b"{}", headers={"Content-Type": content_type}))[0] == 415, content_type
    assert (await ask("POST", "/echo", data=b"{}", skip_auto_headers=["Content-Type"]))[0] == 415
    assert (await ask("POST", "/echo", data=b"{}", headers=[("Content-Type", "application/json")] * 2))[0] == 400
    monkeypatch.setattr(http, "BODY_TIMEOUT", 0.1)
    async with connected(port) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == b"408"


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_error_of_ours(port, log):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    framing = b"Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\n" + framing)
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.transport.abort()
    async with asyncio.timeout(5):
        while '"status": 499' not in log.getvalue():  # noqa: ASYNC110 - nothing signals a written line
            await asyncio.sleep(0.01)
    assert "unexpected error" not in log.getvalue()


async def test_what_a_handler_lets_through_is_unavailable_and_quotes_nothing(ask, log):
    for path in ("/fail/s3cr3t-id", "/unavailable"):
        status, headers, body = await ask("GET", path)
        assert (status, headers["Retry-After"], headers["Cache-Control"]) == (503, "1", "no-store")
        assert headers["Content-Type"].startswith("application/problem+json")
        assert b"s3cr3t" not in body
    assert "s3cr3t" not in log.getvalue()
    assert [json.loads(line)["route"] for line in log.getvalue().splitlines() if '"route"' in line] == [
        "/fail/{id}",
        "/unavailable",
    ]


async def test_errors_are_problem_documents_also_in_messagepack(ask):
    status, headers, body = await ask("GET", "/nowhere")
    assert (status, json.loads(body)["title"]) == (404, "Not Found")
    assert "Server" not in headers
    status, headers, _ = await ask("GET", "/echo")
    assert (status, headers["Allow"]) == (405, "POST")
    status, headers, body = await ask("GET", "/nowhere", headers={"Accept": "application/msgpack"})
    assert (headers["Content-Type"], msgpack.unpackb(body)["status"]) == ("application/msgpack", 404)


async def test_a_request_keeps_its_id_or_gets_one(ask):
    for given in ("abcdefgh", "A-Z-09-" * 9):
        assert (await ask("GET", "/nowhere", headers={"X-Request-Id": given}))[1]["X-Request-Id"] == given
    for given in ("short", "x" * 65, "with space", "{json}xxx", "ä" * 8):
        made = (await ask("GET", "/nowhere", headers={"X-Request-Id": given}))[1]["X-Request-Id"]
        assert len(made) == 32


async def test_health_and_readiness_are_two_things(ask):
    assert [(await ask("GET", path))[0] for path in ("/healthz", "/readyz")] == [200, 503]
    assert (await ask("GET", "/readyz"))[1]["Retry-After"] == "1"
    await ask("POST", "/ready")
    assert [(await ask("GET", path))[0] for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.parametrize(("slashes", "status"), [(100, 200), (101, 404), (4000, 404)])
async def test_a_path_with_many_slashes_leads_nowhere(ask, slashes, status):
    """aiohttp's router would spend 30 ms on a path of 4,000 segments, and nobody else would be served meanwhile."""
    assert (await ask("GET", "/deep" + "/x" * (slashes - 1)))[0] == status
