"""Ten thousand tokens of each format have the right form, no duplicates and no biased bits."""

import re
import secrets
import time
import uuid

import pytest

from auth_service.app import DIALECTS
from auth_service.core.tokens.client_signed import new_token_id
from auth_service.core.tokens.opaque import OpaqueFormat
from auth_service.core.tokens.refresh import RefreshTokens
from auth_service.core.tokens.signed import token_id_of_session

NUMBER = 10_000
# Six standard deviations of the count of a fair bit: for 2,000 bits, one run in a million fails.
TOLERANCE = 300


def assert_random(raws: list[bytes], fixed_bits: int = 0) -> None:
    """Each bit is set in half of them, except the bits that the format fixes."""
    assert len(set(raws)) == len(raws) == NUMBER
    numbers = [int.from_bytes(raw, "big") for raw in raws]
    leaning = []
    for bit in range(len(raws[0]) * 8):
        mask = 1 << bit
        ones = sum(1 for number in numbers if number & mask)
        if abs(ones - NUMBER / 2) > TOLERANCE:
            leaning.append(bit)
    assert len(leaning) == fixed_bits, leaning


@pytest.mark.parametrize(("dialect", "digits"), [("doorkeeper", 64), ("cubux", 40)])
def test_opaque_access_tokens(dialect, digits):
    form = DIALECTS[dialect].formats.access_token
    assert isinstance(form, OpaqueFormat)
    expires_at = time.time() + 7200
    tokens = [form.draft(expires_at).text for _ in range(NUMBER)]
    assert all(re.fullmatch(rf"[0-9a-f]{{{digits}}}", token) for token in tokens)
    assert_random([bytes.fromhex(token) for token in tokens])


@pytest.mark.parametrize(
    ("dialect", "form"),
    [
        ("doorkeeper", r"[0-9a-f]{64}"),
        ("doorkeeper_jwt", r"[0-9a-f]{64}"),
        ("cubux", r"[A-Za-z0-9_-]{40}"),
        ("passport", r"[A-Za-z0-9_-]{59}"),
        ("rfc6749", r"[A-Za-z0-9_-]{59}"),
    ],
)
def test_refresh_tokens_of_sessions_and_counters_in_a_row(dialect, form):
    """The tokens look random although their contents do not: sessions 0 to 99, counters 0 to 99."""
    encoding = DIALECTS[dialect].formats.refresh_token
    derive = RefreshTokens([secrets.token_bytes(32)]).derive
    tokens = [derive(number // 100, number % 100, "client", encoding) for number in range(NUMBER)]
    assert all(re.fullmatch(form, token) for token in tokens)
    assert_random([encoding.read(token) for token in tokens])


def test_uuids_of_client_signed_tokens():
    day = int(time.time() // 86400)
    texts = [str(new_token_id(day)) for _ in range(NUMBER)]
    assert {uuid.UUID(text).version for text in texts} == {4}
    assert all(str(uuid.UUID(text)) == text for text in texts)
    assert_random([uuid.UUID(text).bytes for text in texts], fixed_bits=6)


def test_token_ids_of_signed_tokens():
    token_ids = [token_id_of_session(7) for _ in range(NUMBER)]
    assert all(re.fullmatch(r"[0-9a-f]{80}", token_id) for token_id in token_ids)
    assert_random([bytes.fromhex(token_id[16:]) for token_id in token_ids])
