"""Revocation (RFC 7009) and introspection (RFC 7662) of the tokens of every dialect, in the form of the RFCs."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from auth_service.api.parameters import UnreadableRequestError, read_client_credentials, read_parameters
from auth_service.core.clients import ClientAuthentication
from auth_service.core.errors import InvalidClientError, InvalidRequestError, OAuthError
from auth_service.core.model import Client
from auth_service.core.ports import Clients, Throttle
from auth_service.core.verification import Verifier
from auth_service.dialects import rfc6749
from auth_service.dialects.dialect import Preferences, reply

REVOCATION_PATH = "/oauth/revoke"
INTROSPECTION_PATH = "/oauth/introspect"

Answer = Callable[[Client, str, str], Awaitable[web.Response]]


class TokenManagement:
    """The endpoints at which an authenticated client manages its tokens."""

    def __init__(
        self,
        authentication: ClientAuthentication,
        clients: Clients,
        verifier: Verifier,
        throttle: Throttle,
        address_of: Callable[[web.Request], str],
    ) -> None:
        self._authentication = authentication
        self._clients = clients
        self._verifier = verifier
        self._throttle = throttle
        self._address_of = address_of

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(REVOCATION_PATH, self.revoke),
            web.post(INTROSPECTION_PATH, self.introspect),
        ]

    async def revoke(self, request: web.Request) -> web.Response:
        return await self._framed(request, self._revoke)

    async def introspect(self, request: web.Request) -> web.Response:
        return await self._framed(request, self._introspect)

    async def _framed(self, request: web.Request, answer: Answer) -> web.Response:
        preferences, address = Preferences.of(request), self._address_of(request)
        try:
            parameters = await read_parameters(request)
            credentials = read_client_credentials(request, parameters)
            client = await self._clients.fresh(credentials.client_id) if credentials.client_id else None
            if client is None:
                raise InvalidClientError
            client = await self._authentication.authenticate(client, credentials.secret, address)
            token = parameters.get("token")
            if not token:
                raise InvalidRequestError("The parameter token is missing.")
            return await answer(client, token, address)
        except UnreadableRequestError as error:
            return rfc6749.DIALECT.render_error(error, error.status, preferences)
        except OAuthError as error:
            return rfc6749.DIALECT.render_error(error, None, preferences)

    async def _revoke(self, client: Client, token: str, _address: str) -> web.Response:
        """Answer 200 even if the token does not exist or belongs to another client (RFC 7009 section 2.2)."""
        await self._verifier.revoke(token, client)
        return reply({})

    async def _introspect(self, client: Client, token: str, address: str) -> web.Response:
        if client.public:
            raise InvalidClientError
        answer = await self._verifier.introspect(token, client)
        if not answer["active"]:
            await self._throttle.count_inactive_token(client.client_id, address)
        return reply(answer)
