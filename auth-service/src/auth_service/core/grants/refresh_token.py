"""The refresh token grant (RFC 6749 section 6): rotation, with the same successor for a lost answer or a race."""

from auth_service.core import scope
from auth_service.core.access_tokens import StoredToken
from auth_service.core.errors import InvalidGrantError, InvalidRequestError, UnauthorizedClientError
from auth_service.core.model import Client, Session, TokenRequest
from auth_service.core.ports import Sessions, Throttle
from auth_service.core.refresh_tokens import RefreshTokenEncoding, RefreshTokens


class RefreshTokenGrant:
    grant_type = "refresh_token"
    confidential_only = False
    issues_refresh_token = True

    def __init__(self, refresh_tokens: RefreshTokens, sessions: Sessions, throttle: Throttle) -> None:
        self._refresh_tokens = refresh_tokens
        self._sessions = sessions
        self._throttle = throttle

    def check(self, request: TokenRequest) -> None:
        if request.refresh_token is None:
            raise InvalidRequestError("The refresh token is missing.")

    async def authorize(
        self,
        request: TokenRequest,
        client: Client,
        encoding: RefreshTokenEncoding | None,
        token: StoredToken | None,
        *,
        keep_email: bool,  # noqa: ARG002 - the session has it since it was opened
    ) -> Session:
        if encoding is None:
            raise UnauthorizedClientError
        narrowed = scope.parse(request.scope)
        try:
            session_id, counter = self._refresh_tokens.read(request.refresh_token or "", client.client_id, encoding)
            return await self._sessions.rotate(client, session_id, counter, narrowed, token)
        except InvalidGrantError:
            await self._throttle.count_refused_refresh(client.client_id, request.address)
            raise
