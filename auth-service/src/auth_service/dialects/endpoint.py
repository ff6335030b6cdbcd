"""The token endpoint: which dialect answers, and the frame in which core errors leave in that dialect's words."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from aiohttp import hdrs, web

from auth_service.core.errors import InvalidClientError, InvalidRequestError, OAuthError
from auth_service.core.model import Client
from auth_service.core.ports import Clients
from auth_service.core.server import AuthorizationServer
from auth_service.dialects import bongo, rfc6749
from auth_service.dialects.dialect import Dialect, Words
from auth_service.dialects.parameters import (
    UnreadableRequestError,
    check_parameters,
    named_client,
    read_body,
    read_client_credentials,
)

STANDARD_PATHS = ("/oauth/token", "/oauth2/token")
BONGO_PATH = "/api/oauth/access-token/v1/"
PATHS = (*STANDARD_PATHS, BONGO_PATH)


class TokenEndpoint:
    """One handler for every token path: the client's registration names the dialect, so a path serves several."""

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
        self._address_of = address_of

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", path, self.handle) for path in PATHS]

    async def handle(self, request: web.Request) -> web.Response:
        if request.method != hdrs.METH_POST:
            return _method_not_allowed(request)
        words = Words.of(request)
        dialect = rfc6749.DIALECT
        try:
            body = await read_body(request)
            client = await self._client(named_client(request, body), request.path)
            dialect = self._dialects[client.dialect]
            parameters = check_parameters(request, body)
            credentials = read_client_credentials(request, parameters)
            token_request = replace(dialect.read_token_request(parameters), address=self._address_of(request))
            response = await self._server.token(client, credentials.secret, token_request)
        except UnreadableRequestError as error:
            return dialect.render_error(error, error.status, words)
        except OAuthError as error:
            return dialect.render_error(error, None, words)
        return dialect.render_token(response)

    async def _client(self, client_id: str | None, path: str) -> Client:
        """The client that the request names, else the one registered as the default of the path."""
        if client_id is not None:
            client = await self._clients.get(client_id)
        else:
            client = await self._clients.default_for(path)
        if client is None:
            raise InvalidClientError
        return client


def _method_not_allowed(request: web.Request) -> web.Response:
    if request.path == BONGO_PATH:
        return bongo.method_not_allowed("POST")
    error = InvalidRequestError("The token endpoint takes POST requests only.")
    response = rfc6749.DIALECT.render_error(error, 405, Words.of(request))
    response.headers[hdrs.ALLOW] = "POST"
    return response
