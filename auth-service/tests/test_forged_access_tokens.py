"""Forged access tokens are refused, whatever they are signed with."""

import asyncio
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from .jose import another_spelling, base64url, decode, encode, public_spellings, server_keys

JWT_DIALECTS = ("rfc6749", "doorkeeper_jwt", "passport", "bongo")
ALGORITHMS = {"rfc6749": "ES256", "passport": "RS256", "bongo": "HS256"}


@pytest.fixture(params=JWT_DIALECTS)
async def genuine(request, service, parties):
    """A token of each JWT dialect in turn; it verifies before and after the attack."""
    token = (await service.login(parties[request.param], service.users.add())).access
    assert await service.verdict(token) == 200
    yield token
    assert await service.verdict(token) == 200


async def issued_long_ago(service, party):
    """Header and claims of this client's token, with an `iat` too old for a key that the service has yet to read."""
    header, claims = decode((await service.login(party, service.users.add())).access)
    return header, claims | {"iat": claims["iat"] - 3600}


async def assert_refused(service, *tokens):
    verdicts = [await service.verdict(token) for token in tokens]
    assert verdicts == [401] * len(tokens)


async def test_another_spelling_of_the_signature_is_refused(service, genuine):
    head, _, signature = genuine.rpartition(".")
    spellings = [genuine + "=", genuine + "==", another_spelling(genuine), f"{head}.{signature[:-1]}", genuine + "A"]
    spellings += [f"{head}.", head, f"{genuine}.", f".{genuine}", f"{genuine}.{signature}", head + "==." + signature]
    await assert_refused(service, *spellings)


async def test_an_unsigned_token_is_refused(service, genuine):
    header, claims = decode(genuine)
    for algorithm in ("none", "None", "nOnE", "", None, 0, ["none"]):
        unsigned = encode(header | {"alg": algorithm}, claims, "none", None)
        await assert_refused(service, unsigned, unsigned + genuine.rpartition(".")[2], unsigned + "AAAA")
    del header["alg"]
    await assert_refused(service, encode(header, claims, "none", None) + "AAAA")


async def test_a_client_s_secret_forges_nothing(service, parties):
    """The holder of the secret can sign something just like a token, but only issued tokens are accepted."""
    party = parties["doorkeeper_jwt"]
    genuine = (await service.login(party, service.users.add())).access
    header, claims = decode(genuine)
    secret = party.secret.encode()
    assert encode(header, claims, "HS512", secret) != genuine  # the same claims with other white space
    jwt.decode(encode(header, claims, "HS512", secret), secret, algorithms=["HS512"])
    await assert_refused(
        service,
        encode(header, claims, "HS512", secret),
        encode(header, claims | {"user": {"id": 1, "email": "admin@example.com"}}, "HS512", secret),
        encode(header, claims | {"jti": "8a0e109d-160f-40ec-b0ad-a43de262ad95"}, "HS512", secret),
        encode(header, {name: value for name, value in claims.items() if name != "jti"}, "HS512", secret),
        *(encode(header, claims | {"jti": jti}, "HS512", secret) for jti in (7, None, "", "é" * 36, {}, "0" * 32)),
    )
    assert await service.verdict(genuine) == 200


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_a_public_key_is_no_secret(service, parties, algorithm):
    kid, private = (await server_keys(service))[algorithm]
    dialect = next(name for name, used in ALGORITHMS.items() if used == algorithm)
    header, claims = await issued_long_ago(service, parties[dialect])
    _, bongo_claims = await issued_long_ago(service, parties["bongo"])
    for spelling, key in public_spellings(private).items():
        for forged_algorithm in ("HS256", "HS512"):
            signer = jwt.algorithms.HMACAlgorithm(getattr(jwt.algorithms.HMACAlgorithm, f"SHA{forged_algorithm[2:]}"))
            for chosen_header in (header, {"typ": "JWT"}, {"kid": kid}):
                for chosen_claims in (claims, bongo_claims):
                    body = encode(chosen_header | {"alg": forged_algorithm}, chosen_claims, "none", None)
                    forged = body + base64url(signer.sign(body[:-1].encode(), key))
                    assert await service.verdict(forged) == 401, spelling


async def test_every_algorithm_has_its_own_keys(service, parties):
    """A valid signature by one key is refused under the name of another key or algorithm."""
    keys = await server_keys(service)
    for dialect, algorithm in ALGORITHMS.items():
        header, claims = await issued_long_ago(service, parties[dialect])
        for signer, (kid, private) in keys.items():
            good = encode(header, claims, signer, private)
            assert await service.verdict(good) == (200 if signer == algorithm else 401)
            if signer != algorithm:
                named = encode(header | {"kid": kid}, claims, signer, private)
                posing = encode(header | {"kid": kid, "alg": signer}, claims, signer, private)
                await assert_refused(service, named, posing, encode(header | {"alg": signer}, claims, signer, private))


async def test_what_the_server_signed_says_what_it_is(service, parties):
    """Tokens that the server's own key signed, but not as an access token of this issuer (RFC 9068 section 4)."""
    kid, private = (await server_keys(service))["ES256"]
    header, claims = decode((await service.login(parties["rfc6749"], service.users.add())).access)

    def signed(header_changes=(), claim_changes=()):
        return encode({**header, **dict(header_changes)}, {**claims, **dict(claim_changes)}, "ES256", private)

    for accepted in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert await service.verdict(signed({"typ": accepted})) == 200
    untyped = encode({"alg": "ES256", "kid": kid}, claims, "ES256", private)
    await assert_refused(service, untyped, *(signed({"typ": typ}) for typ in ("JWT", "refresh+jwt", "", None, 7)))
    await assert_refused(
        service, *(signed({}, {"iss": iss}) for iss in (claims["iss"] + "/", [claims["iss"]], "", None))
    )
    audiences = ("internal", "other", "", None, ["internal"], [claims["aud"], "internal"])
    await assert_refused(service, *(signed({}, {"aud": audience}) for audience in audiences))
    await assert_refused(service, *(signed({}, {"jti": jti}) for jti in ("", None, 7, claims["jti"][:-1], "f" * 80)))
    await assert_refused(service, *(signed({}, {"scope": wrong}) for wrong in (None, ["read"], 7)))
    await assert_refused(
        service, signed({}, {"exp": int(time.time()) - 1}), signed({"crit": ["exp"]}), signed({"b64": True})
    )


async def test_a_name_given_twice_is_refused(service, parties):
    kid, private = (await server_keys(service))["ES256"]
    header, claims = (
        str(part).replace("'", '"')
        for part in decode((await service.login(parties["rfc6749"], service.users.add())).access)
    )
    assert await service.verdict(encode(header, claims, "ES256", private)) == 200
    await assert_refused(
        service,
        encode(header, claims.replace('"sub"', '"sub": "1", "sub"'), "ES256", private),
        encode(header.replace('"alg"', '"alg": "none", "alg"'), claims, "ES256", private),
        encode(header.replace('"kid"', f'"kid": "{kid}", "kid"'), claims, "ES256", private),
    )


async def test_a_dialect_does_not_speak_for_another_s_sessions(service, parties):
    keys = await server_keys(service)
    claims = {
        dialect: decode((await service.login(parties[dialect], service.users.add())).access)[1]
        for dialect in ALGORITHMS
    }
    for dialect, algorithm in ALGORITHMS.items():
        header, own = decode((await service.login(parties[dialect], service.users.add())).access)
        for other in ALGORITHMS.keys() - {dialect}:
            stolen = own | {"jti": claims[other]["jti"]}
            assert await service.verdict(encode(header, stolen, algorithm, keys[algorithm][1])) == 401


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "' OR 1=1 --", "a\0b", "\ud800", "x" * 4000, "", 7, None, ["a"], {}]
)
async def test_a_kid_only_chooses_among_the_server_s_own_keys(service, parties, kid):
    attacker = ec.generate_private_key(ec.SECP256R1())
    header, claims = await issued_long_ago(service, parties["rfc6749"])
    await assert_refused(service, encode(header | {"kid": kid}, claims, "ES256", attacker))


async def test_a_token_that_is_far_too_long_is_refused(service, parties):
    attacker = ec.generate_private_key(ec.SECP256R1())
    header, claims = decode((await service.login(parties["rfc6749"], service.users.add())).access)
    for length, statuses in ((20_000, (401,)), (100_000, (413,))):
        token = encode(header | {"kid": "x" * length}, claims, "ES256", attacker)
        reply = await service.request("POST", "/verify-token", json={"token": token})
        assert reply.status in statuses
        assert b"xxxx" not in reply.body


async def test_no_key_is_fetched_from_where_a_token_says(service, parties):
    connections = []

    async def connected(_reader, writer):
        connections.append(writer)
        writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/jwks.json"
    attacker = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(attacker.public_key(), as_dict=True)
    header, claims = await issued_long_ago(service, parties["rfc6749"])
    for pointer in (
        {"jku": url},
        {"x5u": url},
        {"jwk": jwk},
        {"x5c": [base64url(b"certificate")]},
        {"kid": url, "jku": url},
    ):
        await assert_refused(service, encode(header | pointer, claims, "ES256", attacker))
    assert connections == []
    listener.close()


async def test_kinds_of_tokens_do_not_stand_in_for_each_other(service, party, parties):
    login = await service.login(party, service.users.add())
    internal = (await service.verify(login.access)).json["internal_token"]
    await assert_refused(service, internal)
    for wrong in (login.access, internal):
        error = (401, "invalid_grant") if party.dialect == "doorkeeper" else (400, "invalid_grant")
        if party.dialect != "bongo":
            assert (await service.refresh(party, wrong)).error == error
            await assert_refused(service, login.refresh)
    for wrong in (login.access, *([login.refresh] if party.dialect != "bongo" else [])):
        reply = await service.request("GET", "/api/v1/sessions", headers={"Authorization": f"Bearer {wrong}"})
        assert reply.status == 401


async def test_a_token_s_claims_cannot_be_changed(service, parties):
    header, claims = decode((await service.login(parties["passport"], service.users.add())).access)
    token = (await service.login(parties["passport"], service.users.add())).access
    signature = token.rpartition(".")[2]
    for change in ({"aud": "2"}, {"sub": "1"}, {"exp": claims["exp"] + 1}, {"scopes": ["admin"]}, {}):
        await assert_refused(service, encode(header, claims | change, "none", None) + signature)
