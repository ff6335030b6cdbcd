"""Secrets that operators choose, replace and let overlap: every replica accepts the right ones."""

import jwt
import pytest

from .service import Party
from .serving import eventually

GOOD = "a secret of one's own, which is long enough"
BEFORE = """
    UPDATE clients SET secret_digest = sha256($2), secret_ciphertext = NULL, version = version + 1 WHERE client_id = $1
"""


@pytest.fixture
def rotate(command, replicas):
    """Call with a client and options to rotate its secret while both replicas serve."""

    async def rotate(party, *options):
        arguments = ("clients", "rotate-secret", party.client_id, "--json", *options)
        made = (await command(*arguments, database_url=replicas[0].database_url)).json
        return Party(party.client_id, made["client_secret"], party.dialect)

    return rotate


async def accepted(replicas, *parties):
    """For each replica and party: True if its secret is accepted at every endpoint that asks for one, else False."""
    seen = []
    for replica in replicas:
        for party in parties:
            user = replica.users.add()
            login = await replica.login(party, user)
            asked = {**party.credentials, "token": "x"}
            statuses = {
                login.status,
                (await replica.refresh(party, login.refresh)).status if login.status == 200 else 401,
                (await replica.request("POST", "/oauth/introspect", json=asked)).status,
                (await replica.request("POST", "/oauth/revoke", json=asked)).status,
            }
            assert statuses in ({200}, {401}), statuses
            seen.append(statuses == {200})
    return seen


@pytest.mark.parametrize("dialect", ["rfc6749", "doorkeeper_jwt"])
async def test_two_secrets_hold_while_they_overlap_and_never_three(replicas, rotate, dialect):
    first = await replicas[0].register(dialect)
    assert await accepted(replicas, first) == [True, True]
    second = await rotate(first, "--overlap", "24h")
    assert await accepted(replicas, first, second) == [True] * 4
    third = await rotate(second, "--overlap", "24h")
    assert await accepted(replicas, first, second, third) == [False, True, True] * 2
    fourth = await rotate(third)
    assert await accepted(replicas, second, third, fourth) == [False, False, True] * 2


async def test_an_overlap_ends_where_the_registration_is_remembered(replicas, rotate):
    first = await replicas[0].register("rfc6749")
    second = await rotate(first, "--overlap", "2s")
    assert [(await replica.token(first, "client_credentials")).status for replica in replicas] == [200, 200]

    async def asked():
        return [(await replica.token(first, "client_credentials")).status for replica in replicas]

    assert await eventually(asked, lambda statuses: 200 not in statuses) == [401, 401]
    assert await accepted(replicas, first, second) == [False, True] * 2


async def test_show_says_until_when_both_hold(command, own_service, start, parties):
    old = parties["rfc6749"]
    made = (await command("clients", "rotate-secret", "web", "--overlap", "90m", "--json")).json
    until = (await command("clients", "show", "web", "--json")).json["former_secret_until"]
    rows = await own_service.rows("SELECT extract(epoch FROM $1::text::timestamptz - now())::float8 AS left", until)
    assert 5300 < rows[0]["left"] <= 5400
    await own_service.age(5401)
    assert (await command("clients", "show", "web", "--json")).json["former_secret_until"] is None
    later = await start()
    assert (await later.token(old, "client_credentials")).error == (401, "invalid_client")
    assert (await later.token(Party("web", made["client_secret"], "rfc6749"), "client_credentials")).status == 200


async def test_a_token_is_signed_with_the_secret_that_was_proved_for_it(replicas, rotate):
    """Each holder of a secret can check the tokens it gets, with the former secret as with the new one."""
    old = await replicas[0].register(
        "doorkeeper_jwt",
        grant_types_without_secret=frozenset({"password"}),
        grant_types=frozenset({"password", "refresh_token"}),
    )
    new = await rotate(old, "--overlap", "24h")
    bare = Party(old.client_id, None, old.dialect)
    for replica in replicas:
        for party, key in ((old, old.secret), (new, new.secret), (bare, new.secret)):
            login = await replica.login(party, replica.users.add())
            assert jwt.decode(login.access, key, ["HS512"])["user"]
            assert await replica.verdict(login.access) == 200
    refreshed = await replicas[0].refresh(old, login.refresh)
    assert jwt.decode(refreshed.access, old.secret, ["HS512"])["user"]


async def test_a_secret_replaced_by_the_version_before_ends_both(replicas, rotate):
    """The previous version knows nothing of former secrets, and may run during an update or after a rollback."""
    first = await replicas[0].register("rfc6749")
    second = await rotate(first, "--overlap", "24h")
    await replicas[0].rows(BEFORE, first.client_id, GOOD.encode())
    third = Party(first.client_id, GOOD, "rfc6749")
    assert await accepted(replicas, first, second, third) == [False, False, True] * 2


async def test_a_wrong_overlap_is_a_wrong_usage(command):
    for overlap in ("24", "0h", "-1h", "1w", "31d", "9999999d", "1.5h", ""):
        ended = await command("clients", "rotate-secret", "web", "--overlap", overlap)
        assert (ended.status, ended.output) == (2, "")
        assert "Invalid value for '--overlap'" in ended.errors


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nanother line"])
async def test_a_secret_can_be_given_on_standard_input(command, own_service, end):
    added = await command("clients", "add", "fed", "--dialect", "rfc6749", "--secret-stdin", stdin=GOOD + end)
    party = Party("fed", GOOD, "rfc6749")
    assert (added.status, added.errors, GOOD in added.output) == (0, "", False)
    assert (await own_service.token(party, "client_credentials")).status == 200
    rotated = await command("clients", "rotate-secret", "fed", "--secret-stdin", "--json", stdin=GOOD[::-1] + end)
    assert rotated.json == {"client_id": "fed", "client_secret": None}
    assert (await own_service.token(Party("fed", GOOD[::-1], "rfc6749"), "client_credentials")).status == 200


async def test_a_short_secret_is_warned_of(command):
    warning = "warning: a secret of fewer than 32 characters may be guessed\n"
    for number, (secret, errors) in enumerate((("x" * 31, warning), ("x" * 32, ""))):
        add = ("add", f"new{number}", "--dialect", "rfc6749", "--secret-stdin")
        for arguments in (add, ("rotate-secret", "web", "--secret-stdin"), ("update", "1", "--secret-stdin")):
            ended = await command("clients", *arguments, stdin=secret)
            assert (ended.status, ended.errors) == (0, errors)


async def test_a_secret_that_cannot_be_used_is_one_line(command, own_service):
    before = await own_service.rows("SELECT * FROM clients ORDER BY client_id")
    both = ("rotate-secret", "web", "--secret-stdin", "--secret", GOOD)
    assert "exclude each other" in (await command("clients", *both, stdin=GOOD)).refusal
    for arguments in ("rotate-secret web", "update web", "add x --dialect=rfc6749"):
        for secret in ("", "\n", "a\0b", "a\tb"):
            given = ("clients", *arguments.split(), "--secret-stdin")
            assert "a secret must not be empty" in (await command(*given, stdin=secret)).refusal
    assert await own_service.rows("SELECT * FROM clients ORDER BY client_id") == before
