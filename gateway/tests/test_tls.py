"""TLS on the public port: the certificate, its reload on SIGHUP, and files that cannot be used."""

import asyncio
import contextlib
import itertools
import os
import signal
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from test_workers import Parent

from certificates import issue, pair, replace
from processes import failure_of, free_ports, spawn
from wire import Connection, request_bytes

TOKEN = "/oauth/token"


@pytest.fixture
def files(tmp_path):
    return tmp_path / "certificate.pem", tmp_path / "key.pem"


@pytest.fixture
async def port(gateway, files):
    """A gateway process with TLS, in front of the upstreams of `gateway`."""
    issue(files, "first")
    port, ops_port = free_ports()
    urls = {f"GATEWAY_{name}_URL": f"http://127.0.0.1:{number}" for name, number in gateway.upstream_ports.items()}
    certificate, key = map(str, files)
    process = await spawn(
        **{"GATEWAY_PORT": str(port), "GATEWAY_OPS_PORT": str(ops_port), **urls},
        GATEWAY_TLS_CERTIFICATE=certificate,
        GATEWAY_TLS_KEY=key,
    )
    for _ in range(2):
        assert b'"listening"' in await asyncio.wait_for(process.stdout.readline(), 10)
    port_and_process = port, process
    yield port_and_process
    with contextlib.suppress(ProcessLookupError):  # a test may have ended it
        process.kill()
    await process.wait()


async def _connect(port, **versions):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, version in versions.items():
        setattr(context, name, version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    secured = writer.get_extra_info("ssl_object")
    name = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True)).subject.rfc4514_string()
    return Connection(reader, writer), name.removeprefix("CN="), secured


async def test_requests_pass_over_tls(gateway, port):
    connection, name, secured = await _connect(port[0])
    assert (name, secured.selected_alpn_protocol()) == ("first", "http/1.1")
    for body in (b"", b"x" * 60_000):
        await connection.send(request_bytes("POST", TOKEN, body=body))
        assert (await connection.response()).status == 200
    assert [message.get("X-Forwarded-Proto") for message in gateway.auth.requests] == ["https", "https"]
    await connection.send(b"nonsense\r\n\r\n")
    assert (await connection.response()).status == 400
    assert await connection.rest() == b""
    connection.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_versions_are_refused(port):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _connect(port[0], maximum_version=ssl.TLSVersion.TLSv1_1)


async def test_plain_http_is_no_tls(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port[0])
    writer.write(request_bytes("GET", TOKEN))
    connection = Connection(reader, writer)
    assert b"200 OK" not in await connection.rest()


async def test_a_new_certificate_is_read_on_sighup_and_a_bad_one_is_not(port, files):
    number, process = port
    _, name, _ = await _connect(number)
    assert name == "first"
    issue(files, "second")
    process.send_signal(signal.SIGHUP)
    assert b'"certificate reloaded"' in await asyncio.wait_for(process.stdout.readline(), 5)
    assert (await _connect(number))[1] == "second"
    issue(files, "third", key_of=ec.generate_private_key(ec.SECP256R1()))
    process.send_signal(signal.SIGHUP)
    assert b'"certificate not reloaded"' in await asyncio.wait_for(process.stdout.readline(), 5)
    assert (await _connect(number))[1] == "second"


@pytest.mark.parametrize("kinds", [("EC", "RSA"), ("RSA", "EC")])
async def test_a_new_certificate_may_have_a_key_of_another_kind(port, files, kinds):
    keys = {"EC": ec.generate_private_key(ec.SECP256R1()), "RSA": rsa.generate_private_key(65537, 2048)}
    for kind in kinds:
        issue(files, kind, keys[kind])
        port[1].send_signal(signal.SIGHUP)
        assert b'"certificate reloaded"' in await asyncio.wait_for(port[1].stdout.readline(), 5)
    assert (await _connect(port[0]))[1] == kinds[-1]


async def test_no_handshake_fails_while_the_files_are_replaced(port, files):
    """Certificate and key are repeatedly replaced one after the other, and SIGHUPs arrive at any time in between."""
    number, process = port
    reading = asyncio.create_task(process.stdout.read())
    names = []

    async def connect():
        for _ in range(100):
            connection, name, _ = await _connect(number)
            names.append(name)
            connection.close()

    async with _renewing(files), _hanging_up(process):
        await asyncio.gather(connect(), connect())
    assert len(set(names)) > 1
    issue(files, "last")
    process.send_signal(signal.SIGHUP)
    await _until_served(number, "last", 1)
    process.kill()
    written = await reading
    assert b'"certificate not reloaded"' in written, "no SIGHUP came while the files did not fit"
    assert b'"exception"' not in written


@contextlib.asynccontextmanager
async def _renewing(files):
    pairs = [pair(f"renewed-{number}") for number in range(20)]
    ended = threading.Event()

    def renew():
        for renewed in itertools.cycle(pairs):
            for file, content in zip(files, renewed, strict=True):
                replace(file, content)
                if ended.wait(0.0005):
                    return

    renewal = asyncio.create_task(asyncio.to_thread(renew))
    try:
        yield
    finally:
        ended.set()
        await renewal


@contextlib.asynccontextmanager
async def _hanging_up(process):
    async def hang_up():
        while True:
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.003)

    hanging_up = asyncio.create_task(hang_up())
    try:
        yield
    finally:
        hanging_up.cancel()


async def test_a_worker_that_is_just_starting_serves_with_the_newest_certificate(gateway, files):
    """SIGHUP arrives after it has read the old certificate and before it serves: the key that it reads is a pipe."""
    issue(files, "first")
    old_key = files[1].read_bytes()
    parent = Parent(gateway, GATEWAY_TLS_CERTIFICATE=str(files[0]), GATEWAY_TLS_KEY=str(files[1]))
    await parent.start()
    try:
        pids = await parent.pids()
        _replace_by_pipe(files[1])
        os.kill(min(pids), signal.SIGKILL)
        for reads in ("to check its settings", "to serve"):
            pipe = await _when_it_reads(files[1])
            if reads == "to serve":
                issue(files, "second")
                parent.process.send_signal(signal.SIGHUP)
                await _until_served(parent.port, "second", 1)  # by the other worker
            else:
                _replace_by_pipe(files[1])
            os.write(pipe, old_key)
            os.close(pipe)
        async with asyncio.timeout(20):
            while not await parent.ready():
                pass
        await _until_served(parent.port, "second", 30)
        assert len(await parent.pids() & pids) == 1
    finally:
        await parent.stop()


def _replace_by_pipe(file):
    pipe = file.with_suffix(".pipe")
    os.mkfifo(pipe)
    pipe.rename(file)


async def _when_it_reads(file):
    """The write end of a pipe, once it is open for reading."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                return os.open(file, os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.005)


async def _until_served(port, name, number):
    """Wait until this many connections in a row get the certificate for `name`."""
    async with asyncio.timeout(20):
        row = 0
        while row < number:
            connection, shown, _ = await _connect(port)
            connection.close()
            row = row + 1 if shown == name else 0


async def test_files_that_are_no_use_are_named_at_start(files):
    issue(files, "first", key_of=ec.generate_private_key(ec.SECP256R1()))
    certificate, key = map(str, files)
    for variables, named in (
        ({"GATEWAY_TLS_CERTIFICATE": certificate, "GATEWAY_TLS_KEY": key}, "GATEWAY_TLS_KEY"),
        ({"GATEWAY_TLS_CERTIFICATE": certificate}, "GATEWAY_TLS_KEY"),
        ({"GATEWAY_TLS_KEY": key}, "GATEWAY_TLS_CERTIFICATE"),
        ({"GATEWAY_TLS_CERTIFICATE": "/nowhere", "GATEWAY_TLS_KEY": key}, "GATEWAY_TLS_CERTIFICATE"),
    ):
        status, lines = await failure_of(GATEWAY_PORT="0", GATEWAY_OPS_PORT="0", **variables)
        assert (status, len(lines)) == (2, 1)
        assert named in lines[0]
