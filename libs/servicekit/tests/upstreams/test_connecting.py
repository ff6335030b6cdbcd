"""Connections that cannot be opened, the requests that may be retried, and TLS to a replica."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from .stage import FIRST, SECOND, THIRD, Stage, eject, until

# Failing to connect


async def test_who_is_refused_by_one_is_sent_to_the_next(stage: Stage) -> None:
    await stage.serve(THIRD)
    await stage.open(FIRST, SECOND, THIRD)
    clients = await stage.clients(12)
    assert {client.host for client in clients} == {THIRD}


async def test_who_is_refused_by_all_is_told(stage: Stage) -> None:
    await stage.open(FIRST, SECOND)
    client = await stage.answered()
    assert client.refused == "unreachable"
    assert stage.upstream.status()["connections"] == stage.upstream.status()["waiting"] == 0


async def test_one_that_lets_connections_wait_leaves_time_for_the_next(
    stage: Stage, swallowing: Callable[[str], None]
) -> None:
    await stage.serve(SECOND)
    swallowing(FIRST)
    await stage.open(FIRST, SECOND)
    started = asyncio.get_running_loop().time()
    clients = await stage.clients(4)
    assert {client.refused or client.host for client in clients} == {SECOND}
    assert 0.5 <= asyncio.get_running_loop().time() - started < 0.9


async def test_who_gets_no_connection_in_time_is_told(stage: Stage, swallowing: Callable[[str], None]) -> None:
    swallowing(FIRST)
    await stage.open(FIRST, connect_timeout=0.2)
    started = asyncio.get_running_loop().time()
    client = await stage.answered()
    assert client.refused == "unreachable"
    assert asyncio.get_running_loop().time() - started < 0.6


async def test_one_that_closes_at_once_is_as_good_as_one_that_refuses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server,) = await stage.serve(FIRST)
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connect_and_lose(*address: Any, **how: Any) -> Any:
        transport, protocol = await connect(*address, **how)
        await until(lambda: server.open)
        server.peers[0].transport.close()
        await until(transport.is_closing)
        return transport, protocol

    monkeypatch.setattr(loop, "create_connection", connect_and_lose)
    await stage.open(FIRST)
    assert (await stage.answered()).refused == "unreachable"
    assert stage.upstream.status()["connections"] == 0


async def test_retries_are_a_share_of_what_was_asked(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    await stage.through(20)
    assert [stage.upstream.may_retry() for _ in range(15)] == [True] * 14 + [False]


async def test_where_there_is_one_replica_nothing_is_tried_again(stage: Stage) -> None:
    await stage.serve(FIRST)
    await stage.open(FIRST)
    assert not stage.upstream.may_retry()


async def test_what_one_lost_that_is_ejected_or_gone_may_be_tried_again(stage: Stage) -> None:
    await stage.serve(FIRST, SECOND)
    await stage.open(FIRST, SECOND)
    client = await stage.answered(avoid=await stage.replica(SECOND))
    await eject(client.replica)
    assert stage.upstream.may_retry()
    stage.names.hosts = [SECOND]
    await until(lambda: len(stage.upstream.status()["replicas"]) == 1)  # type: ignore[arg-type]
    assert stage.upstream.may_retry()


# TLS


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The certificate of replicas.test, which clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "replicas.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("replicas.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_tls_to_who_can_show_the_name(stage: Stage, certificate: ssl.SSLContext) -> None:
    (server,) = await stage.serve(FIRST, ssl=certificate)
    await stage.open(FIRST, scheme="https")
    one, two = await stage.through(2)
    assert (one.body, two.body) == (b"OK", b"OK")
    assert len(server.peers) == 1
    await stage.upstream.close()
    await until(lambda: not server.open)


async def test_no_tls_with_who_cannot(stage: Stage, certificate: ssl.SSLContext) -> None:
    (server,) = await stage.serve(FIRST, ssl=certificate)
    await stage.open(scheme="https", host=FIRST)
    assert (await stage.answered()).refused == "unreachable"
    assert server.requests == 0


async def test_no_tls_with_who_speaks_none(stage: Stage, certificate: ssl.SSLContext) -> None:
    (server,) = await stage.serve(FIRST)
    await stage.open(FIRST, scheme="https", connect_timeout=0.2)
    assert (await stage.answered()).refused
    assert server.requests == 0
