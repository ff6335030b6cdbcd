"""Signing keys go from pending to active, retiring and gone without any valid token being refused."""

import asyncio
import contextlib
from datetime import timedelta

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from auth_service.app import SIGNED_DIALECTS
from auth_service.backends import upkeep
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.signing_keys import ACCESS, INTERNAL, SigningKeys
from auth_service.core.errors import UnavailableError
from servicekit import known_keys
from servicekit.postgres import connect

from .jose import decode, encode
from .serving import eventually

SIGNED = {"ES256": "rfc6749", "RS256": "passport", "HS256": "bongo"}
SIGNING = "SELECT algorithm, exclusive_from FROM signing_keys WHERE status IN ('active', 'signing')"


pytestmark = pytest.mark.usefixtures("eager_upkeep")


@contextlib.asynccontextmanager
async def keys_of(service):
    """The keys, accessed as the command line does."""
    async with connect(service.database_url, pool_size=1, unavailable=UnavailableError) as database:
        yield SigningKeys(database, Keyring(parse_master_keys(service.master_keys)), SIGNED_DIALECTS)


async def published(service):
    keys = (await service.request("GET", "/.well-known/jwks.json")).json["keys"]
    return {key["kid"]: key for key in keys}


async def signer(service, parties, algorithm):
    """A new token, and the kid of the key that signed it."""
    token = (await service.login(parties[SIGNED[algorithm]], service.users.add())).access
    return token, decode(token)[0].get("kid")


async def test_a_key_lives_from_pending_to_gone_and_nobody_is_turned_away(start, own_service, parties):
    service, cold = own_service, await start()
    early, old = await signer(service, parties, "ES256")
    before = await published(service)
    async with keys_of(service) as keys:
        new = await keys.rotate("ES256", timedelta(hours=1))
    seen = await eventually(lambda: published(service), lambda keys: len(keys) == len(before) + 1)
    assert seen.keys() == before.keys() | {new}
    assert (await signer(service, parties, "ES256"))[1] == old

    await service.rows("UPDATE signing_keys SET activates_at = now() WHERE kid = $1", new)
    late = await eventually(lambda: signer(service, parties, "ES256"), lambda token: token[1] != old)
    assert late[1] == new
    assert (await published(service)).keys() == before.keys() | {new}
    for replica in (service, cold):
        assert [await replica.verdict(token) for token in (early, late[0])] == [200, 200]
    rows = await service.rows("SELECT kid, status, gone_at - now() AS rest FROM signing_keys")
    left = {row["kid"]: (row["status"], row["rest"]) for row in rows}
    assert left[new] == ("active", None)
    assert left[old][0] == "retiring"
    assert left[old][1] > timedelta(seconds=900)  # the longest lifetime of a token that it signed

    await service.rows("UPDATE signing_keys SET gone_at = now() WHERE kid = $1", old)
    seen = await eventually(lambda: published(service), lambda keys: len(keys) == len(before))
    assert seen.keys() == before.keys() - {old} | {new}
    fresh = await start()
    assert [await fresh.verdict(token) for token in (early, late[0])] == [401, 200]


@pytest.mark.parametrize("algorithm", ["RS256", "HS256"])
async def test_a_retiring_key_verifies(start, own_service, parties, algorithm):
    early, _ = await signer(own_service, parties, algorithm)
    async with keys_of(own_service) as keys:
        await keys.rotate(algorithm, timedelta(0))
        await keys.advance()
    fresh = await start()
    late, _ = await signer(fresh, parties, algorithm)
    assert [await fresh.verdict(token) for token in (early, late)] == [200, 200]
    statuses = await fresh.rows("SELECT status FROM signing_keys WHERE algorithm = $1 ORDER BY created_at", algorithm)
    assert [row["status"] for row in statuses] == ["retiring", "active"]


@pytest.mark.parametrize("algorithm", SIGNED)
async def test_a_removed_key_verifies_nothing_though_its_tokens_were_seen_before(
    start, own_service, parties, algorithm
):
    replicas = [own_service, await start()]
    early, _ = await signer(own_service, parties, algorithm)
    assert [await replica.verdict(early) for replica in replicas] == [200, 200]
    of_access = "SELECT kid FROM signing_keys WHERE algorithm = $1 AND purpose = 'access'"
    [old] = await own_service.rows(of_access, algorithm)
    async with keys_of(own_service) as keys:
        assert not await keys.remove(old["kid"])
        new = await keys.rotate(algorithm, timedelta(0))
        await eventually(lambda: keys.have_begun([new]))  # a replica may be about to activate it
        assert await keys.remove(old["kid"])
    for replica in replicas:
        await eventually(lambda replica=replica: replica.verdict(early), lambda verdict: verdict == 401)
        assert await replica.verdict((await signer(replica, parties, algorithm))[0]) == 200


@pytest.fixture
async def unaware(start, monkeypatch):
    """A service that read its keys when it started, and reads them again only when it has to."""
    for name in ("RELOAD_KEYS_EVERY", "ADVANCE_KEYS_EVERY"):
        monkeypatch.setattr(upkeep, name, 60.0)
    return await start()


async def sign_with_new_keys(service):
    """Let the new keys sign before any replica knows them, which `keys rotate` never does."""
    async with keys_of(service) as keys:
        for algorithm in SIGNED:
            await keys.rotate(algorithm, timedelta(0))
        await keys.advance()


@pytest.mark.parametrize("algorithm", SIGNED)
async def test_a_key_that_was_not_heard_of_is_sought(start, unaware, parties, algorithm):
    assert await unaware.verdict((await signer(unaware, parties, algorithm))[0]) == 200
    await sign_with_new_keys(unaware)
    token, _ = await signer(await start(), parties, algorithm)
    assert await unaware.verdict(token) == 200


async def test_a_key_that_cannot_be_sought_yet_refuses_nobody(start, unaware, parties, log, monkeypatch):
    """Forged tokens use up the one read per second. Tokens that are certainly forged are still refused."""
    header, claims = decode((await signer(unaware, parties, "ES256"))[0])
    attacker = ec.generate_private_key(ec.SECP256R1())

    async def forged(**changes):
        return await unaware.verify(encode(header | {"kid": "forged"}, claims | changes, "ES256", attacker))

    assert (await forged()).status == 401
    monkeypatch.setattr(known_keys, "SEEK_INTERVAL", 600.0)
    await sign_with_new_keys(unaware)
    fresh = await start()
    good = [(await signer(fresh, parties, algorithm))[0] for algorithm in SIGNED]
    logged = log.tell()
    undecided = await forged()
    assert undecided.status == 503
    assert undecided.headers["Retry-After"] == "1"
    assert [await unaware.verdict(token) for token in good] == [503] * 3
    assert (await forged(iat=claims["iat"] - 3600)).status == 401
    assert '"event": "unavailable"' not in log.getvalue()[logged:]
    monkeypatch.setattr(known_keys, "SEEK_INTERVAL", 0.0)
    assert [await unaware.verdict(token) for token in good] == [200] * 3
    assert (await forged()).status == 401


async def test_a_replica_that_stood_still_over_a_rotation_harms_nobody(start_process, parties):
    (process, frozen), (_, other) = await start_process(), await start_process()
    early = [(await signer(frozen, parties, algorithm))[0] for algorithm in SIGNED]
    former = decode(early[0])[0]["kid"]
    with process.stopped():
        await sign_with_new_keys(other)
        await eventually(lambda: signer(other, parties, "ES256"), lambda signed: signed[1] != former)
        late = [(await signer(other, parties, algorithm))[0] for algorithm in SIGNED]
    # Right after it resumes, it answers 503 to requests that may have been waiting.
    assert {await frozen.verdict(token) for token in (*early, *late)} <= {200, 503}
    await eventually(lambda: frozen.verdict(early[0]), lambda verdict: verdict == 200)
    assert {await replica.verdict(token) for token in (*early, *late) for replica in (frozen, other)} == {200}
    thawed = [(await signer(frozen, parties, algorithm))[0] for algorithm in SIGNED]
    assert {await replica.verdict(token) for token in thawed for replica in (frozen, other)} == {200}


async def test_one_pending_key_at_a_time(own_service):
    async with keys_of(own_service) as keys:
        assert await keys.rotate("RS256", timedelta(hours=1)) is not None
        assert await keys.rotate("RS256", timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("purpose", "statuses"), [(ACCESS, ("active", "pending")), (INTERNAL, ("signing", "published"))]
)
async def test_the_database_holds_no_two_active_keys_of_an_algorithm_and_a_purpose(own_service, purpose, statuses):
    copy = """
        INSERT INTO signing_keys
        SELECT 'copy', algorithm, status, private_ciphertext, now(), now(), NULL, purpose FROM signing_keys
    """
    which = "WHERE algorithm = 'ES256' AND purpose = $1"
    for status in statuses:
        later = "activates_at = now() + interval '1 hour'"
        await own_service.rows(f"UPDATE signing_keys SET status = $2, {later} {which}", purpose, status)
        with pytest.raises(asyncpg.UniqueViolationError):
            await own_service.rows(copy + which, purpose)


async def test_replicas_that_start_or_activate_at_once_agree(own_service, start, parties):
    await own_service.rows("DELETE FROM signing_keys")
    replicas = await asyncio.gather(*(start() for _ in range(3)))
    rows = await own_service.rows(SIGNING)
    assert sorted(row["algorithm"] for row in rows) == ["ES256", "ES256", "HS256", "RS256"]
    assert {row["exclusive_from"] for row in rows} == {None}
    tokens = [(await signer(replica, parties, algorithm))[0] for replica in replicas for algorithm in SIGNED]
    assert {await replica.verdict(token) for token in tokens for replica in replicas} == {200}
    async with keys_of(own_service) as keys:
        for algorithm in SIGNED:
            await keys.rotate(algorithm, timedelta(0))
        await asyncio.gather(*(keys.advance() for _ in range(3)))
    rows = await own_service.rows(SIGNING)
    assert sorted(row["algorithm"] for row in rows) == ["ES256", "ES256", "HS256", "RS256"]


async def test_only_public_parts_are_published(service):
    reply = await service.request("GET", "/.well-known/jwks.json")
    assert reply.headers["Cache-Control"] == "public, max-age=60"
    for key in reply.json["keys"]:
        members = {"EC": {"crv", "x", "y"}, "RSA": {"n", "e"}}[key["kty"]]
        assert key.keys() == {"kty", "kid", "use", "alg", "parley_purpose"} | members
        assert (key["use"], key["alg"]) == ("sig", {"EC": "ES256", "RSA": "RS256"}[key["kty"]])
    published = sorted((key["kty"], key["parley_purpose"]) for key in reply.json["keys"])
    assert published == [("EC", "access"), ("EC", "internal"), ("RSA", "access")]


async def test_the_metadata_names_what_there_is(service):
    metadata = (await service.request("GET", "/.well-known/oauth-authorization-server")).json
    assert metadata["issuer"] == "https://parley.example"
    assert metadata["grant_types_supported"] == ["client_credentials", "password", "refresh_token"]
    for name in ("token", "revocation", "introspection"):
        path = metadata[f"{name}_endpoint"].removeprefix(metadata["issuer"])
        assert (await service.request("POST", path)).status in (400, 401)
    assert (await service.request("GET", metadata["jwks_uri"].removeprefix(metadata["issuer"]))).status == 200


async def test_another_master_key_opens_nothing_and_a_new_one_beside_it_everything(start, own_service, parties):
    login = await own_service.login(parties["doorkeeper_jwt"], own_service.users.add())
    other = "m2:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    both = await start(master_keys=f"{other},{own_service.master_keys}")
    assert await both.verdict(login.access) == 200
    refreshed = await both.refresh(parties["doorkeeper_jwt"], login.refresh)
    assert refreshed.status == 200
    assert (await own_service.refresh(parties["doorkeeper_jwt"], refreshed.refresh)).error == (400, "invalid_grant")
    with pytest.raises(SystemExit, match="AUTH_MASTER_KEYS: no master key"):
        await start(master_keys=other)
