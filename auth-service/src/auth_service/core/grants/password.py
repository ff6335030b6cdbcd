"""The password grant (RFC 6749 section 4.3): user-service says whose password it is."""

from auth_service.core import scope
from auth_service.core.access_tokens import StoredToken
from auth_service.core.errors import InvalidCredentialsError, InvalidRequestError
from auth_service.core.model import Client, Session, TokenRequest
from auth_service.core.ports import Sessions, Users
from auth_service.core.refresh_tokens import RefreshTokenEncoding


class PasswordGrant:
    grant_type = "password"
    confidential_only = False
    issues_refresh_token = True

    def __init__(self, users: Users, sessions: Sessions) -> None:
        self._users = users
        self._sessions = sessions

    def check(self, request: TokenRequest) -> None:
        if request.username is None or request.password is None:
            raise InvalidRequestError("The login name or the password is missing.")

    async def authorize(
        self,
        request: TokenRequest,
        client: Client,
        _encoding: RefreshTokenEncoding | None,
        token: StoredToken | None,
        *,
        keep_email: bool,
    ) -> Session:
        granted = scope.granted(request.scope, client)
        user = await self._users.check_credentials(request.username or "", request.login_type, request.password or "")
        if user is None:
            raise InvalidCredentialsError
        return await self._sessions.open(client, user, granted, keep_email=keep_email, token=token)
