"""The client credentials grant (RFC 6749 section 4.4): the client acts for itself."""

from auth_service.core.grants.grant import NewSession, Provers
from auth_service.core.model import Client, TokenRequest


class ClientCredentialsGrant:
    grant_type = "client_credentials"
    confidential_only = True
    issues_refresh_token = False
    narrows = False

    def __init__(self, _provers: Provers) -> None:
        """It needs no prover: the server has authenticated the client."""

    def check(self, _request: TokenRequest) -> None:
        """It has no parameters of its own."""

    async def prove(self, _request: TokenRequest, _client: Client) -> NewSession:
        return NewSession(user=None)
