"""One request per dialect, as in its document, ready to paste into a shell."""

import json
import shlex
from typing import Any

CLIENT_ID = "6cc9b4059815bb7674e860a8c3dc4c58c9db63ac89f420e888e4e653af4305ca"
CLIENT_SECRET = "fb1e8c880cee7e76827a32d1368b0a68a6bf04e5493e8a2b6c03261a2e7a8b97"


def examples(url: str) -> dict[str, str]:
    """The command of each example by its title, for the gateway at `url`."""
    token = f"{url}/oauth/token"
    standard = (
        f"curl -u demo:demo-secret -d grant_type=password -d username=person1@example.com -d password=password {token}"
    )
    return {
        "rfc6749": standard,
        "doorkeeper_jwt": _post(
            f"{token}?grant_type=password",
            username="person1@example.com",
            password="password",
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        ),
        "doorkeeper": _post(token, login="person1@example.com", password="password", grant_type="password"),
        "cubux": _post(
            f"{url}/oauth2/token",
            client_id="MY_CLIENT_ID",
            grant_type="password",
            username="User name",
            password="password",
            scope="UserActivity",
        ),
        "passport": _post(
            token,
            client_id="1",
            client_secret="k8cdDKNruUd0IXbuOUgdoFhCpG",
            grant_type="password",
            password="123456",
            scope="",
            username="usuario@noveltie.com",
        ),
        "bongo": _post(
            f"{url}/api/oauth/access-token/v1/",
            grant_type="password",
            phone_number="+8801700000000",
            password="password",
        ),
        "the user of a token": _with_token(standard, f"{url}/api/v1/users/me"),
    }


def _post(url: str, **members: Any) -> str:
    return f"curl -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(members))} {shlex.quote(url)}"


def _with_token(request: str, url: str) -> str:
    """A request to `url` with the token that `request` returns."""
    silent = request.replace("curl", "curl -s", 1)
    return f"""curl -H "Authorization: Bearer $({silent} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')" {url}"""
