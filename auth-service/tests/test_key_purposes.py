"""A key has one purpose: access tokens or internal tokens. The previous version has one ES256 key for both.

During an update both versions run over the same database, and each accepts the tokens that the other has signed.
"""

import asyncpg
import pytest

from auth_service.backends import key_objects
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.backends.signing_keys import ACCESS, INTERNAL

from .jose import decode, encode, server_keys
from .serving import eventually

pytestmark = pytest.mark.usefixtures("eager_upkeep")

# The previous version's statements for activating and creating a key.
# It runs the two updates in one transaction, so that there always is an active key.
ACTIVATE_BEFORE = """
    DO $$ BEGIN
        UPDATE signing_keys SET status = 'retiring', gone_at = now() WHERE algorithm = 'ES256' AND status = 'active';
        UPDATE signing_keys SET status = 'active' WHERE kid = 'theirs';
    END $$
"""
INSERT_BEFORE = """
    INSERT INTO signing_keys (kid, algorithm, status, private_ciphertext, activates_at)
    VALUES ($1, 'ES256', 'pending', $2, now() + interval '1 hour')
"""


async def tokens_of(service, parties):
    """A new access token, and the internal token in its verdict."""
    access = (await service.login(parties["rfc6749"], service.users.add())).access
    return access, (await service.verify(access)).json["internal_token"]


async def accepts_internal(service, token):
    return (await service.request("GET", "/api/v1/sessions", headers={"Authorization": f"Bearer {token}"})).status


def signed_again(token, key):
    kid, private = key
    header, claims = decode(token)
    return encode(header | {"kid": kid}, claims, "ES256", private)


async def purposes(service):
    """The purpose of each EC key in the JWKS, by `kid`."""
    keys = (await service.request("GET", "/.well-known/jwks.json")).json["keys"]
    return {key["kid"]: key.get("parley_purpose") for key in keys if key["kty"] == "EC"}


async def test_a_token_verifies_under_a_key_of_its_own_purpose_alone(service, parties):
    access, internal = await tokens_of(service, parties)
    keys = {purpose: (await server_keys(service, purpose))["ES256"] for purpose in (ACCESS, INTERNAL)}
    assert await service.verdict(signed_again(access, keys[ACCESS])) == 200
    assert await service.verdict(signed_again(access, keys[INTERNAL])) == 401
    assert await accepts_internal(service, signed_again(internal, keys[INTERNAL])) == 200
    assert await accepts_internal(service, signed_again(internal, keys[ACCESS])) == 401


@pytest.fixture
async def updated(database_url, start):
    """The first replica of this version over a database that the previous version has used."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("DELETE FROM signing_keys WHERE purpose = 'internal'")
    await connection.close()
    return await start()


async def test_after_an_update_the_access_key_serves_both_purposes_until_nobody_needs_that(updated, parties):
    access, early = await tokens_of(updated, parties)
    old = decode(access)[0]["kid"]
    assert decode(early)[0]["kid"] == old
    seen = await purposes(updated)
    [new] = seen.keys() - {old}
    assert seen == {old: None, new: "internal"}

    await updated.rows("UPDATE signing_keys SET activates_at = now() WHERE kid = $1", new)
    late = await eventually(lambda: tokens_of(updated, parties), lambda made: decode(made[1])[0]["kid"] == new)
    assert decode(late[0])[0]["kid"] == old
    assert [await accepts_internal(updated, token) for token in (early, late[1])] == [200, 200]

    [row] = await updated.rows(
        "SELECT exclusive_from - now() AS rest FROM signing_keys WHERE exclusive_from IS NOT NULL"
    )
    assert 23 < row["rest"].total_seconds() / 3600 < 24
    await updated.rows("UPDATE signing_keys SET exclusive_from = now() WHERE kid = $1", new)
    assert await eventually(lambda: purposes(updated), lambda seen: seen[old] == "access") == {
        old: "access",
        new: "internal",
    }
    assert [await accepts_internal(updated, token) for token in (early, late[1])] == [401, 200]
    assert [await updated.verdict(token) for token in (access, late[0])] == [200, 200]


async def test_keys_may_be_rotated_before_the_first_start(database_url, start, parties):
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE signing_keys SET status = CASE purpose WHEN 'access' THEN 'pending' ELSE 'published' END"
    )
    await connection.execute("UPDATE signing_keys SET activates_at = now() + interval '1 hour'")
    await connection.close()
    service = await start()
    _, internal = await tokens_of(service, parties)
    assert await accepts_internal(service, internal) == 200


async def test_keys_that_the_previous_version_makes_and_retires_are_access_keys(own_service, parties):
    _, internal = await tokens_of(own_service, parties)
    sealed = Keyring(parse_master_keys(own_service.master_keys)).encrypt(key_objects.generate("ES256"), "theirs")
    await own_service.rows(INSERT_BEFORE, "theirs", sealed)
    await own_service.rows(ACTIVATE_BEFORE)
    made = await eventually(lambda: tokens_of(own_service, parties), lambda made: decode(made[0])[0]["kid"] == "theirs")
    assert decode(made[1])[0]["kid"] == decode(internal)[0]["kid"]
    assert await own_service.verdict(made[0]) == 200
    assert await accepts_internal(own_service, made[1]) == 200
    active = await own_service.rows("SELECT kid FROM signing_keys WHERE algorithm = 'ES256' AND status = 'active'")
    assert [row["kid"] for row in active] == ["theirs"]


async def test_without_an_internal_key_the_access_key_signs_internal_tokens(own_service, parties):
    """An operator may remove the first internal key before it signs: no request may fail for that."""
    await own_service.rows("DELETE FROM signing_keys WHERE purpose = 'internal'")

    async def kids():
        access, internal = await tokens_of(own_service, parties)
        assert await accepts_internal(own_service, internal) == 200
        return decode(access)[0]["kid"], decode(internal)[0]["kid"]

    await eventually(kids, lambda found: found[0] == found[1])
    jwks = (await own_service.request("GET", "/.well-known/jwks.json")).json["keys"]
    assert [key.get("parley_purpose") for key in jwks if key["alg"] == "ES256"] == [None]
