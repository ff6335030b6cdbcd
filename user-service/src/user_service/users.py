"""A user's data, and the refusals of requests about users."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from user_service.login_names import LoginName

Role = Literal["default", "admin"]


@dataclass(frozen=True, slots=True)
class User:
    """A user's record without the password hash. `epoch` counts the events that ended all older sessions.

    auth-service is told it with a base added, which is raised when a backup was restored: it never goes back there.
    """

    id: int
    email: str | None
    username: str | None
    phone_number: str | None
    role: Role
    epoch: int
    disabled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LoginNames:
    """The names a user can log in by; a user has at least one of them."""

    email: LoginName | None = None
    username: LoginName | None = None
    phone_number: LoginName | None = None

    def keys(self) -> list[str]:
        """The canonical forms; no two kinds share one: only e-mails have an `@`, only phone numbers a `+` in front."""
        return [name.key for name in (self.email, self.username, self.phone_number) if name is not None]


@dataclass(frozen=True, slots=True)
class Account:
    """A user with what only this service ever sees. `password_hash` is None where no password lets the user in."""

    user: User
    names: LoginNames
    password_hash: str | None = field(repr=False)


class InvalidFieldsError(Exception):
    """A request's fields cannot be accepted; `faults` says of each by name why not, without quoting it."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(", ".join(faults))
        self.faults = dict(faults)


class WrongPasswordError(InvalidFieldsError):
    """The current password given is not the user's."""

    def __init__(self) -> None:
        super().__init__({"current_password": "is not the user's password"})


class UnprovenError(Exception):
    """Something would change, and the caller has not proven to be more than the holder of a token."""


class InsufficientAuthenticationError(Exception):
    """The caller's token is good, but this request needs more. The text tells the client what.

    `challenge` is for `WWW-Authenticate`, or None. It is never 401: clients throw their tokens away on that.
    """

    code = "insufficient_user_authentication"

    def __init__(self, detail: str, challenge: str | None) -> None:
        super().__init__(detail)
        self.challenge = challenge


class TakenError(InvalidFieldsError):
    """Another user already has these login names."""


class NoSuchUserError(Exception):
    """There is no user with this id."""


class ChangedMeanwhileError(Exception):
    """The user was changed by another request while this one was on its way."""
