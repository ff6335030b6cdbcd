"""The ports: everything that the core needs from outside the process. Every method may raise UnavailableError."""

from collections.abc import Sequence
from typing import Any, Protocol

from auth_service.core.model import ActiveToken, Client, Session, SessionSummary, StoredToken, User


class Clients(Protocol):
    async def get(self, client_id: str) -> Client | None:
        """The registration, possibly up to a minute old: a statement that relies on it must check its version."""

    async def fresh(self, client_id: str) -> Client | None:
        """The current registration."""

    async def default_for(self, path: str) -> Client | None:
        """The default client for requests to `path` that name none, possibly up to a minute old."""

    async def fresh_default_for(self, path: str) -> Client | None:
        """The current default client for requests to `path` that name none."""


class Users(Protocol):
    async def accounts_of(self, login: str, login_type: str, address: str) -> Sequence[str]:
        """The accounts that guesses at `login` count against; all login names of a user have the same account.

        An unknown login is an account of its own, and the answer does not reveal that it is unknown. A login that can
        be read as two names has two accounts; the password is compared with that of the first. Raises UnavailableError
        if user-service had no room for the last logins and others from the network of `address` are waiting.
        """

    async def check_credentials(self, login: str, login_type: str, password: str, address: str) -> User | None:
        """The user, or None for an unknown user, a wrong password and a disabled user alike.

        `address` is the client's, as text. Raises CallerLeftError if the client hangs up before the answer arrives.
        """


class Attempt(Protocol):
    """A guess that was admitted. It counts as wrong until its outcome is reported."""

    async def succeeded(self) -> None: ...

    async def failed(self) -> None: ...

    async def withdrawn(self) -> None:
        """The guess was never judged, so it does not count."""


class Throttle(Protocol):
    """Budgets for guesses. Each method raises TooManyRequestsError if a budget is used up, never UnavailableError.

    `address` is the client's, as text.
    """

    async def admit_login(self, accounts: Sequence[str], client_id: str, address: str) -> Attempt:
        """Admit a login before its password is checked. `accounts` comes from `Users.accounts_of`."""

    async def admit_secret(self, client_id: str, address: str, *, right: bool) -> Attempt:
        """Admit a client's secret before the caller learns whether it is right."""

    async def count_refused_refresh(self, client_id: str, address: str) -> None:
        """Count a refresh token that was refused."""

    async def count_inactive_token(self, client_id: str, address: str) -> None:
        """Count an introspection that found no active token."""


class Sessions(Protocol):
    def now(self) -> float:
        """The time in epoch seconds by the clock that expires sessions and stored tokens. Raises nothing."""

    async def open(
        self,
        client: Client,
        user: User | None,
        scope: frozenset[str],
        *,
        keep_email: bool,
        token: StoredToken | None,
        amr: Sequence[str] = (),
    ) -> Session:
        """Record a session, and its access token if that is looked up, in one statement.

        The user has just logged in, by the methods `amr` (RFC 8176); a client that acts for itself has none.
        If the user has too many sessions at this client, the least recently used ones end. Raises StaleClientError if
        the registration has changed, InvalidCredentialsError if the user's epoch has.
        """

    async def rotate(
        self,
        client: Client,
        session_id: int,
        counter: int,
        scope: frozenset[str] | None,
        token: StoredToken | None,
    ) -> Session:
        """Replace refresh token `counter` by its successor, in one statement; `scope` narrows the access token.

        Within the grace period the predecessor gets the same successor again. Any older token ends the session and
        raises RefreshTokenReusedError. Too many retries, or too many rotations of one session, raise
        TooManyRequestsError and change nothing. Also raises InvalidGrantError, InvalidScopeError and StaleClientError.
        """

    async def store_token(self, session: Session, token: StoredToken, lifetime: int) -> None:
        """Record an access token (`lifetime` in seconds) that could only be made once its session was known."""

    async def active(self, session_id: int) -> ActiveToken | None:
        """The facts of a live session, with its own scope and times; None if it has ended."""

    async def active_by_token(self, token: StoredToken) -> ActiveToken | None:
        """The facts of a token; None if it was not issued or was ended. Raises ExpiredTokenError if it has expired."""

    async def refreshable(self, session_id: int, counter: int) -> ActiveToken | None:
        """The facts of the refresh token `counter` if it would be accepted as the current one, or None."""

    async def of_user(self, user_id: int) -> Sequence[SessionSummary]:
        """The user's live sessions, newest first."""


class ServerKeys(Protocol):
    def active_key_id(self, algorithm: str) -> str:
        """The `kid` of the key with which `sign` would sign now."""

    def sign(self, algorithm: str, header: dict[str, str], claims: dict[str, Any]) -> str:
        """A compact JWS signed with the active key of `algorithm`; the order of the header's fields is kept."""

    def sign_with_secret(self, algorithm: str, secret: bytes, header: dict[str, str], claims: dict[str, Any]) -> str:
        """A compact JWS signed with a client's own secret."""

    def algorithm_of(self, token: str) -> str | None:
        """The `alg` that a compact JWS names; None if `token` is not a compact JWS."""

    def is_known(self, kid: str) -> bool:
        """True until the key is removed; after that, tokens that it signed must be verified again."""

    async def verified_claims(self, token: str, algorithm: str, media_type: str) -> tuple[dict[str, Any], str]:
        """The claims of a token whose `typ` is `media_type`, and the `kid` of the key of ours that signed it.

        Raises InvalidTokenError, or UnknownKeyError if a key that is not known yet may have signed it.
        """

    def unverified_claims(self, token: str) -> dict[str, Any]:
        """The claims of a token, without checking its signature. Raises InvalidTokenError."""
