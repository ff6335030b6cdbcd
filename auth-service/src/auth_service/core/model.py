"""The data types of the core."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


def subject_of(user_id: int | None, client_id: str, subject: str | None = None) -> str:
    """The value of a `sub`: the session's `subject` if it has one, else the user's number, else `client:<client_id>`.

    A user's subject never begins with `client:`, so no client can pass for a user (RFC 9068 section 5).
    """
    if subject is not None:
        return subject
    return str(user_id) if user_id is not None else f"client:{client_id}"


@dataclass(frozen=True, slots=True)
class Client:
    """A registration. Lifetimes are in seconds. `secret_digest` is the secret's SHA-256, None for a public client.

    `secret` is known only if it signs tokens. The former secret is accepted until `former_secret_expires_at`, in epoch
    seconds. Requests to the path `default_for` that name no client are this client's. `version` changes with every
    change of the row.
    """

    client_id: str
    dialect: str
    version: int
    grant_types: frozenset[str]
    grant_types_without_secret: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()
    default_scope: frozenset[str] = frozenset()
    access_token_lifetime: int = 900
    idle_lifetime: int = 30 * 86400
    session_lifetime: int = 365 * 86400
    default_for: str | None = None
    disabled: bool = False
    secret_digest: bytes | None = field(default=None, repr=False)
    former_secret_digest: bytes | None = field(default=None, repr=False)
    former_secret_expires_at: float = 0.0
    secret: bytes | None = field(default=None, repr=False)

    @property
    def public(self) -> bool:
        return self.secret_digest is None

    @property
    def refreshes(self) -> bool:
        return "refresh_token" in self.grant_types


@dataclass(frozen=True, slots=True)
class User:
    """A user as the credential check found it. `epoch` rises whenever the user's sessions must end."""

    id: int
    email: str | None
    epoch: int


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The parameters of a token request under RFC 6749's names; an absent one is empty (section 3.2).

    `parameters` has all of them as they came, for grants with parameters of their own.
    `login_type` narrows what `username` may be: `any`, or `phone_number`. `address` is the client's, as text.
    """

    grant_type: str = ""
    scope: str = ""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    login_type: str = "any"
    address: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One grant of access, as the database last reported it. Times are epoch seconds of its clock.

    `subject` is what the client sees as `sub`; everything inside goes by `user_id`. `access_scope` is the scope of the
    access token being issued: `scope`, or the part to which a refresh narrowed it. `auth_time` is when the user logged
    in, and `amr` how (RFC 8176); a client that acts for itself has neither.
    """

    id: int
    client_id: str
    user_id: int | None
    subject: str
    scope: frozenset[str]
    access_scope: frozenset[str]
    counter: int
    now: float
    expires_at: float
    email: str | None = None
    auth_time: float | None = None
    amr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredToken:
    """The part of a token that is stored to look it up. `drop_day` is in days since 1970-01-01 (UTC)."""

    digest: bytes
    drop_day: int


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """The answer to a successful token request; `issued_at` is epoch seconds with fractions."""

    access_token: str = field(repr=False)
    expires_in: int
    issued_at: float
    scope: frozenset[str]
    user_id: int | None
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ActiveToken:
    """The facts of a valid access token. Times are epoch seconds; `now` is the time by the database's clock.

    `subject` is what the client sees as `sub`; everything inside goes by `user_id`. `auth_time` is when the user logged
    in, which a refresh does not change; None where a client acts for itself. `amr` is how the user logged in (RFC
    8176), empty where that is not known.
    """

    session_id: int
    client_id: str
    dialect: str
    user_id: int | None
    subject: str
    scope: frozenset[str]
    issued_at: float
    expires_at: float
    now: float
    auth_time: float | None
    amr: tuple[str, ...] = ()

    def of_token(self, scope: frozenset[str], issued_at: float, expires_at: float) -> "ActiveToken":
        """The same session's facts as one of its tokens states them."""
        return replace(self, scope=scope, issued_at=issued_at, expires_at=expires_at)

    @property
    def internal_subject(self) -> str:
        """The `sub` of verdicts and internal tokens: the user's number, or `client:<client_id>`."""
        return subject_of(self.user_id, self.client_id)


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A live session as its user sees it. Times are epoch seconds."""

    id: int
    client_id: str
    scope: frozenset[str]
    created_at: float
    refreshed_at: float | None
    expires_at: float


def session_name(session_id: int) -> str:
    """A session id on the wire: 16 hex digits, since a JSON number of 63 bits is not safe in JavaScript."""
    return f"{session_id:016x}"
