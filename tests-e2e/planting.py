"""Requests of every kind that a client may send, good and bad, each containing secrets and names made for it."""

import asyncio
import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgpack

from canaries import NAME, SECRET, Kept, new_name, new_secret
from drivers import BONGO, RFC6749, TOKEN_PATHS, Driver, Tokens
from exchange import FORM, JSON, Reply, basic, bearer, post_form, post_json, send, send_raw
from members import Member

USERS, SESSIONS, ME = "/api/v1/users", "/api/v1/sessions", "/api/v1/users/me"
# The event that forged log lines would contain.
FORGED = "somebody-was-let-in"
_FORGERIES = (
    '\r\n{"event": "%s"}',
    '"}\n{"event": "%s", "level": "info"}\n{"x": "',
    "\x1b[2K\x1b[1G%s\x07",
    '\u2028{"event": "%s"}\u2029',
    "\x85%s\x0b\x0c",
)


class Planting:
    """Sends requests to a stack; `kept` gets the secrets it makes. `drivers` are clients with planted secrets."""

    def __init__(self, http: aiohttp.ClientSession, url: str, kept: Kept, drivers: Sequence[Driver]) -> None:
        self._http = http
        self._url = url
        self._kept = kept
        self._drivers = drivers

    async def everyday(self) -> tuple[Member, dict[str, Tokens]]:
        """Send requests that succeed; returns a remaining user, with a session in each dialect."""
        name, password = new_name(), new_secret()
        phone = f"+88019{secrets.randbelow(10**8):08d}"
        member = await Member(f"{name}@example.com", phone, password).sign_up(self._http)
        before = {driver.name: await self._log_in(member, driver) for driver in self._drivers}
        member = await self._change_password(member, before["rfc6749"].access_token)
        sessions = {driver.name: await self._log_in(member, driver) for driver in self._drivers}
        for driver in self._drivers:
            await self._use(driver, sessions[driver.name])
        await self._sign_up_in_messagepack()
        return member, {driver.name: await self._log_in(member, driver) for driver in self._drivers}

    async def _log_in(self, member: Member, driver: Driver) -> Tokens:
        return self._keep(driver, driver.tokens(await post_form(self._http, driver.path, member.request(driver))))

    def _keep(self, driver: Driver, tokens: Tokens) -> Tokens:
        self._kept.keep(f"access token of {driver.name}", tokens.access_token)
        if driver.refreshes:
            self._kept.keep(f"refresh token of {driver.name}", tokens.refresh_token)
        return tokens

    async def _change_password(self, member: Member, token: str) -> Member:
        new = new_secret()
        body = {"current_password": member.password, "password": new}
        reply = await post_json(self._http, f"{USERS}/{member.id}/password", body, bearer(token))
        assert reply.status == 204, reply
        return replace(member, password=new)

    async def _use(self, driver: Driver, tokens: Tokens) -> None:
        """Use a session in every way, and finally revoke it."""
        user_id = (await driver.me(self._http, tokens.access_token)).json()["id"]
        if driver.refreshes:
            tokens = self._keep(driver, driver.tokens(await driver.refresh(self._http, tokens.refresh_token)))
        if driver.name == BONGO.name:
            path, body = f"/api/oauth/{user_id}/verify-token/v1/", {"access_token": tokens.access_token}
            assert (await send(self._http, "GET", path, bearer(tokens.access_token))).status == 200
            assert (await post_json(self._http, path, body)).status == 200
        by_basic = basic(driver.identity["client_id"], driver.identity["client_secret"])
        for token in filter(None, (tokens.access_token, tokens.refresh_token)):
            for path in ("/oauth/introspect", "/oauth/revoke"):
                assert (await post_form(self._http, path, {"token": token}, by_basic)).status == 200
        assert not await driver.accepts(self._http, tokens.access_token)

    async def _sign_up_in_messagepack(self) -> None:
        user = {"username": new_name(), "password": new_secret()}
        reply = await send(
            self._http, "POST", USERS, {"Content-Type": "application/msgpack"}, msgpack.packb({"user": user})
        )
        assert reply.status == 200, reply

    async def refused_log_ins(self, member: Member) -> None:
        """Send token requests that are refused, for one reason after another, in each dialect."""
        for driver in self._drivers:
            for changes in (
                {"password": new_secret()},
                {driver.login_name: new_name(), "password": new_secret()},
                {"client_secret": new_secret()},
                {"client_id": new_name()},
                {"grant_type": "refresh_token", "refresh_token": new_secret()},
                {"grant_type": new_secret()},
                {"scope": new_secret()},
                {"password": new_secret() + "x" * 2000},
                *({driver.login_name: new_name() + forged % FORGED} for forged in _FORGERIES),
            ):
                await self._refused(post_json(self._http, driver.path, member.request(driver, **changes)))
            request = member.request(driver) | {"password": new_secret()}
            await self._refused(send(self._http, "POST", f"{driver.path}?password={request['password']}"))
            for body in _unreadable(request):
                for media_type in (JSON, FORM, "text/plain", "application/json; charset=utf-7"):
                    await self._refused(send(self._http, "POST", driver.path, {"Content-Type": media_type}, body))
            wrong = basic(driver.client_id, new_secret())
            await self._refused(post_form(self._http, RFC6749.path, {"grant_type": "password"}, wrong))
            for path in ("/oauth/introspect", "/oauth/revoke"):
                await self._refused(post_form(self._http, path, {"token": new_secret()}, wrong))

    async def refused_users(self, member: Member, token: str) -> None:
        """Send requests to the user API that are refused."""
        for change in (
            {"role": "admin"},
            {"email": member.email},
            {"email": f"not an address: {new_name()}"},
            {new_secret(): "x"},
            *({"username": new_name() + forged % FORGED} for forged in _FORGERIES),
        ):
            user = {"username": new_name(), "password": new_secret(), **change}
            await self._refused(post_json(self._http, USERS, {"user": user}))
            await self._refused(post_json(self._http, USERS, {"user": user}, bearer(token)))
        path = f"{USERS}/{member.id}/password"
        for current, new in (
            (new_secret(), new_secret()),
            (member.password, new_secret() + "x" * 2000),
            (member.password, "\0" + new_secret()),
        ):
            body = {"current_password": current, "password": new}
            await self._refused(post_json(self._http, path, body, bearer(token)))

    async def refused_tokens(self) -> None:
        """Send credentials where they do not belong, on routes of each kind."""
        claims = {"sub": "1", "jti": "0" * 80, "iss": self._url, "aud": self._url, "exp": 2**32}
        for algorithm in ("none", "HS256", "ES256", "RS256", "HS512"):
            parts = ({"typ": "at+jwt", "alg": algorithm, "kid": "1"}, claims | {"name": new_secret()})
            await self._refused(send(self._http, "GET", ME, bearer(_jwt(*parts, new_secret()))))
        long = new_secret()
        for method, path in (("GET", ME), ("DELETE", f"{SESSIONS}/current"), ("POST", USERS), ("POST", RFC6749.path)):
            for headers in (
                bearer(self._made_up()),
                bearer(new_secret()),
                bearer(new_secret() + " and more"),
                bearer(f"{long}{'x' * 9 * 1024}{long}"),
                bearer(f"{long}{'x' * 20 * 1024}{long}"),
                {"Authorization": f"Basic {new_secret()}"},
                {"Authorization": new_secret()},
                [*bearer(new_secret()).items(), *bearer(new_secret()).items()],
                {"Cookie": f"access_token={new_secret()}", "Referer": f"/?token={new_secret()}"},
                {"X-Api-Key": new_secret(), "User-Agent": f"{new_secret()}/1"},
                {"X-Request-Id": f"{new_secret()} {FORGED}", "Content-Type": new_secret()},
            ):
                await self._refused(send(self._http, method, path, headers))
            query = f"access_token={new_secret()}"
            await self._refused(send(self._http, method, f"{path}?{query}"))
            await self._refused(send(self._http, method, f"{path}?{query}", bearer(new_secret())))
        for path in ("", USERS, SESSIONS, "/api/oauth", RFC6749.path):
            await self._refused(send(self._http, "GET", f"{path}/{new_secret()}"))

    async def malformed(self) -> None:
        """Send bytes that are not HTTP, and requests that break off."""
        host = f"Host: {urlsplit(self._url).netloc}\r\nConnection: close\r\n"
        for head in (
            f"GET {ME} HTTP/1.1\r\n{host}{new_secret()}\r\n\r\n",
            f"GET {ME} HTTP/1.1\r\n{host}Authorization: Bearer \0{new_secret()}\r\n\r\n",
            f"GET {ME} HTTP/1.1\r\n{host}Authorization : Bearer {new_secret()}\r\n\r\n",
            f"GET {ME} HTTP/1.1\r\n{host}X-{new_secret()}\xff: {new_secret()}\r\n\r\n",
            f"GET {ME}?{new_secret()} HTTP/9.{new_secret()}\r\n{host}\r\n",
            f"{new_secret()} {ME} HTTP/1.1\r\n{host}\r\n",
            f"GET http://user:{new_secret()}@[/ HTTP/1.1\r\n{host}\r\n",
            f"POST {USERS} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{new_secret()}\r\n",
            f"POST {USERS} HTTP/1.1\r\n{host}Content-Length: {new_secret()}\r\n\r\n",
        ):
            reply = await send_raw(self._url, head.encode("latin-1"))
            assert reply.status >= 400, head
            reply.assert_silent_about(SECRET)
        for path in (USERS, *TOKEN_PATHS):
            await self._break_off(path, host)

    async def _break_off(self, path: str, host: str) -> None:
        address = urlsplit(self._url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        body = f'{{"password": "{new_secret()}'
        head = f"POST {path} HTTP/1.1\r\n{host}Content-Type: {JSON}\r\nContent-Length: 999\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def unwell(self, member: Member, sessions: dict[str, Tokens]) -> list[Reply]:
        """Send requests that need a database, which the stack may lack; returns the replies."""
        user = {"username": new_name(), "password": new_secret()}
        requests = [post_json(self._http, USERS, {"user": user})]
        for driver in self._drivers:
            tokens = sessions[driver.name]
            requests += [
                post_json(self._http, driver.path, member.request(driver)),
                post_json(self._http, driver.path, member.request(driver, password=new_secret())),
                driver.me(self._http, self._made_up()),
                driver.me(self._http, tokens.access_token),
                send(self._http, "GET", SESSIONS, bearer(tokens.access_token)),
                *(driver.refresh(self._http, tokens.refresh_token) for _ in range(driver.refreshes)),
                post_form(self._http, "/oauth/introspect", {**driver.identity, "token": tokens.access_token}),
                post_form(self._http, "/oauth/revoke", {**driver.identity, "token": tokens.access_token}),
            ]
        replies = [await request for request in requests]
        for reply in replies:
            members = reply.json()
            members = members.get("result", members)
            for name in {"access_token", "refresh_token"} & members.keys():
                self._kept.keep(name, members[name])
        return replies

    def _made_up(self) -> str:
        """A token that looks like an opaque access token but was never issued."""
        token = secrets.token_hex(32)
        self._kept.keep("made-up access token", token)
        return token

    async def _refused(self, request: Any) -> None:
        reply: Reply = await request
        assert reply.status >= 400, reply
        reply.assert_silent_about(SECRET, NAME, FORGED)


def _unreadable(request: dict[str, Any]) -> list[bytes]:
    """Unreadable bodies that contain the request."""
    text = json.dumps(request)
    return [
        text[:-1].encode(),
        f"{text[:-1]}, {text[1:]}".encode(),
        f"[{text}]".encode(),
        text.encode("utf-16"),
        text[:-1].encode() + b', "x": "\xff"}',
        text[:-1].encode() + b', "x": "\\ud800"}',
        json.dumps(request | {"password": [request["password"]]}).encode(),
        b"&".join(f"{name}={value}".encode() for name, value in (*request.items(), *request.items())),
    ]


def _jwt(header: object, claims: object, signature: str) -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature.encode())
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
