"""The token endpoint, which determines the dialect of a request and answers in it, errors included."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aiohttp import hdrs, web

from auth_service.api.parameters import (
    UnreadableRequestError,
    check_parameters,
    named_client,
    read_body,
    read_client_credentials,
)
from auth_service.core.errors import (
    InvalidClientError,
    OAuthError,
    StaleClientError,
    UnavailableError,
)
from auth_service.core.model import Client, TokenResponse
from auth_service.core.ports import Clients
from auth_service.core.server import AuthorizationServer
from auth_service.dialects.dialect import Dialect, Preferences


class TokenEndpoint:
    """Handles the token paths of all dialects; the client's registration determines the dialect.

    The first dialect is the standard one, in which requests from unknown clients are answered.
    """

    def __init__(
        self,
        server: AuthorizationServer,
        clients: Clients,
        dialects: Mapping[str, Dialect],
        address_of: Callable[[web.Request], str],
    ) -> None:
        self._server = server
        self._clients = clients
        self._dialects = dialects
        self._standard = next(iter(dialects.values()))
        # Several dialects may share a path; the first of them answers requests with a wrong method.
        self._by_path = {path: dialect for dialect in reversed(list(dialects.values())) for path in dialect.paths}
        self._address_of = address_of

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", path, self.handle) for path in self._by_path]

    async def handle(self, request: web.Request) -> web.Response:
        if request.method != hdrs.METH_POST:
            return self._by_path[request.path].render_method_not_allowed(hdrs.METH_POST)
        preferences = Preferences.of(request)
        dialect = self._standard
        try:
            body = await read_body(request)
            named = named_client(request, body)
            client = await self._client(named, request.path)
            dialect = self._dialects[client.dialect]
            try:
                response = await self._token(request, body, client)
            except StaleClientError:
                client = await self._fresh_client(named, request.path)
                dialect = self._dialects[client.dialect]
                response = await self._token(request, body, client)
        except UnreadableRequestError as error:
            return dialect.render_error(error, error.status, preferences)
        except StaleClientError:
            return dialect.render_error(UnavailableError(), None, preferences)
        except OAuthError as error:
            return dialect.render_error(error, None, preferences)
        return dialect.render_token(response)

    async def _token(self, request: web.Request, body: dict[str, Any], client: Client) -> TokenResponse:
        """Issue the tokens that the request asks for in the dialect of `client`."""
        parameters = check_parameters(request, body)
        credentials = read_client_credentials(request, parameters)
        read = self._dialects[client.dialect].read_token_request(parameters)
        return await self._server.token(client, credentials.secret, replace(read, address=self._address_of(request)))

    async def _client(self, client_id: str | None, path: str) -> Client:
        """The client that the request names, or else the one registered as the default for the path."""
        if client_id is not None:
            return _known(await self._clients.get(client_id))
        return _known(await self._clients.default_for(path))

    async def _fresh_client(self, client_id: str | None, path: str) -> Client:
        if client_id is not None:
            return _known(await self._clients.fresh(client_id))
        return _known(await self._clients.fresh_default_for(path))


def _known(client: Client | None) -> Client:
    if client is None:
        raise InvalidClientError
    return client
