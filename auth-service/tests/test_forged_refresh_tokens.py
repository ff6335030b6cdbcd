"""Forged refresh tokens are refused before the database is queried, even while it is away."""

import base64

import pytest

from .jose import another_spelling
from .service import REFRESHING


def flipped(token: str, bit: int) -> str:
    """The token with one bit of its bytes flipped, in the same encoding."""
    is_hex = all(character in "0123456789abcdef" for character in token)
    raw = bytearray(bytes.fromhex(token) if is_hex else base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[bit // 8] ^= 1 << bit % 8
    return raw.hex() if is_hex else base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("dialect", REFRESHING)
async def test_a_flipped_bit_is_refused_without_the_database(cut_off_service, relay, parties, dialect):
    party = parties[dialect]
    login = await cut_off_service.login(party, cut_off_service.users.add())
    await relay.cut()
    assert (await cut_off_service.refresh(party, login.refresh)).status == 503
    status = 401 if dialect == "doorkeeper" else 400
    length = {"rfc6749": 44, "passport": 44, "cubux": 30}.get(dialect, 32)
    for byte in range(length):
        forged = flipped(login.refresh, byte * 8 + byte % 8)
        assert (await cut_off_service.refresh(party, forged)).error == (status, "invalid_grant"), byte
    await relay.restore()
    assert (await cut_off_service.refresh(party, login.refresh)).status == 200


async def test_a_foreign_client_s_token_is_refused_without_the_database(cut_off_service, relay, parties):
    owner, foreigner = parties["rfc6749"], parties["passport"]
    login = await cut_off_service.login(owner, user := cut_off_service.users.add())
    await cut_off_service.login(foreigner, user)
    await relay.cut()
    assert (await cut_off_service.refresh(foreigner, login.refresh)).error == (400, "invalid_grant")


@pytest.mark.parametrize("dialect", REFRESHING)
async def test_another_spelling_is_refused(service, parties, dialect):
    party = parties[dialect]
    token = (await service.login(party, service.users.add())).refresh
    status = 401 if dialect == "doorkeeper" else 400
    spellings = [token + "=", token + " ", " " + token, token + "0", token[:-1], token[1:], token * 2, token * 500]
    spellings += [token.swapcase(), "a" * len(token), "é" * len(token), "0" * len(token), token + "\n", token + "%00"]
    if dialect in ("rfc6749", "passport"):
        spellings.append(another_spelling(token))
    for spelling in spellings:
        assert (await service.refresh(party, spelling)).error == (status, "invalid_grant"), spelling
    assert (await service.refresh(party, token)).status == 200


async def test_a_number_beyond_the_session_s_is_refused(service, parties):
    """After a restore from a backup, a genuine token may have a counter that the session has not reached yet."""
    party = parties["rfc6749"]
    login = await service.login(party, user := service.users.add())
    ahead = await service.refresh(party, login.refresh)
    await service.rows("UPDATE sessions SET counter = 0 WHERE user_id = $1", user.id)
    assert (await service.refresh(party, ahead.refresh)).error == (400, "invalid_grant")
    assert (await service.refresh(party, login.refresh)).refresh == ahead.refresh
