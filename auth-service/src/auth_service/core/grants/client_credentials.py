"""The client credentials grant (RFC 6749 section 4.4): the client acts for itself."""

from auth_service.core import scope
from auth_service.core.access_tokens import StoredToken
from auth_service.core.model import Client, Session, TokenRequest
from auth_service.core.ports import Sessions
from auth_service.core.refresh_tokens import RefreshTokenEncoding


class ClientCredentialsGrant:
    grant_type = "client_credentials"
    confidential_only = True
    issues_refresh_token = False

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def check(self, _request: TokenRequest) -> None:
        """It has no parameters of its own: client authentication is all."""

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
        return await self._sessions.open(client, None, granted, keep_email=keep_email, token=token)
