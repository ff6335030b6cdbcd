"""Client authentication (RFC 6749 section 2.3), and the rules of client registrations."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from auth_service.core import scope
from auth_service.core.errors import InvalidClientError, InvalidScopeError, UnavailableError
from auth_service.core.model import Client
from auth_service.core.ports import Clients, Throttle

GOOD_SECRET_LENGTH = 32
DAY = 86400
_VISIBLE = re.compile(r"[\x20-\x7e]+")


class ClientAuthentication:
    """Authenticates clients. `clock` is the database's, in epoch seconds."""

    def __init__(self, clients: Clients, throttle: Throttle, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._throttle = throttle
        self._clock = clock

    async def authenticate(self, client: Client, secret: str | None, address: str, grant_type: str = "") -> Client:
        """The authenticated client, read again if its cached registration refused it.

        A public client needs no secret, and neither does a grant type that the registration exempts. Raises
        InvalidClientError, or TooManyRequestsError after too many wrong secrets from this address.
        """
        if secret is not None and not client.public:
            client = await self._prove_secret(client, secret, address)
        if self._is_authenticated(client, secret, grant_type):
            return client
        fresh = await self.reread(client)
        if not self._is_authenticated(fresh, secret, grant_type):
            raise InvalidClientError
        return fresh

    async def reread(self, client: Client) -> Client:
        """The current registration. Raises InvalidClientError if it has been removed."""
        fresh = await self._clients.fresh(client.client_id)
        if fresh is None:
            raise InvalidClientError
        return fresh

    async def _prove_secret(self, client: Client, secret: str, address: str) -> Client:
        """The client, possibly disabled, whose secret this is. Only a wrong secret counts as a guess."""
        right = self._is_secret_of(client, secret)
        attempt = await self._throttle.admit_secret(client.client_id, address, right=right)
        try:
            fresh = client if right else await self.reread(client)
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

    def _is_authenticated(self, client: Client, secret: str | None, grant_type: str) -> bool:
        if client.disabled:
            return False
        if secret is None:
            return client.public or grant_type in client.grant_types_without_secret
        return self._is_secret_of(client, secret)

    def _is_secret_of(self, client: Client, secret: str) -> bool:
        """Both comparisons are always made, so that their duration reveals nothing about the client's secrets."""
        presented = hashlib.sha256(secret.encode()).digest()
        current = hmac.compare_digest(presented, client.secret_digest or secrets.token_bytes(32))
        former = hmac.compare_digest(presented, client.former_secret_digest or secrets.token_bytes(32))
        return current or (former and self._clock() < client.former_secret_expires_at)


@dataclass(frozen=True)
class Defaults:
    """The default values of a registration. Lifetimes are in seconds."""

    grant_types: frozenset[str]
    access_token_lifetime: int
    scope: frozenset[str] = frozenset()
    idle_lifetime: int = 30 * DAY
    session_lifetime: int = 365 * DAY


@dataclass(frozen=True)
class RegistrationRules:
    """The rules for registrations. The methods that check something return faults, a phrase for each.

    `defaults` are by dialect. `secret_signs` names the dialects whose tokens are signed with the client's secret.
    `grant_types` are all that exist, `confidential_only` those that public clients cannot have, and `paths` the token
    endpoints. `names` maps the fields of a registration to their names in the phrases, such as `--grant-type`.
    """

    defaults: Mapping[str, Defaults]
    secret_signs: Collection[str]
    grant_types: Sequence[str]
    confidential_only: Collection[str]
    paths: Sequence[str]
    names: Mapping[str, str]

    def new(self, client_id: str, dialect: str, asked: frozenset[str] | None) -> Client:
        """A registration with the dialect's defaults, and the scope `asked`, if any, also as its default."""
        defaults = self.defaults[dialect]
        granted = defaults.scope if asked is None else asked
        return Client(
            client_id=client_id,
            dialect=dialect,
            version=1,
            grant_types=defaults.grant_types,
            scope=granted,
            default_scope=granted,
            access_token_lifetime=defaults.access_token_lifetime,
            idle_lifetime=defaults.idle_lifetime,
            session_lifetime=defaults.session_lifetime,
        )

    def faults_of_new(self, client_id: str | None, dialect: str | None) -> list[str]:
        """The faults of the id and the dialect of a new registration."""
        faults = []
        if client_id is None:
            faults.append(f"{self.names['client_id']} is missing: the id that the client sends")
        elif not _VISIBLE.fullmatch(client_id) or len(client_id) > 255:
            faults.append("a client id is 1 to 255 printable ASCII characters")
        named, known = self.names["dialect"], ", ".join(self.defaults)
        if dialect is None:
            faults.append(f"{named} is missing: the API that the client speaks, one of {known}")
        elif dialect not in self.defaults:
            faults.append(f"{named} must be one of {known}")
        return faults

    def faults_of_values(
        self, grant_types: Mapping[str, Set[str]], scopes: Mapping[str, str], default_for: str | None
    ) -> list[str]:
        """The faults of individual fields, regardless of the others; grant types and texts of scopes are by field."""
        names = self.names
        faults = [
            f"{names[field]} must be one of {', '.join(self.grant_types)}"
            for field, values in grant_types.items()
            if values - set(self.grant_types)
        ]
        for field, text in scopes.items():
            try:
                scope.parse(text)
            except InvalidScopeError:
                faults.append(f"{names[field]} must be words of printable ASCII, separated by single spaces")
        if default_for is not None and default_for not in self.paths:
            faults.append(f"{names['default_for']} must be one of {', '.join(self.paths)}")
        return faults

    def contradictions(self, client: Client, *, public: bool) -> list[str]:
        """The fields of a registration that contradict each other."""
        names = self.names
        faults = self._contradictions_of_public(client) if public else []
        if unsigned := client.grant_types_without_secret - client.grant_types:
            field, types = names["grant_types_without_secret"], names["grant_types"]
            faults.append(f"{field}: {_join(unsigned)} is not among the grant types ({types})")
        if beyond := client.default_scope - client.scope:
            faults.append(f"the default scope exceeds the scope: {names['scope']} lacks {_join(beyond)}")
        return faults

    def _contradictions_of_public(self, client: Client) -> list[str]:
        faults = []
        if client.dialect in self.secret_signs:
            faults.append(
                f"a {client.dialect} client cannot be public: "
                f"its tokens are signed with its secret, of at least {GOOD_SECRET_LENGTH} characters"
            )
        if forbidden := client.grant_types & set(self.confidential_only):
            others = [name for name in self.grant_types if name not in self.confidential_only]
            added = " and ".join(f"{self.names['grant_types']} {name}" for name in others)
            faults.append(f"a public client cannot have {_join(forbidden)}: add {added}, or one of them")
        return faults

    def faults_of_secret(self, secret: str | None, dialect: str | None, *, public: bool) -> list[str]:
        """The faults of a secret that an operator chose; none if `secret` is None."""
        if secret is None:
            return []
        faults = []
        if public:
            faults.append(f"a public client has no secret: leave out {self.names['public']}, or the secret")
        if not secret or not secret.isprintable():
            faults.append("a secret must not be empty and must have printable characters only")
        if dialect in self.secret_signs and len(secret) < GOOD_SECRET_LENGTH:
            faults.append(
                f"tokens of {dialect} are signed with the secret, so it needs at least {GOOD_SECRET_LENGTH} characters"
            )
        return faults


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
