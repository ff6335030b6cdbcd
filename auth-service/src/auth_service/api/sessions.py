"""The endpoints for a user's own sessions: list them, end one, end all. The gateway has verified the caller."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import hdrs, web

from auth_service.core import scope
from auth_service.core.endings import EndedBy, Endings, Reason, Selection
from auth_service.core.errors import UnavailableError
from auth_service.core.model import SessionSummary, session_name
from auth_service.core.ports import Sessions
from servicekit import http, wire
from servicekit.internal_tokens import InternalToken, InternalTokens, authenticate

PATH = "/api/v1/sessions"


class SessionsApi:
    """`{id}` is a session's id as 16 hex digits, or `current` for the session that the caller's token belongs to."""

    def __init__(self, sessions: Sessions, endings: Endings, tokens: InternalTokens) -> None:
        self._sessions = sessions
        self._endings = endings
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self.list),
            web.delete(PATH, self.end_all),
            web.delete(PATH + "/{id:[0-9a-f]{16}|current}", self.end_one),
        ]

    async def list(self, request: web.Request) -> web.Response:
        caller, user_id = await self._caller(request)
        try:
            sessions = await self._sessions.of_user(user_id)
        except UnavailableError as error:
            raise http.ServiceUnavailableError("sessions") from error
        body = {"sessions": [_rendered(session, caller.session_id) for session in sessions]}
        content_type = wire.accepted_msgpack(request.headers.get(hdrs.ACCEPT, "")) or "application/json; charset=utf-8"
        return web.Response(
            body=wire.encode(body, content_type), headers={**http.NO_STORE, hdrs.CONTENT_TYPE: content_type}
        )

    async def end_all(self, request: web.Request) -> web.Response:
        _, user_id = await self._caller(request)
        await self._end(user_id, None)
        return web.Response(status=204)

    async def end_one(self, request: web.Request) -> web.Response:
        caller, user_id = await self._caller(request)
        wanted = request.match_info["id"]
        name = caller.session_id or "0" if wanted == "current" else wanted
        if int(name, 16) >= 2**63 or not await self._end(user_id, int(name, 16)):
            return http.problem(404, "Not Found", accept=request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(status=204)

    async def _end(self, user_id: int, session_id: int | None) -> int | None:
        ended = Selection(session_id=session_id, user_id=user_id)
        try:
            return await self._endings.end(ended, EndedBy.USER, Reason.SIGNED_OUT)
        except UnavailableError as error:
            raise http.ServiceUnavailableError("sessions") from error

    async def _caller(self, request: web.Request) -> tuple[InternalToken, int]:
        """The caller and the id of its user. Raises 401, or 403 if the caller is a client that acts for itself."""
        caller = await authenticate(request, self._tokens)
        if caller.user_id is None:
            raise web.HTTPForbidden
        return caller, caller.user_id


def _rendered(session: SessionSummary, current: str | None) -> dict[str, Any]:
    name = session_name(session.id)
    return {
        "id": name,
        "client_id": session.client_id,
        "scope": scope.join(session.scope),
        "created_at": _time(session.created_at),
        "refreshed_at": _time(session.refreshed_at) if session.refreshed_at is not None else None,
        "expires_at": _time(session.expires_at),
        "current": name == current,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
