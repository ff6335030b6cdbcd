"""A user's data, and the errors of requests about users."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from user_service.login_names import LoginName

Role = Literal["default", "admin"]


@dataclass(frozen=True, slots=True)
class User:
    """A user's record without the password hash. `epoch` counts the events that ended all older sessions.

    auth-service gets it with a base added. Restoring a backup raises the base, so the sum never decreases.
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
    """The names that a user can log in with; a user has at least one of them."""

    email: LoginName | None = None
    username: LoginName | None = None
    phone_number: LoginName | None = None

    def keys(self) -> list[str]:
        """The canonical forms. No two kinds share one: only e-mails have an `@`, only phone numbers a leading `+`."""
        return [name.key for name in (self.email, self.username, self.phone_number) if name is not None]


@dataclass(frozen=True, slots=True)
class Account:
    """A user with data that only this service sees. `password_hash` is None if the user has no password."""

    user: User
    names: LoginNames
    password_hash: str | None = field(repr=False)


class InvalidFieldsError(Exception):
    """Fields of a request are not acceptable; `faults` gives the reason for each by name, without quoting it."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(", ".join(faults))
        self.faults = dict(faults)


class WrongPasswordError(InvalidFieldsError):
    """The current password given is not the user's."""

    def __init__(self) -> None:
        super().__init__({"current_password": "is not the user's password"})


class UnprovenError(Exception):
    """Something would change, but the caller has only shown a token and not proven to be its user."""


class InsufficientAuthenticationError(Exception):
    """The caller's token is valid, but this request needs more. The text tells the client what.

    `challenge` is for `WWW-Authenticate`, or None. The status is never 401, at which clients discard their tokens.
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
    """Another request changed the user while this one was being processed."""
