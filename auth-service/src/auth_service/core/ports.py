"""The ports: all that the core needs from outside the process. Every method may raise UnavailableError."""

from collections.abc import Sequence
from typing import Any, Protocol

from auth_service.core.model import ActiveToken, Client, Session, SessionSummary, StoredToken, User


class Clients(Protocol):
    async def get(self, client_id: str) -> Client | None:
        """The registration, possibly as it was up to a minute ago: a statement that relies on it names its version."""

    async def fresh(self, client_id: str) -> Client | None:
        """The registration as it is now."""

    async def default_for(self, path: str) -> Client | None:
        """The client that answers at `path` for requests that name none, possibly as it was up to a minute ago."""

    async def fresh_default_for(self, path: str) -> Client | None:
        """The client that answers at `path` now for requests that name none."""


class Users(Protocol):
    async def accounts_of(self, login: str, login_type: str, address: str) -> Sequence[str]:
        """The accounts that guesses at `login` count against: the same one for all login names of a user.

        A login that nobody has is an account of its own, and nothing about the answer tells that it is nobody's.
        A login that can be read as two names has two accounts. The first is the one whose password is compared.
        Raises UnavailableError where the last logins found no room, and others from the network of `address` wait.
        """

    async def check_credentials(self, login: str, login_type: str, password: str, address: str) -> User | None:
        """The user, or None: unknown, wrong password and disabled cannot be told apart.

        `address` is the client's, as text. Raises CallerLeftError when the client hangs up before the answer comes.
        """


class Attempt(Protocol):
    """A guess that was admitted. It counts as a wrong one until its outcome is reported."""

    async def succeeded(self) -> None: ...

    async def failed(self) -> None: ...

    async def withdrawn(self) -> None:
        """The guess was never judged, so it does not count."""


class Throttle(Protocol):
    """Budgets for guesses. Each method raises TooManyRequestsError when a budget is used up, never UnavailableError.

    `address` is the client's, as text.
    """

    async def admit_login(self, accounts: Sequence[str], client_id: str, address: str) -> Attempt:
        """Admit a login before its password is checked. `accounts` comes from `Users.accounts_of`."""

    async def admit_secret(self, client_id: str, address: str, *, right: bool) -> Attempt:
        """Admit a client's secret before anybody learns whether it is the right one."""

    async def count_refused_refresh(self, client_id: str, address: str) -> None:
        """Count a refresh token that was refused."""

    async def count_inactive_token(self, client_id: str, address: str) -> None:
        """Count an introspection that found no active token."""


class Sessions(Protocol):
    def now(self) -> float:
        """Epoch seconds by the clock that sessions and stored tokens expire by. Raises nothing."""

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
        """Record a session, and its access token where that is looked up, in one statement.

        The user has just logged in, by the methods `amr` (RFC 8176); a client that acts for itself has none.
        It ends those of the user's sessions at this client that were used longest ago, where there are too many.
        Raises StaleClientError when the registration has changed, InvalidCredentialsError when the user's epoch has.
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

        Within the grace time the predecessor gets the same successor again. Anything older ends the session and
        raises RefreshTokenReusedError. Too many retries, or too many rotations of one session, raise
        TooManyRequestsError and change nothing. Also raises InvalidGrantError, InvalidScopeError and StaleClientError.
        """

    async def store_token(self, session: Session, token: StoredToken, lifetime: int) -> None:
        """Record an access token (`lifetime` in seconds) that could only be made once its session was known."""

    async def active(self, session_id: int) -> ActiveToken | None:
        """The facts of a live session, with its own scope and times; None when it has ended."""

    async def active_by_token(self, token: StoredToken) -> ActiveToken | None:
        """The facts of an issued token. None: not issued, or ended. Raises ExpiredTokenError when it has run out."""

    async def refreshable(self, session_id: int, counter: int) -> ActiveToken | None:
        """The facts of the refresh token `counter`, when it would still be accepted as the current one."""

    async def of_user(self, user_id: int) -> Sequence[SessionSummary]:
        """The user's live sessions, newest first."""


class ServerKeys(Protocol):
    def active_key_id(self, algorithm: str) -> str:
        """The `kid` that `sign` would sign with now."""

    def sign(self, algorithm: str, header: dict[str, str], claims: dict[str, Any]) -> str:
        """A compact JWS under the active key of `algorithm`; the header's order is kept."""

    def sign_with_secret(self, algorithm: str, secret: bytes, header: dict[str, str], claims: dict[str, Any]) -> str:
        """A compact JWS under a client's own secret."""

    def algorithm_of(self, token: str) -> str | None:
        """The `alg` that a compact JWS names; None when it is not one."""

    def is_known(self, kid: str) -> bool:
        """True while the key has not been removed; what it signed is to be verified again otherwise."""

    async def verified_claims(self, token: str, algorithm: str, media_type: str) -> tuple[dict[str, Any], str]:
        """The claims of a token whose `typ` is `media_type`, and the `kid` of the key of ours that signed it.

        Raises InvalidTokenError, or UnknownKeyError where a key that is not known yet may have signed it.
        """

    def unverified_claims(self, token: str) -> dict[str, Any]:
        """The claims of a token whose signature decides nothing. Raises InvalidTokenError."""
