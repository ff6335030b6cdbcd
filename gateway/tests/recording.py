"""Two real servers that record the requests they read, and a proxy that records the bytes sent to them."""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from aiohttp import web

ALLOW = json.dumps(
    {"active": True, "sub": "157", "client_id": "demo", "scope": "", "expires_in": 900, "internal_token": "internal"}
)
_BUFFER = 2**20
_PATIENCE = 5.0


class Seen(NamedTuple):
    """A complete request, as it was read."""

    id: str
    method: str
    target: str
    body: str


class Recorder(Protocol):
    """A server: its port, and the requests it has read so far."""

    port: int

    def seen(self) -> list[Seen]: ...


class NotCanonicalError(Exception):
    """The gateway wrote bytes that could be read in more than one way."""


class Wire:
    """A proxy between the gateway and a server that keeps what the gateway wrote on each connection."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._written: list[bytearray] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        written = bytearray()
        self._written.append(written)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        await asyncio.gather(_pass_on(reader, server_writer, written), _pass_on(server_reader, writer, bytearray()))

    def sent(self) -> list[Seen]:
        """The requests that the gateway wrote completely. Raises NotCanonicalError."""
        return [seen for written in self._written for seen in _read_canonical(bytes(written))]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            record += data
            writer.write(data)
            await writer.drain()
    writer.close()


def _read_canonical(written: bytes) -> Iterator[Seen]:
    """Read requests in the only form that all servers read alike. An incomplete one at the end is left out."""
    while b"\r\n\r\n" in written:
        head, _, written = written.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        headers: dict[str, str] = {}
        for name, value in (field.split(": ", 1) for field in lines):
            if name.lower() in headers and name.lower() in (
                "host",
                "content-length",
                "transfer-encoding",
                "x-request-id",
            ):
                raise NotCanonicalError(head)
            headers[name.lower()] = value
        if version != "HTTP/1.1" or not method.isupper() or "host" not in headers or "x-request-id" not in headers:
            raise NotCanonicalError(head)
        body, written = _read_body(headers, written)
        if body is None:
            return
        yield Seen(headers["x-request-id"], method, target, body.decode("latin-1"))


def _read_body(headers: dict[str, str], written: bytes) -> tuple[bytes | None, bytes]:
    """The body, or None if it is incomplete, and the data that follows it."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if coding != "chunked" or length is not None:
            raise NotCanonicalError(headers)
        return _read_chunks(written)
    if length is not None and length != str(int(length)):
        raise NotCanonicalError(headers)
    size = int(length or 0)
    return (written[:size], written[size:]) if len(written) >= size else (None, b"")


def _read_chunks(written: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while b"\r\n" in written:
        line, _, written = written.partition(b"\r\n")
        size = int(line, 16)
        if line != b"%x" % size:
            raise NotCanonicalError(line)
        if len(written) < size + 2:
            break
        if written[size : size + 2] != b"\r\n":
            raise NotCanonicalError(written)
        body += written[:size]
        written = written[size + 2 :]
        if size == 0:
            return body, written
    return None, b""


class AiohttpRecorder:
    """aiohttp's server, in this process."""

    def __init__(self) -> None:
        self.port = 0
        self._seen: list[Seen] = []

    def seen(self) -> list[Seen]:
        return self._seen

    async def _record(self, request: web.Request) -> web.Response:
        body = await request.read()
        request_id = request.headers["X-Request-Id"]
        self._seen.append(Seen(request_id, request.method, request.raw_path, body.decode("latin-1")))
        if request.path == "/verify-token":
            return web.Response(text=ALLOW, content_type="application/json")
        return web.Response(text=f"seen {request_id};")

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls) -> AsyncIterator["AiohttpRecorder"]:
        recorder = cls()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", recorder._record)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            recorder.port = runner.addresses[0][1]
            yield recorder
        finally:
            await runner.cleanup()


_NGINX = """
daemon off;
master_process off;
pid @directory@/nginx.pid;
error_log @directory@/error.log;
events {}
http {
    log_format seen escape=json '["$http_x_request_id", "$request_method", "$request_uri", "$request_body"]';
    client_body_buffer_size 1m;
    client_body_in_single_buffer on;
    client_body_temp_path @directory@/body;
    proxy_temp_path @directory@/proxy;
    fastcgi_temp_path @directory@/fastcgi;
    uwsgi_temp_path @directory@/uwsgi;
    scgi_temp_path @directory@/scgi;
    keepalive_requests 100000;
    server {
        listen unix:@directory@/answers;
        access_log off;
        location = /verify-token { default_type application/json; return 200 '@allow@'; }
        location / { default_type text/plain; return 200 "seen $http_x_request_id;"; }
    }
    map $status $complete { 200 1; default 0; }
    server {
        listen 127.0.0.1:@port@;
        access_log @directory@/seen.log seen if=$complete;
        # Only requests that are passed on are read completely first.
        location / { proxy_pass http://unix:@directory@/answers; }
    }
}
"""


class NginxRecorder:
    """nginx; its access log is the record."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self._directory = directory

    def seen(self) -> list[Seen]:
        lines = (self._directory / "seen.log").read_bytes().decode("latin-1").splitlines()
        return [Seen(*json.loads(line)) for line in lines]

    @classmethod
    @contextlib.contextmanager
    def started(cls, program: str, directory: Path, port: int) -> Iterator["NginxRecorder"]:
        text = _NGINX.replace("@allow@", ALLOW).replace("@directory@", str(directory)).replace("@port@", str(port))
        (directory / "nginx.conf").write_text(text)
        process = subprocess.Popen([program, "-c", str(directory / "nginx.conf")], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + _PATIENCE
            while not (directory / "seen.log").exists() or not (directory / "answers").exists():
                assert process.poll() is None, (directory / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield cls(directory, port)
        finally:
            process.terminate()
            process.wait(_PATIENCE)
