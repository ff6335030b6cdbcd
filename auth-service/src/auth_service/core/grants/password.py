"""The password grant (RFC 6749 section 4.3): user-service checks the password."""

from auth_service.core.errors import InvalidRequestError
from auth_service.core.grants.grant import NewSession, Provers
from auth_service.core.model import Client, TokenRequest

AMR = ("pwd",)  # RFC 8176


class PasswordGrant:
    grant_type = "password"
    confidential_only = False
    issues_refresh_token = True
    narrows = False

    def __init__(self, provers: Provers) -> None:
        self._login = provers.login

    def check(self, request: TokenRequest) -> None:
        if not request.username or not request.password:
            raise InvalidRequestError("The login name or the password is missing.")

    async def prove(self, request: TokenRequest, client: Client) -> NewSession:
        user = await self._login.authenticate(
            request.username, request.login_type, request.password, client.client_id, request.address
        )
        return NewSession(user, AMR)
