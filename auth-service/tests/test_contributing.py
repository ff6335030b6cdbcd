"""A dialect and a grant type are added as CONTRIBUTING says: one file and one entry for each."""

import re
import shutil
from pathlib import Path

import pytest

import auth_service

from .processes import process, run

CONTRIBUTING = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
FILE = re.compile(r"```python\n# auth-service/src/(auth_service/\S+)\n(.*?)```", re.DOTALL)
IMPORT = "from auth_service.core.grants.anonymous import AnonymousGrant"
ENTRIES = (
    ("from auth_service.dialects import bongo,", "from auth_service.dialects import toy, bongo,"),
    ("passport, bongo)", "passport, bongo, toy)"),
    ("RefreshTokenGrant, ClientCredentialsGrant)", "RefreshTokenGrant, ClientCredentialsGrant, AnonymousGrant)"),
    ("from auth_service.core.login", f"{IMPORT}\nfrom auth_service.core.login"),
)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of auth-service's sources with the two files from CONTRIBUTING and their entries."""
    copied = tmp_path / "auth_service"
    shutil.copytree(Path(auth_service.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    files = FILE.findall(CONTRIBUTING)
    assert len(files) == 2
    for name, text in files:
        (tmp_path / name).write_text(text)
    entry = copied / "app.py"
    text = entry.read_text()
    for before, after in ENTRIES:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    entry.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("sources")
async def test_a_dialect_and_a_grant_type_are_one_file_and_one_entry_each(database_url, master_keys, users, http):
    settings = {"database_url": database_url, "master_keys": master_keys}
    user = users.add()
    for arguments in (("toy-app",), ("toy-visitor", "--grant-type", "anonymous")):
        status, _, errors = await run("clients", "add", *arguments, "--dialect", "toy", "--public", **settings)
        assert status == 0, errors
    serving = {**settings, "users_url": users.url, "issuer": "https://parley.example", "throttle_exempt": ""}
    async with process(serving) as started:
        await started.answers(http)

        async def token(**parameters):
            async with http.post(started.url + "/oauth/token", data=parameters) as response:
                return response.status, await response.json()

        async def verdict(token):
            headers = {"Authorization": f"Bearer {token}"}
            async with http.get(started.url + "/verify-token", headers=headers) as response:
                return response.status, await response.json()

        password = {"client_id": "toy-app", "grant_type": "password", "name": user.login}
        status, answer = await token(**password, password=user.password)
        assert (status, sorted(answer), answer["seconds"]) == (200, ["seconds", "token"], 3600)
        status, facts = await verdict(answer["token"])
        assert (status, facts["sub"], facts["dialect"]) == (200, str(user.id), "toy")
        assert await verdict("0" * 48) == (401, {"fault": "token"})
        assert await token(**password, password="wrong") == (400, {"fault": "invalid_grant"})

        anonymous = {"client_id": "toy-visitor", "grant_type": "anonymous"}
        assert await token(**anonymous) == (400, {"fault": "invalid_request"})
        anonymous["please"] = "yes"
        status, answer = await token(**anonymous)
        assert status == 200
        assert (await verdict(answer["token"]))[1]["sub"] == "client:toy-visitor"
        assert await token(**anonymous, scope="more") == (400, {"fault": "invalid_scope"})
        assert await token(**anonymous | {"client_id": "toy-app"}) == (400, {"fault": "unauthorized_client"})
