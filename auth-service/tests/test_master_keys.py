"""Replacing the master key by the steps of docs/handbook/rotate.md logs nobody out."""

import base64
import secrets

import pytest

from .service import REFRESHING
from .serving import eventually

NEW = "m2:" + base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
async def clients(own_service, parties):
    """A logged-in client of each refreshing dialect, with its refresh token and all its access tokens."""
    return [
        Client(parties[dialect], await own_service.login(parties[dialect], own_service.users.add()))
        for dialect in REFRESHING
    ]


class Client:
    def __init__(self, party, login):
        self.party = party
        self.refresh_token = login.refresh
        self.access_tokens = [login.access]

    async def refreshes_at(self, *replicas):
        """Refresh at each replica with the same token, as if earlier answers were lost; keep the last new token."""
        for replica in replicas:
            reply = await replica.refresh(self.party, self.refresh_token)
            self.access_tokens.append(reply.access)
        self.refresh_token = reply.refresh

    async def is_logged_in_at(self, replica):
        return {await replica.verdict(token) for token in self.access_tokens} == {200}


async def test_replicas_of_neighbouring_steps_serve_side_by_side(start, own_service, clients, master_keys):
    step = own_service
    for ring in (f"{master_keys},{NEW}", f"{NEW},{master_keys}"):
        previous, step = step, await start(master_keys=ring)
        for client in clients:
            for order in ((previous, step), (step, previous), (step,), (previous,)):
                await client.refreshes_at(*order)
            assert await client.is_logged_in_at(previous)
            assert await client.is_logged_in_at(step)


async def test_the_old_key_goes(start, own_service, clients, command, parties, master_keys, eager_upkeep):
    both = {"master_keys": f"{NEW},{master_keys}"}
    step = await start(**both)
    for client in clients:
        await client.refreshes_at(step)
    assert (await command("keys", "rotate", "--now", **both)).status == 0
    signed = parties["doorkeeper_jwt"]
    ended = await command("clients", "rotate-secret", signed.client_id, "--secret", signed.secret, **both)
    assert (ended.status, ended.errors) == (0, "")
    for client in clients:
        assert await client.is_logged_in_at(step)
        await client.refreshes_at(step)
    await own_service.rows("UPDATE signing_keys SET gone_at = now() WHERE status = 'retiring'")
    await eventually(lambda: own_service.rows("SELECT FROM signing_keys"), lambda rows: len(rows) == 4)

    last = await start(master_keys=NEW)
    for client in clients:
        assert await last.verdict(client.access_tokens[-1]) == 200
        await client.refreshes_at(last)
        assert await last.verdict(client.access_tokens[-1]) == 200
        assert (await last.login(client.party, last.users.add())).status == 200
