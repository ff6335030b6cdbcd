"""The pipeline of every token request: client, grant, scope, prove, record, issue. No grant can skip a step."""

import logging
from collections.abc import Iterable, Mapping

from auth_service.core import scope
from auth_service.core.clients import ClientAuthentication
from auth_service.core.errors import (
    InvalidCredentialsError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuthError,
    RefreshTokenReusedError,
    StaleClientError,
    UnauthorizedClientError,
    UnavailableError,
    UnsupportedGrantTypeError,
)
from auth_service.core.grants.grant import Grant, NewSession, Rotation
from auth_service.core.model import Client, Session, StoredToken, TokenRequest, TokenResponse, session_name
from auth_service.core.ports import ServerKeys, Sessions, Throttle
from auth_service.core.tokens.formats import AccessToken, TokenFormats
from auth_service.core.tokens.refresh import RefreshTokens

log = logging.getLogger(__name__)


class AuthorizationServer:
    """Answers token requests. `formats` are by dialect name."""

    def __init__(
        self,
        issuer: str,
        authentication: ClientAuthentication,
        sessions: Sessions,
        keys: ServerKeys,
        refresh_tokens: RefreshTokens,
        grants: Iterable[Grant],
        formats: Mapping[str, TokenFormats],
        throttle: Throttle,
    ) -> None:
        self._issuer = issuer
        self._authentication = authentication
        self._sessions = sessions
        self._keys = keys
        self._refresh_tokens = refresh_tokens
        self._grants = {grant.grant_type: grant for grant in grants}
        self._formats = formats
        self._throttle = throttle

    async def token(self, client: Client, secret: str | None, request: TokenRequest) -> TokenResponse:
        """Issue tokens to `client`, or raise the OAuthError that gives the reason.

        Raises StaleClientError if the registration has changed since it was read: nothing was issued, and the request
        must be read again with the client's current registration.
        """
        try:
            return await self._token(client, secret, request)
        except OAuthError as error:
            _log_refusal(client, request, error)
            raise

    async def _token(self, client: Client, secret: str | None, request: TokenRequest) -> TokenResponse:
        grant = self._grant(request)
        proved = await self._authentication.authenticate(client, secret, request.address, request.grant_type)
        if proved.version != client.version:
            raise StaleClientError
        try:
            return await self._answer(client, secret, grant, request)
        except (InvalidCredentialsError, InvalidScopeError, UnauthorizedClientError):
            # No statement has checked the registration's version. A client that has been disabled, or whose secret is
            # a former one, must not learn whether a password is right; nor must a client that has just been given a
            # scope or a grant type be told that it lacks it.
            if (await self._authentication.reread(client)).version != client.version:
                raise StaleClientError from None
            raise

    def _grant(self, request: TokenRequest) -> Grant:
        """The requested grant. It comes before client authentication, because it decides whether a secret is needed."""
        if not request.grant_type:
            raise InvalidRequestError("The parameter grant_type is missing.")
        grant = self._grants.get(request.grant_type)
        if grant is None:
            raise UnsupportedGrantTypeError
        return grant

    async def _answer(self, client: Client, secret: str | None, grant: Grant, request: TokenRequest) -> TokenResponse:
        if grant.grant_type not in client.grant_types or (grant.confidential_only and client.public):
            raise UnauthorizedClientError
        grant.check(request)
        asked = scope.parse(request.scope)
        if not grant.narrows:
            scope.granted(asked, client)  # refuse a scope that the client may not have before checking the password
        draft = self._formats[client.dialect].access_token.draft(self._sessions.now() + client.access_token_lifetime)
        try:
            proof = await grant.prove(request, client)
            session = await self._record(client, proof, asked, draft.stored)
        except InvalidGrantError:
            if grant.narrows:
                await self._throttle.count_refused_refresh(client.client_id, request.address)
            raise
        expires_at = min(session.now + client.access_token_lifetime, session.expires_at)
        token = AccessToken(
            issuer=self._issuer,
            client=client,
            session=session,
            issued_at=int(session.now),
            expires_at=int(expires_at),
            # While two secrets are accepted, the sender surely knows the one that this request presented.
            secret=secret.encode() if secret is not None else client.secret,
        )
        return self._respond(grant, token, await draft.issue(token, self._keys, self._sessions), expires_at)

    async def _record(
        self, client: Client, proof: NewSession | Rotation, asked: frozenset[str] | None, stored: StoredToken | None
    ) -> Session:
        """Record the result of the grant, and the access token if that is looked up, in one statement."""
        if isinstance(proof, Rotation):
            return await self._sessions.rotate(client, proof.session_id, proof.counter, asked, stored)
        keep_email = self._formats[client.dialect].access_token.needs_email
        granted = scope.granted(asked, client)
        return await self._sessions.open(
            client, proof.user, granted, keep_email=keep_email, token=stored, amr=proof.amr
        )

    def _respond(self, grant: Grant, token: AccessToken, access_token: str, expires_at: float) -> TokenResponse:
        client, session = token.client, token.session
        encoding = self._formats[client.dialect].refresh_token
        refresh_token = None
        if client.refreshes and grant.issues_refresh_token and encoding is not None:
            refresh_token = self._refresh_tokens.derive(session.id, session.counter, client.client_id, encoding)
        log.info(
            "token issued",
            extra={
                "client_id": client.client_id,
                "grant_type": grant.grant_type,
                "session_id": session_name(session.id),
                "user_id": session.user_id,
            },
        )
        return TokenResponse(
            access_token=access_token,
            expires_in=round(expires_at - session.now),
            issued_at=session.now,
            scope=session.access_scope,
            user_id=session.user_id,
            refresh_token=refresh_token,
        )


def _log_refusal(client: Client, request: TokenRequest, error: OAuthError) -> None:
    facts = {"client_id": client.client_id, "error": error.code, "address": request.address}
    if request.grant_type in client.grant_types:
        facts["grant_type"] = request.grant_type
    if isinstance(error, RefreshTokenReusedError):
        log.warning("refresh token reused, session ended", extra=facts | {"session_id": session_name(error.session_id)})
    elif isinstance(error, InvalidGrantError):
        log.warning("grant refused", extra=facts)
    elif isinstance(error, UnavailableError) and error.__cause__ is not None:
        log.warning("unavailable", exc_info=error, extra=facts)
    else:
        log.info("token request refused", extra=facts)
