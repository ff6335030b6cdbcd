"""Operators' commands, and their effect on a service that was running all along."""

import json
import re

import pytest

from .jose import decode
from .service import Party
from .serving import eventually

LEGACY_ID = "0fee4eab40cc183cdaf825b5944d39d459756a1cb8d0def2ce44bd3b207d9737"
LEGACY_SECRET = "5b3e5b929c233fe3b27c9e0452b6d2926a449a1699e40ece739f8bc0cab1dd0d"

UNACCEPTABLE = [
    ("web --dialect rfc6749", "has this id already"),
    ("x --dialect nonsense", "must be one of"),
    ("x --dialect doorkeeper --default-for /oauth/token", "is the default for this path already"),
    ("x --dialect doorkeeper --default-for /elsewhere", "must be one of"),
    ("x --dialect rfc6749 --public --secret y", "has no secret"),
    ("x --dialect rfc6749 --public", "cannot have client_credentials"),
    ("x --dialect doorkeeper_jwt --secret short", "at least 32"),
    ("x --dialect doorkeeper_jwt --public", "at least 32"),
    ("x --dialect rfc6749 --grant-type implicit", "must be one of"),
    ("x --dialect rfc6749 --secret-optional-for implicit", "must be one of"),
    ("x --dialect passport --secret-optional-for client_credentials", "not among the grant types"),
    ('x --dialect rfc6749 --scope "', "printable ASCII"),
    ("x --dialect rfc6749 --scope a --default-scope b", "exceeds the scope"),
    ("x\ty --dialect rfc6749", "printable ASCII"),
    ("é --dialect rfc6749", "printable ASCII"),
    ("x" * 256 + " --dialect rfc6749", "1 to 255"),
]


async def add(command, client_id, dialect, *options):
    added = (await command("clients", "add", client_id, "--dialect", dialect, "--json", *options)).warned_json
    assert added["client_id"] == client_id
    return Party(client_id, added["client_secret"], dialect)


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper_jwt", "doorkeeper", "cubux", "passport", "bongo"])
async def test_a_client_that_was_added_can_log_in(command, own_service, dialect):
    party = await add(command, "new", dialect)
    assert re.fullmatch(r"[0-9a-f]{64}", party.secret)
    login = await own_service.login(party, own_service.users.add())
    assert await own_service.verdict(login.access) == 200
    assert (await own_service.login(Party("new", None, dialect), own_service.users.add())).error == (
        401,
        "invalid_client",
    )


@pytest.mark.parametrize(
    ("client_id", "secret", "dialect"),
    [
        (LEGACY_ID, LEGACY_SECRET, "doorkeeper_jwt"),
        ("2", "k8cdDKNruUd0IXbuOUgdoFhCpG", "passport"),
        ("a b", "ü", "cubux"),
    ],
)
async def test_a_client_keeps_the_id_and_the_secret_that_it_has_elsewhere(
    command, own_service, client_id, secret, dialect
):
    await add(command, client_id, dialect, "--secret", secret)
    assert (await own_service.login(Party(client_id, secret, dialect), own_service.users.add())).status == 200


async def test_everything_about_a_registration_can_be_said(command, own_service):
    options = (
        "--grant-type password --grant-type refresh_token --secret-optional-for password --default-for /oauth2/token"
    )
    options += " --access-token-lifetime 60 --idle-lifetime 600 --session-lifetime 6000"
    await add(command, "chosen", "cubux", *options.split(), "--scope", "a b", "--default-scope", "a")
    shown = (await command("clients", "show", "chosen", "--json")).json
    assert shown == {
        "client_id": "chosen",
        "dialect": "cubux",
        "public": False,
        "disabled": False,
        "grant_types": ["password", "refresh_token"],
        "grant_types_without_secret": ["password"],
        "scope": ["a", "b"],
        "default_scope": ["a"],
        "access_token_lifetime": 60,
        "idle_lifetime": 600,
        "session_lifetime": 6000,
        "default_for": "/oauth2/token",
        "former_secret_until": None,
    }
    user = own_service.users.add()
    body = {"grant_type": "password", "username": user.login, "password": user.password}
    reply = await own_service.request("POST", "/oauth2/token", json=body)
    assert (reply.json["expires_in"], reply.json["scope"]) == (60, "a")


async def test_a_public_client_has_no_secret(command, own_service):
    party = await add(
        command, "app", "rfc6749", "--public", "--grant-type", "password", "--grant-type", "refresh_token"
    )
    assert party.secret is None
    assert (await own_service.login(party, own_service.users.add())).status == 200
    assert "no such confidential client" in (await command("clients", "rotate-secret", "app")).refusal


async def test_tables_show_ids_as_they_are_and_in_one_piece(command, own_service):
    await add(command, "app[/b]:tada:" + "x" * 30, "cubux")
    assert "app[/b]:tada:" + "x" * 30 in (await command("clients", "list")).output


async def test_what_cannot_be_registered_is_one_line(command, own_service):
    before = await own_service.rows("SELECT * FROM clients")
    for options, words in UNACCEPTABLE:
        assert words in (await command("clients", "add", *options.split(" "))).refusal
    assert await own_service.rows("SELECT * FROM clients") == before


async def test_no_secret_is_shown_again(command, own_service, parties):
    secrets = [party.secret for party in parties.values() if party.secret]
    shown = [await command("clients", "list"), await command("clients", "list", "--json")]
    for party in parties.values():
        shown += [await command("clients", "show", party.client_id, *more) for more in ((), ("--json",))]
    assert all(ended.status == 0 for ended in shown)
    assert [secret for secret in secrets for ended in shown if secret in ended.output] == []
    listed = shown[1].json
    assert sorted(row["client_id"] for row in listed) == sorted(party.client_id for party in parties.values())
    assert listed[0].keys() == (await command("clients", "show", "web", "--json")).json.keys()


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper_jwt"])
async def test_a_secret_is_replaced_at_once(command, own_service, parties, dialect):
    old, user = parties[dialect], own_service.users.add()
    login = await own_service.login(old, user)
    new = (await command("clients", "rotate-secret", old.client_id, "--json")).json["client_secret"]
    assert (await own_service.refresh(old, login.refresh)).error == (401, "invalid_client")
    refreshed = await own_service.refresh(Party(old.client_id, new, dialect), login.refresh)
    assert [await own_service.verdict(token) for token in (login.access, refreshed.access)] == [200, 200]
    chosen = "a secret of one's own, which is long enough"
    assert (await command("clients", "rotate-secret", old.client_id, "--secret", chosen)).status == 0
    assert (await own_service.login(Party(old.client_id, chosen, dialect), user)).status == 200


async def test_a_client_is_refused_while_it_is_disabled(command, own_service, parties):
    party, user = parties["passport"], own_service.users.add()
    login = await own_service.login(party, user)
    assert (await command("clients", "disable", "1")).output == "1 is disabled\n"
    assert await own_service.verdict(login.access) == 401
    assert (await own_service.refresh(party, login.refresh)).error == (401, "invalid_client")
    assert (await command("clients", "show", "1", "--json")).json["disabled"] is True
    assert (await command("clients", "enable", "1")).output == "1 is enabled\n"
    assert await own_service.verdict(login.access) == 200


async def test_a_number_that_is_out_of_range_is_a_wrong_usage(command):
    for arguments in (
        "sessions list --user 9223372036854775808",
        "sessions list --limit 9223372036854775808",
        "sessions revoke --user 9223372036854775808",
        "clients add x --dialect cubux --access-token-lifetime 2147483648",
        "clients add x --dialect cubux --idle-lifetime 0",
    ):
        ended = await command(*arguments.split())
        assert ended.status == 2
        assert f"Invalid value for '{arguments.split()[-2]}'" in ended.errors


async def test_an_unknown_client_is_one_line(command):
    for arguments in ("show unknown", "rotate-secret unknown", "disable unknown", "enable unknown"):
        assert "there is no such" in (await command("clients", *arguments.split())).refusal
    for arguments in ("update unknown --public", "remove unknown --yes"):
        assert (await command("clients", *arguments.split())).refusal == "there is no such client"


@pytest.mark.usefixtures("eager_upkeep")
async def test_keys_are_rotated_and_listed(command, own_service, parties):
    before = (await command("keys", "list", "--json")).json
    assert sorted((key["algorithm"], key["purpose"], key["status"]) for key in before) == [
        ("ES256", "access", "active"),
        ("ES256", "internal", "active"),
        ("HS256", "access", "active"),
        ("RS256", "access", "active"),
    ]
    made = (await command("keys", "rotate", "--algorithm", "ES256", "--json")).json
    assert (await command("keys", "rotate", "--algorithm", "ES256", "--json")).json == dict.fromkeys(made)
    assert "a key is pending already" in (await command("keys", "rotate", "--algorithm", "ES256")).output
    keys = {key["kid"]: key["status"] for key in (await command("keys", "list", "--json")).json}
    assert made.keys() == {"ES256", "ES256 internal"}
    assert [keys[kid] for kid in made.values()] == ["pending"] * 2
    assert "must be one of" in (await command("keys", "rotate", "--algorithm", "none")).refusal
    assert (await command("keys", "list")).output.count("active") == 4

    hastened = await command("keys", "rotate", "--algorithm", "ES256", "--now", "--json")
    assert json.loads(hastened.output) == made
    keys = {key["kid"]: key["status"] for key in (await command("keys", "list", "--json")).json}
    assert [keys[kid] for kid in made.values()] == ["active"] * 2
    refusal = (await command("keys", "remove", made["ES256"], "-none")).refusal
    assert f"not removed: {made['ES256']}, -none" in refusal

    rotation = await command("keys", "rotate", "--algorithm", "RS256", "--now", "--json")
    assert [line.partition(";")[0] for line in rotation.errors.splitlines()] == [
        "published",
        "the new keys are active",
        "every replica signs with the new keys",
    ]
    made = json.loads(rotation.output)

    async def signer():
        token = (await own_service.login(parties["passport"], own_service.users.add())).access
        assert await own_service.verdict(token) == 200
        return decode(token)[0]["kid"]

    await eventually(signer, lambda kid: kid == made["RS256"])


async def test_sessions_are_listed_and_ended(command, own_service, parties):
    user, other = own_service.users.add(), own_service.users.add()
    logins = [await own_service.login(parties[dialect], user) for dialect in ("cubux", "passport", "bongo")]
    foreign = [await own_service.login(parties[dialect], other) for dialect in ("cubux", "passport")]
    sids = [(await own_service.verify(reply.access)).json["sid"] for reply in (*logins, *foreign)]

    async def verdicts():
        return [await own_service.verdict(reply.access) for reply in (*logins, *foreign)]

    listed = (await command("sessions", "list", "--user", str(user.id), "--json")).json
    assert [row["id"] for row in listed] == [sids[2], sids[1], sids[0]]
    assert len((await command("sessions", "list", "--client", "1", "--json")).json) == 2
    assert len((await command("sessions", "list", "--limit", "4", "--json")).json) == 4
    assert (await command("sessions", "revoke", sids[0])).output == "1 sessions ended\n"
    assert await verdicts() == [401, 200, 200, 200, 200]
    assert (await command("sessions", "revoke", "--client", "1")).output == "2 sessions ended\n"
    assert await verdicts() == [401, 401, 200, 200, 401]
    assert (await command("sessions", "revoke", "--user", str(user.id))).output == "1 sessions ended\n"
    assert await verdicts() == [401, 401, 401, 200, 401]
    for wrong in ("nonsense", "f" * 17, "f" * 16, "-1", "0x1", "1"):
        assert (await command("sessions", "revoke", "--", wrong)).refusal == "a session id is 16 hex digits"
    assert "name a session" in (await command("sessions", "revoke")).refusal


async def test_a_store_that_cannot_be_opened_is_one_line(command, own_service):
    away = await command("clients", "list", database_url="postgresql://127.0.0.1:1/auth")
    assert away.refusal == "the database cannot be reached"
    missing = await command("clients", "list", database_url=own_service.database_url.replace("/test_", "/no_"))
    assert missing.refusal.startswith("the database refuses the connection: database")
    empty = own_service.database_url.replace(own_service.database_url.split("/")[3].split("?")[0], "postgres")
    assert "run `python -m auth_service migrate`" in (await command("clients", "list", database_url=empty)).refusal
    other = {"master_keys": "other:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="}
    rotation = await command("keys", "rotate", "--now", **other)
    assert rotation.status == 0  # it encrypts with its own key and decrypts nothing
    client_id = (await own_service.rows("SELECT client_id FROM clients WHERE secret_ciphertext IS NOT NULL"))[0][0]
    refused = await command("clients", "rotate-secret", client_id, **other)
    assert refused.refusal == f"AUTH_MASTER_KEYS: no master key for client secret {client_id}"
