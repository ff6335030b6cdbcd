"""The refresh token grant (RFC 6749 section 6): rotation; after a lost answer or a race, the same successor."""

from auth_service.core.errors import InvalidRequestError, UnauthorizedClientError
from auth_service.core.grants.grant import Provers, Rotation
from auth_service.core.model import Client, TokenRequest


class RefreshTokenGrant:
    grant_type = "refresh_token"
    confidential_only = False
    issues_refresh_token = True
    narrows = True

    def __init__(self, provers: Provers) -> None:
        self._refresh_tokens = provers.refresh_tokens
        self._formats = provers.formats

    def check(self, request: TokenRequest) -> None:
        if not request.refresh_token:
            raise InvalidRequestError("The refresh token is missing.")

    async def prove(self, request: TokenRequest, client: Client) -> Rotation:
        encoding = self._formats[client.dialect].refresh_token
        if encoding is None:
            raise UnauthorizedClientError
        return Rotation(*self._refresh_tokens.read(request.refresh_token, client.client_id, encoding))
