"""Tokens are parsed strictly before a signature is verified, and a signature is verified under one algorithm only."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from servicekit import jws

KEY = b"k" * 64


def base64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def written(header, claims, signature=b"signature"):
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return ".".join([*(base64url(part) for part in parts), base64url(signature)])


GOOD = written({"alg": "HS256"}, {"sub": "1"})


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        GOOD + "=",
        GOOD + ".",
        GOOD + "\n",
        " " + GOOD,
        GOOD.replace(".", "=.", 1),
        GOOD[:-1] + "\xe9",
        GOOD.rpartition(".")[0] + ".AB",  # decodes to the same bytes as AA
        GOOD.rpartition(".")[0] + ".A",
        written(b"[]", {}),
        written(b"\xff", {}),
        written(b'{"alg": "HS256", "alg": "none"}', {}),
        written({"alg": "HS256"}, b'{"sub": "1", "sub": "2"}'),
        written({"alg": "HS256"}, b'{"exp": NaN}'),
        written({"alg": "HS256"}, b'{"exp": 1e999}'),
        written({"alg": "HS256"}, b"[" * 3000),
        written({"alg": "HS256"}, {"sub": "\0"}),
        written({"alg": "HS256"}, {"sub": "x" * 8192}),
    ],
)
def test_no_other_form_is_read(token):
    assert jws.unverified(GOOD) == ({"alg": "HS256"}, {"sub": "1"})
    with pytest.raises(jws.InvalidTokenError):
        jws.unverified(token)


def test_a_signature_counts_under_one_algorithm_and_key():
    token = jwt.encode({"sub": "1"}, KEY, algorithm="HS512")
    header, _ = jws.unverified(token)
    jws.verify_signature(token, KEY, "HS512", header)
    for key, algorithm in ((KEY, "HS256"), (KEY[:-1] + b"x", "HS512")):
        with pytest.raises(jws.InvalidTokenError):
            jws.verify_signature(token, key, algorithm, header)


@pytest.mark.parametrize("extension", [{"crit": ["exp"]}, {"crit": []}, {"b64": True}, {"b64": False}])
def test_no_extension_is_understood(extension):
    header = {"alg": "HS512", **extension}
    signed = written(header, {"sub": "1"}).rpartition(".")[0]
    token = f"{signed}.{base64url(jwt.get_algorithm_by_name('HS512').sign(signed.encode(), KEY))}"
    with pytest.raises(jws.InvalidTokenError):
        jws.verify_signature(token, KEY, "HS512", header)


def test_a_public_key_checks_no_hmac():
    private = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({"sub": "1"}, private, algorithm="ES256")
    jws.verify_signature(token, private.public_key(), "ES256", {"alg": "ES256"})
    for header in ({"alg": "HS256"}, {"alg": "none"}, {"alg": None}, {}):
        with pytest.raises(jws.InvalidTokenError):
            jws.verify_signature(token, private.public_key(), "ES256", header)


@pytest.mark.parametrize(
    ("typ", "media_type"),
    [("at+jwt", "at+jwt"), ("AT+JWT", "at+jwt"), ("application/at+jwt", "at+jwt"), ("JWT", "jwt"), (None, ""), (7, "")],
)
def test_the_type_is_compared_as_a_media_type(typ, media_type):
    assert jws.media_type({"typ": typ}) == media_type


def test_claims_have_their_types():
    assert jws.integer({"exp": 7}, "exp") == 7
    assert jws.string({"sub": "1"}, "sub") == "1"
    for value in ("7", 7.0, True, -1, 10**30, None, [7]):
        with pytest.raises(jws.InvalidTokenError):
            jws.integer({"exp": value}, "exp")
    for value in ("", 7, None, ["1"]):
        with pytest.raises(jws.InvalidTokenError):
            jws.string({"sub": value}, "sub")
