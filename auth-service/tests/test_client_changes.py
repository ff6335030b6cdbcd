"""Registrations are changed and removed while replicas still have them cached."""

import pytest

from auth_service.backends.dead_sessions import DeadSessions
from auth_service.core.errors import UnavailableError
from servicekit.postgres import connect

from .service import Party


@pytest.fixture
async def both(own_service, start):
    """Two replicas over this test's database."""
    return [own_service, await start()]


async def replies(both, party, grant_type, **parameters):
    return [await replica.token(party, grant_type, **parameters) for replica in both]


async def test_what_is_not_given_stays(command):
    before = (await command("clients", "show", "web", "--json")).json
    changed = await command("clients", "update", "web", "--idle-lifetime", "600", "--json")
    assert changed.json == before | {"idle_lifetime": 600}
    lists = ("--grant-type", "password", "--grant-type", "refresh_token", "--secret-optional-for", "password")
    scopes = ("--scope", "a b", "--default-scope", "a", "--default-for", "/oauth2/token")
    changed = await command("clients", "update", "web", *lists, *scopes, "--json")
    assert changed.json == before | {
        "idle_lifetime": 600,
        "grant_types": ["password", "refresh_token"],
        "grant_types_without_secret": ["password"],
        "scope": ["a", "b"],
        "default_scope": ["a"],
        "default_for": "/oauth2/token",
    }
    emptied = ("--secret-optional-for", "", "--scope", "", "--default-scope", "", "--default-for", "")
    changed = (await command("clients", "update", "web", *emptied, "--json")).json
    assert [changed[name] for name in ("grant_types_without_secret", "scope", "default_scope", "default_for")] == [
        [],
        [],
        [],
        None,
    ]


async def test_a_change_holds_at_once_where_the_client_was_just_refused(command, both, parties):
    party, user = parties["rfc6749"], both[0].users.add()
    for replica in both:
        assert (await replica.login(party, user, scope="more")).error == (400, "invalid_scope")
    assert (await command("clients", "update", "web", "--scope", "read write more")).status == 0
    assert [(await replica.login(party, user, scope="more")).status for replica in both] == [200, 200]
    assert (await command("clients", "update", "web", "--grant-type", "client_credentials")).status == 0
    assert [reply.status for reply in await replies(both, party, "client_credentials")] == [200, 200]
    assert [(await replica.login(party, user)).error for replica in both] == [(400, "unauthorized_client")] * 2
    grants = ("--grant-type", "client_credentials", "--grant-type", "password")
    assert (await command("clients", "update", "web", *grants, "--access-token-lifetime", "60")).status == 0
    assert [(await replica.login(party, user)).json["expires_in"] for replica in both] == [60, 60]


async def test_a_path_goes_over_to_another_client_at_once(command, both, parties):
    user = both[0].users.add()
    bare = Party("", None, "doorkeeper")

    async def dialects():
        sent = {"grant_type": "password", "login": user.login, "username": user.login, "password": user.password}
        asked = [await replica.request("POST", bare.path, json=sent) for replica in both]
        return [
            (await replica.verify(reply.access)).json["client_id"] for replica, reply in zip(both, asked, strict=True)
        ]

    assert await dialects() == ["mobile", "mobile"]
    taken = await command("clients", "update", "MY_CLIENT_ID", "--default-for", "/oauth/token")
    assert taken.refusal == "a client is the default for this path already"
    assert (await command("clients", "update", "mobile", "--default-for", "")).status == 0
    assert (await command("clients", "update", "MY_CLIENT_ID", "--default-for", "/oauth/token")).status == 0
    assert (await both[1].login(parties["doorkeeper"], user)).status == 200  # it caches the current registration
    assert await dialects() == ["MY_CLIENT_ID", "MY_CLIENT_ID"]


async def test_a_client_becomes_public_and_confidential_again(command, both, parties):
    party, user = parties["passport"], both[0].users.add()
    bare = Party("1", None, "passport")
    assert [(await replica.login(party, user)).status for replica in both] == [200, 200]
    assert (await command("clients", "update", "1", "--public", "--json")).json["public"] is True
    assert [(await replica.login(bare, user)).status for replica in both] == [200, 200]
    assert [(await replica.login(party, user)).error for replica in both] == [(401, "invalid_client")] * 2
    made = (await command("clients", "update", "1", "--confidential", "--json")).json["client_secret"]
    assert [(await replica.login(bare, user)).error for replica in both] == [(401, "invalid_client")] * 2
    assert [(await replica.login(Party("1", made, "passport"), user)).status for replica in both] == [200, 200]
    kept = (await command("clients", "update", "1", "--confidential", "--json")).json
    assert kept["public"] is False
    assert (await both[0].login(Party("1", made, "passport"), user)).status == 200


async def test_a_change_is_checked_as_a_whole(command, own_service, parties):
    sample = parties["doorkeeper_jwt"].client_id
    before = await own_service.rows("SELECT * FROM clients ORDER BY client_id")
    for arguments, *faults in (
        ("web", "nothing to change"),
        ("web --scope a", "--scope lacks read, write"),
        ("web --default-scope other", "--scope lacks other"),
        ("web --public", "cannot have client_credentials"),
        ("web --secret-optional-for nonsense --scope \\", "--secret-optional-for must be one of", "printable ASCII"),
        ("MY_CLIENT_ID --grant-type refresh_token", "--secret-optional-for: password is not among the grant types"),
        ("mobile --default-for /elsewhere", "--default-for must be one of"),
        ("1 --public --secret x", "a public client has no secret"),
        (f"{sample} --public", "cannot be public"),
        (f"{sample} --secret short", "at least 32"),
    ):
        refusal = (await command("clients", "update", *arguments.split(" "))).refusal
        assert [fault for fault in faults if fault not in refusal] == []
    assert await own_service.rows("SELECT * FROM clients ORDER BY client_id") == before


async def test_what_is_missing_is_said_in_one_message(command):
    refusal = (await command("clients", "add")).refusal
    assert "CLIENT_ID is missing" in refusal
    assert "--dialect is missing: the API that the client speaks, one of rfc6749, " in refusal
    refusal = (await command("clients", "add", "app", "--public", "--default-for", "/x", "--grant-type", "y")).refusal
    for words in ("--dialect is missing", "--default-for must be one of", "--grant-type must be one of"):
        assert words in refusal
    refusal = (await command("clients", "add", "app", "--dialect", "rfc6749", "--public")).refusal
    assert "cannot have client_credentials: add --grant-type password and --grant-type refresh_token" in refusal


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
async def test_a_client_is_not_removed_unasked(command, own_service, parties, answer):
    ended = await command("clients", "remove", "web", stdin=answer)
    assert (ended.status, ended.output.strip()) == (1, "")
    assert "Remove web, and end all its sessions?" in ended.errors
    assert (await own_service.token(parties["rfc6749"], "client_credentials")).status == 200


async def test_a_removed_client_is_gone_on_every_replica(command, both, party):
    user = both[0].users.add()
    logins = [await replica.login(party, user) for replica in both]
    assert (await command("clients", "remove", party.client_id, stdin="y\n")).status == 0
    assert [await replica.verdict(login.access) for replica in both for login in logins] == [401] * 4
    for replica, login in zip(both, logins, strict=True):
        refused = [await replica.login(party, user), await replica.login(party, user, password="wrong")]
        if party.dialect != "bongo":
            refused.append(await replica.refresh(party, login.refresh))
        assert [reply.error for reply in refused] == [(401, "invalid_client")] * len(refused)
    assert party.client_id not in {row["client_id"] for row in (await command("clients", "list", "--json")).json}


async def test_nothing_of_a_removed_client_comes_back_with_its_id(command, both, parties):
    party, user = parties["passport"], both[0].users.add()
    logins = [await replica.login(party, user) for replica in both]
    assert (await command("clients", "remove", "1", "--yes")).output == "1 is removed\n"
    add = ("clients", "add", "1", "--dialect", "passport", "--secret-stdin")
    assert (await command(*add, stdin=party.secret)).status == 0
    for replica, login in zip(both, logins, strict=True):
        assert await replica.verdict(login.access) == 401
        assert (await replica.refresh(party, login.refresh)).error == (400, "invalid_grant")
        assert await replica.verdict((await replica.login(party, user)).access) == 200


async def test_a_client_can_be_added_again_in_another_dialect(command, both, parties):
    """Replicas that have the former registration cached answer the first request in the new dialect's words."""
    party, user = parties["passport"], both[0].users.add()
    assert [(await replica.login(party, user)).status for replica in both] == [200, 200]
    assert (await command("clients", "remove", "1", "--yes")).status == 0
    add = ("clients", "add", "1", "--dialect", "doorkeeper_jwt", "--secret-stdin")
    assert (await command(*add, stdin="s" * 32)).status == 0
    again = Party("1", "s" * 32, "doorkeeper_jwt")
    for replica in both:
        login = await replica.login(again, user)
        assert "created_at" in login.json
        assert (await replica.refresh(again, login.refresh)).status == 200
        assert (await replica.verify(login.access)).json["dialect"] == "doorkeeper_jwt"


async def test_the_secret_of_a_removed_client_is_not_that_of_the_next(command, both, parties):
    """The former secret is refused even if the former client is cached with a version that the new one could have."""
    party = parties["rfc6749"]
    assert [reply.status for reply in await replies(both, party, "client_credentials")] == [200, 200]
    assert (await command("clients", "remove", "web", "--yes")).status == 0
    assert (await command("clients", "add", "web", "--dialect", "rfc6749")).status == 0
    refused = await replies(both, party, "client_credentials")
    assert [reply.error for reply in refused] == [(401, "invalid_client")] * 2


async def test_sessions_of_a_removed_client_are_deleted_and_no_others(command, own_service, parties):
    user = own_service.users.add()
    for dialect in ("passport", "rfc6749"):
        assert (await own_service.login(parties[dialect], user)).status == 200
    assert (await command("clients", "remove", "1", "--yes")).status == 0
    assert (await command("clients", "add", "1", "--dialect", "passport")).status == 0
    async with connect(own_service.database_url, pool_size=1, unavailable=UnavailableError) as database:
        await DeadSessions(database).delete()
    left = await own_service.rows("SELECT client_id FROM sessions")
    assert [row["client_id"] for row in left] == ["web"]
