"""Client authentication: HTTP Basic or the body, never both, and a refusal never gives the reason."""

import asyncio
import base64
import secrets
from urllib.parse import quote_plus

import pytest

from auth_service.backends.clients import ClientExistsError, PostgresClients
from auth_service.backends.keyring import Keyring, parse_master_keys
from auth_service.core.errors import UnavailableError
from servicekit.postgres import connect

from .service import Party

TOKEN = "/oauth/token"


def basic(client_id: str, secret: str) -> dict[str, str]:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


async def rotate_secret(service, party):
    """Rotate the secret as `clients rotate-secret` does."""
    new = secrets.token_hex(32)
    async with connect(service.database_url, pool_size=1, unavailable=UnavailableError) as database:
        clients = PostgresClients(database, Keyring(parse_master_keys(service.master_keys)))
        assert await clients.rotate_secret(await clients.fresh(party.client_id), new)
    return Party(party.client_id, new, party.dialect)


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper_jwt", "doorkeeper", "cubux", "passport"])
async def test_a_new_secret_counts_at_once_where_the_old_one_was_just_known(replicas, dialect):
    old = await replicas[0].register(dialect)
    user = replicas[0].users.add()
    logins = [await replica.login(old, user) for replica in replicas]
    new = await rotate_secret(replicas[0], old)
    for replica, login in zip(replicas, logins, strict=True):
        refused = [
            await replica.login(old, user, password="wrong"),
            await replica.login(old, user),
            await replica.refresh(old, login.refresh),
            await replica.request("POST", "/oauth/introspect", json={**old.credentials, "token": login.access}),
        ]
        assert [reply.error for reply in refused] == [(401, "invalid_client")] * 4
        assert await replica.verdict(login.access) == 200
        assert (await replica.refresh(new, login.refresh)).status == 200
        assert await replica.verdict((await replica.login(new, user)).access) == 200


async def test_a_secret_may_hold_any_character(own_service):
    secret = "a:b%c+d e&é=\u2028"
    await own_service.register("rfc6749")
    changed = "client_id = $1, secret_digest = sha256(convert_to($2, 'UTF8'))"
    await own_service.rows(f"UPDATE clients SET {changed} WHERE client_id LIKE 'client-%'", "odd id:%", secret)
    form = {"grant_type": "client_credentials"}
    reply = await own_service.request("POST", TOKEN, data=form, headers=basic("odd id:%", secret))
    assert reply.status == 200
    in_body = {"client_id": "odd id:%", "client_secret": secret}
    assert (await own_service.request("POST", TOKEN, data={**form, **in_body})).status == 200
    assert (await own_service.request("POST", TOKEN, json={**form, **in_body})).status == 200


@pytest.mark.parametrize("value", ["Zm9v", "Og==", "OnNlY3JldA==", "%%%", "Zm9vOmJhcg=", "", "/////w==", "JWZmOmE="])
async def test_basic_credentials_that_cannot_be_read_are_no_client(service, value):
    """Credentials without a colon, without an id, not in base64, or not in UTF-8 are refused."""
    form = {"grant_type": "client_credentials"}
    reply = await service.request("POST", TOKEN, data=form, headers={"Authorization": f"Basic {value}"})
    assert reply.error == (401, "invalid_client")
    assert reply.headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_unknown_client_and_wrong_secret_are_the_same(service, parties):
    """An unknown client gets errors in the words of RFC 6749."""
    form = {"grant_type": "client_credentials"}
    pairs = [(parties["rfc6749"].client_id, "wrong"), (parties["rfc6749"].client_id, ""), ("unknown", "wrong")]
    replies = [await service.request("POST", TOKEN, data=form, headers=basic(*pair)) for pair in pairs]
    replies += [
        await service.request("POST", TOKEN, data={**form, "client_id": client_id, "client_secret": secret})
        for client_id, secret in pairs
    ]
    assert {(reply.status, reply.body, reply.headers["WWW-Authenticate"]) for reply in replies} == {
        (401, replies[0].body, 'Basic realm="parley", charset="UTF-8"')
    }
    assert replies[0].json["error"] == "invalid_client"


async def test_a_client_authenticates_in_one_way(service, parties):
    party, form = parties["rfc6749"], {"grant_type": "client_credentials"}
    header = basic(party.client_id, party.secret)
    assert (await service.request("POST", TOKEN, data=form, headers=header)).status == 200
    same_id = {**form, "client_id": party.client_id}
    assert (await service.request("POST", TOKEN, data=same_id, headers=header)).status == 200
    for wrong in ({**form, **party.credentials}, {**form, "client_id": parties["passport"].client_id}):
        assert (await service.request("POST", TOKEN, data=wrong, headers=header)).error == (400, "invalid_request")
    twice = [*header.items(), *header.items()]
    assert (await service.request("POST", TOKEN, data=form, headers=twice)).error == (400, "invalid_request")


async def test_an_old_bearer_token_beside_a_refresh_is_passed_over(service, parties):
    party = parties["passport"]
    login = await service.login(party, service.users.add())
    headers = {"Authorization": f"Bearer {login.access}"}
    assert (await service.refresh(party, login.refresh, headers)).status == 200


async def test_a_secret_is_needed_but_where_the_registration_says_otherwise(service, parties):
    user = service.users.add()
    cubux = parties["cubux"]
    bare = Party(cubux.client_id, None, "cubux")
    login = await service.login(bare, user)
    assert login.status == 200
    assert (await service.login(Party(cubux.client_id, "wrong", "cubux"), user)).error == (401, "invalid_client")
    assert (await service.refresh(bare, login.refresh)).error == (401, "invalid_client")
    assert (await service.token(bare, "client_credentials")).error == (401, "invalid_client")
    for dialect in ("rfc6749", "doorkeeper_jwt", "passport"):
        reply = await service.login(Party(parties[dialect].client_id, None, dialect), user)
        assert reply.error == (401, "invalid_client")


async def test_a_public_client_has_no_secret_and_acts_for_nobody_but_users(service):
    public = await service.register("rfc6749", public=True)
    user = service.users.add()
    assert (await service.login(public, user)).status == 200
    posing = Party(public.client_id, "guess", "rfc6749")
    assert (await service.login(posing, user)).error == (401, "invalid_client")
    assert (await service.token(public, "client_credentials")).error == (400, "unauthorized_client")
    introspection = {"client_id": public.client_id, "token": "x"}
    assert (await service.request("POST", "/oauth/introspect", json=introspection)).error == (401, "invalid_client")


async def test_no_default_client_no_answer(service):
    reply = await service.request("POST", "/oauth2/token", json={"grant_type": "password"})
    assert reply.error == (401, "invalid_client")


async def test_registering_at_once_registers_once(own_service):
    registrations = (own_service.register("doorkeeper", public=True, default_for="/oauth2/token") for _ in range(4))
    outcomes = await asyncio.gather(*registrations, return_exceptions=True)
    refused = [str(outcome) for outcome in outcomes if isinstance(outcome, ClientExistsError)]
    assert refused == ["a client is the default for this path already"] * 3
