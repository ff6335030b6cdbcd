"""The form that every grant type has."""

from typing import Protocol

from auth_service.core.access_tokens import StoredToken
from auth_service.core.model import Client, Session, TokenRequest
from auth_service.core.refresh_tokens import RefreshTokenEncoding


class Grant(Protocol):
    grant_type: str
    confidential_only: bool
    issues_refresh_token: bool

    def check(self, request: TokenRequest) -> None:
        """Raise InvalidRequestError when a parameter of this grant is missing. Nothing else is done before it."""

    async def authorize(
        self,
        request: TokenRequest,
        client: Client,
        encoding: RefreshTokenEncoding | None,
        token: StoredToken | None,
        *,
        keep_email: bool,
    ) -> Session:
        """Prove the grant and record it. `token` is the access token to be stored with it, `encoding` how the
        dialect spells refresh tokens (None: it has none), `keep_email` whether its tokens name the user's address.
        """
