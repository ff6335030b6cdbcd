"""The steps that every token request takes, whatever its dialect and grant type, in one place that none can skip."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from auth_service.core.access_tokens import (
    AccessToken,
    AccessTokenFormat,
    ClientSignedFormat,
    DraftedToken,
    OpaqueFormat,
    SignedFormat,
    drop_day,
    token_id_of_session,
    uuid_token_id,
)
from auth_service.core.errors import (
    InvalidClientError,
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
from auth_service.core.grants.grant import Grant
from auth_service.core.model import Client, Session, TokenRequest, TokenResponse, session_name
from auth_service.core.ports import Clients, ServerKeys, Sessions, Throttle
from auth_service.core.refresh_tokens import RefreshTokenEncoding, RefreshTokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenFormats:
    """How a dialect's tokens are made; None where it has no refresh tokens."""

    access_token: AccessTokenFormat
    refresh_token: RefreshTokenEncoding | None


class AuthorizationServer:
    """Answers token requests. `formats` are by dialect name."""

    def __init__(
        self,
        issuer: str,
        clients: Clients,
        sessions: Sessions,
        keys: ServerKeys,
        refresh_tokens: RefreshTokens,
        grants: Iterable[Grant],
        formats: Mapping[str, TokenFormats],
        throttle: Throttle,
    ) -> None:
        self._issuer = issuer
        self._clients = clients
        self._sessions = sessions
        self._keys = keys
        self._refresh_tokens = refresh_tokens
        self._grants = {grant.grant_type: grant for grant in grants}
        self._formats = formats
        self._throttle = throttle

    async def token(self, client: Client, secret: str | None, request: TokenRequest) -> TokenResponse:
        """Issue tokens to `client`, or raise the OAuthError that says why not.

        Raises StaleClientError when the registration has changed since it was read: nothing was issued, and the request
        is to be read again as that of the client as it is now.
        """
        try:
            return await self._token(client, secret, request)
        except OAuthError as error:
            _log_refusal(client, request, error)
            raise

    async def _reread(self, client: Client) -> Client:
        fresh = await self._clients.fresh(client.client_id)
        if fresh is None:
            raise InvalidClientError
        return fresh

    async def _token(self, client: Client, secret: str | None, request: TokenRequest) -> TokenResponse:
        grant = self._grant(request)
        proved = await self.authenticate(client, secret, request.address, request.grant_type)
        if proved.version != client.version:
            raise StaleClientError
        try:
            return await self._issue(client, secret, grant, request)
        except (InvalidCredentialsError, InvalidScopeError, UnauthorizedClientError):
            # Nothing was written that names the registration's version. A client that has been disabled, or whose
            # secret is a former one, is not to be told what a password is worth, nor is one that has been given a scope
            # or a grant type to be told that it has not.
            if (await self._reread(client)).version != client.version:
                raise StaleClientError from None
            raise

    async def _issue(self, client: Client, secret: str | None, grant: Grant, request: TokenRequest) -> TokenResponse:
        if grant.grant_type not in client.grant_types or (grant.confidential_only and client.public):
            raise UnauthorizedClientError
        grant.check(request)
        formats = self._formats[client.dialect]
        drafted = _draft(formats.access_token, self._sessions.now() + client.access_token_lifetime)
        session = await grant.authorize(
            request,
            client,
            formats.refresh_token,
            drafted.stored if drafted else None,
            keep_email=isinstance(formats.access_token, ClientSignedFormat),
        )
        expires_at = min(session.now + client.access_token_lifetime, session.expires_at)
        if drafted:
            access_token = drafted.text
        else:
            access_token = await self._sign(client, secret, session, formats.access_token, expires_at)
        return self._respond(client, grant, session, access_token, expires_at)

    async def authenticate(
        self, client: Client, secret: str | None, address: str, grant_type: str | None = None
    ) -> Client:
        """The client, once it has proved who it is (RFC 6749 section 2.3).

        No secret is needed of a public client, nor for a grant type that the registration exempts. Raises
        InvalidClientError, or TooManyRequestsError after too many wrong secrets from this address.
        """
        if secret is not None and not client.public:
            client = await self._prove_secret(client, secret, address)
        if not self._authenticated(client, secret, grant_type):
            return await self._authenticate_anew(client, secret, grant_type)
        return client

    async def _prove_secret(self, client: Client, secret: str, address: str) -> Client:
        """The client, possibly disabled, whose secret it is. Only a wrong secret is a guess: see `authenticate`."""
        right = self._is_secret_of(client, secret)
        attempt = await self._throttle.admit_secret(client.client_id, address, right=right)
        try:
            fresh = client if right else await self._reread(client)
            if not right and not self._is_secret_of(fresh, secret):
                raise InvalidClientError
        except UnavailableError:
            await attempt.withdrawn()
            raise
        except InvalidClientError:
            await attempt.failed()
            raise
        await attempt.succeeded()
        return fresh

    async def _authenticate_anew(self, client: Client, secret: str | None, grant_type: str | None) -> Client:
        fresh = await self._reread(client)
        if not self._authenticated(fresh, secret, grant_type):
            raise InvalidClientError
        return fresh

    def _authenticated(self, client: Client, secret: str | None, grant_type: str | None) -> bool:
        if client.disabled:
            return False
        if secret is None:
            return client.public or grant_type in client.grant_types_without_secret
        return self._is_secret_of(client, secret)

    def _is_secret_of(self, client: Client, secret: str) -> bool:
        """Both comparisons are always made: how long it takes tells nothing about the client's secrets."""
        presented = hashlib.sha256(secret.encode()).digest()
        current = hmac.compare_digest(presented, client.secret_digest or secrets.token_bytes(32))
        former = hmac.compare_digest(presented, client.former_secret_digest or secrets.token_bytes(32))
        return current or (former and self._sessions.now() < client.former_secret_expires_at)

    def _grant(self, request: TokenRequest) -> Grant:
        """What is asked for at all comes before who asks: on it depends whether a secret is needed."""
        if request.grant_type is None:
            raise InvalidRequestError("The parameter grant_type is missing.")
        grant = self._grants.get(request.grant_type)
        if grant is None:
            raise UnsupportedGrantTypeError
        return grant

    def _respond(
        self, client: Client, grant: Grant, session: Session, access_token: str, expires_at: float
    ) -> TokenResponse:
        formats = self._formats[client.dialect]
        refresh_token = None
        if client.refreshes and grant.issues_refresh_token and formats.refresh_token is not None:
            refresh_token = self._refresh_tokens.derive(
                session.id, session.counter, client.client_id, formats.refresh_token
            )
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

    async def _sign(
        self, client: Client, secret: str | None, session: Session, form: AccessTokenFormat, expires_at: float
    ) -> str:
        if isinstance(form, ClientSignedFormat):
            day = drop_day(expires_at)
            token = self._access_token(client, session, uuid_token_id(day), expires_at)
            # While two secrets hold, the one that this request proved is the one that its sender is sure to know.
            key = secret.encode() if secret is not None else client.secret
            if key is None:
                raise UnavailableError
            signed = self._keys.sign_with_secret(form.algorithm, key, form.header(client.client_id), form.claims(token))
            await self._sessions.store_token(
                session, form.stored(signed, form.claims(token)), client.access_token_lifetime
            )
            return signed
        if isinstance(form, SignedFormat):
            token = self._access_token(client, session, token_id_of_session(session.id), expires_at)
            header = form.header(self._keys.active_key_id(form.algorithm))
            return self._keys.sign(form.algorithm, header, form.claims(token))
        raise UnavailableError

    def _access_token(self, client: Client, session: Session, token_id: str, expires_at: float) -> AccessToken:
        return AccessToken(
            issuer=self._issuer,
            client=client,
            session=session,
            token_id=token_id,
            issued_at=int(session.now),
            expires_at=int(expires_at),
        )


def _draft(form: AccessTokenFormat, expires_at: float) -> DraftedToken | None:
    return form.draft(expires_at) if isinstance(form, OpaqueFormat) else None


def _log_refusal(client: Client, request: TokenRequest, error: OAuthError) -> None:
    facts = {"client_id": client.client_id, "error": error.code, "address": request.address}
    if request.grant_type in client.grant_types:
        facts["grant_type"] = str(request.grant_type)
    if isinstance(error, RefreshTokenReusedError):
        log.warning("refresh token reused, session ended", extra=facts | {"session_id": session_name(error.session_id)})
    elif isinstance(error, InvalidGrantError):
        log.warning("grant refused", extra=facts)
    elif isinstance(error, UnavailableError) and error.__cause__ is not None:
        log.warning("unavailable", exc_info=error, extra=facts)
    else:
        log.info("token request refused", extra=facts)
