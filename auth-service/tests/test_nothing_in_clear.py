"""A dump of the database and the log contain nothing that anybody could use."""

import base64
import json

from cryptography.hazmat.primitives import serialization

from .jose import server_keys
from .service import REFRESHING


async def dump(service):
    """Every row of every table, bytes as hex."""
    names = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    rows = []
    for table in await service.rows(names):
        query = f"SELECT to_jsonb(t) AS row FROM {table['relname']} t"
        rows += [json.loads(row["row"]) for row in await service.rows(query)]
    return rows


def spellings(secret: str | bytes) -> set[str]:
    """The forms in which a secret might be found: as it is, in hex, and in both kinds of base64."""
    raw = secret.encode() if isinstance(secret, str) else secret
    encoded = [raw]
    for decode in (bytes.fromhex, lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))):
        try:
            encoded.append(decode(raw.decode()))
        except ValueError:
            continue
    found = {secret} if isinstance(secret, str) else set()
    for one in encoded:
        found |= {
            one.hex(),
            base64.b64encode(one).decode().rstrip("="),
            base64.urlsafe_b64encode(one).decode().rstrip("="),
        }
    return {spelling for spelling in found if len(spelling) >= 12}


async def everything_issued(service, parties):
    """Use every dialect, with errors too; returns the secrets that must not be found anywhere."""
    secrets = []
    for party in parties.values():
        user = service.users.add()
        canary = f"canary-{party.dialect}-password"
        await service.login(party, user, password=canary)
        login = await service.login(party, user)
        secrets += [user.password, canary, login.access, party.secret or ""]
        secrets.append((await service.verify(login.access)).json["internal_token"])
        if party.dialect in REFRESHING:
            refreshed = await service.refresh(party, login.refresh)
            await service.refresh(party, "canary-" + login.refresh)
            secrets += [login.refresh, refreshed.refresh, refreshed.access, "canary-" + login.refresh]
        await service.verify("canary-" + login.access)
        await service.request("POST", "/oauth/revoke", json={**party.credentials, "token": login.access})
    secrets += [token.rpartition(".")[2] for token in secrets if token.count(".") == 2]
    return [secret for secret in secrets if secret]


async def private_parts(service):
    for _, private in (await server_keys(service)).values():
        if isinstance(private, bytes):
            yield private
            continue
        numbers = private.private_numbers()
        number = numbers.private_value if hasattr(numbers, "private_value") else numbers.d
        yield number.to_bytes((number.bit_length() + 7) // 8, "big")
        pkcs8 = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        yield private.private_bytes(*pkcs8)


async def test_no_secret_stands_in_the_database(own_service, parties):
    secrets = await everything_issued(own_service, parties)
    secrets += [part async for part in private_parts(own_service)]
    secrets.append(base64.b64decode(own_service.master_keys.partition(":")[2]))
    text = json.dumps(await dump(own_service), ensure_ascii=False)
    assert len(secrets) > 40
    assert parties["passport"].client_id in text  # this is the right database
    assert [secret for secret in secrets if any(spelling in text for spelling in spellings(secret))] == []


async def test_no_secret_stands_in_the_log(own_service, parties, log):
    secrets = await everything_issued(own_service, parties)
    written = log.getvalue()
    assert "grant refused" in written
    assert [secret for secret in secrets if any(spelling in written for spelling in spellings(secret))] == []
    assert all(json.loads(line)["service"] == "auth-service" for line in written.rstrip("\n").split("\n"))


async def test_what_stands_in_the_database_is_no_token(own_service, parties):
    await everything_issued(own_service, parties)
    await own_service.login(parties["cubux"], own_service.users.add())
    values = set()
    for row in await dump(own_service):
        for value in row.values():
            if isinstance(value, str) and value.startswith("\\x"):
                values |= {
                    value[2:],
                    value[2:42],
                    base64.urlsafe_b64encode(bytes.fromhex(value[2:])).decode().rstrip("="),
                }
            elif isinstance(value, str | int):
                values |= {str(value), f"{value:016x}" if isinstance(value, int) else value}
    values = {value for value in values if value.isprintable() and len(value) < 4000}
    assert len(values) > 100
    assert {await own_service.verdict(value) for value in values if value.isascii()} == {401}
    party = parties["rfc6749"]
    replies = [await own_service.refresh(party, value) for value in values if value]
    assert {reply.error for reply in replies} == {(400, "invalid_grant")}
    posing = {"grant_type": "client_credentials", "client_id": party.client_id}
    for row in await own_service.rows("SELECT encode(secret_digest, 'hex') AS digest FROM clients"):
        reply = await own_service.request("POST", party.path, json={**posing, "client_secret": row["digest"] or "x"})
        assert reply.error == (401, "invalid_client")


async def test_an_input_forges_no_line_of_the_log(own_service, parties, log):
    start = len(log.getvalue())
    forged = 'x\r\n{"event": "login_ok"}\x1b[31m\u2028'
    headers = {"X-Request-Id": "a" * 300}
    good = {**parties["rfc6749"].credentials, "grant_type": "password", "username": "x", "password": "x"}
    for name in (*good, "scope"):
        reply = await own_service.request("POST", "/oauth/token", json=good | {name: forged}, headers=headers)
        assert reply.status in (400, 401)
    lines = [json.loads(line) for line in log.getvalue()[start:].rstrip("\n").split("\n")]
    assert len(lines) >= 4
    assert "login_ok" not in log.getvalue()
    assert all(len(line.get("request_id", "")) == 32 for line in lines if line["event"] == "request")
