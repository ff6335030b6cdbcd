"""Everything that can be done to a user, step by step, with cheap checks before expensive work."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import get_args
from weakref import WeakValueDictionary

import structlog

from servicekit.http import ServiceUnavailableError
from servicekit.postgres import Database
from servicekit.throttling.networks import UNKNOWN
from user_service import login_names, restoring, storage
from user_service.login_names import InvalidLoginNameError, Kind, LoginName, LoginType
from user_service.password_policy import PasswordPolicy
from user_service.passwords import AdmittedHashes, HashPool
from user_service.users import (
    Account,
    InvalidFieldsError,
    LoginNames,
    NoSuchUserError,
    Role,
    User,
    WrongPasswordError,
)

log = structlog.get_logger()


class Accounts:
    """Signs up, checks, changes and deletes users; holds no database connection while hashing."""

    def __init__(self, database: Database, hashes: HashPool, policy: PasswordPolicy, phone_region: str | None) -> None:
        self._database = database
        self._hashes = hashes
        self._policy = policy
        self._phone_region = phone_region
        self._sign_ups: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def hash_counters(self) -> Mapping[str, int]:
        """The number of passwords hashed, and the number of those that were not, by reason."""
        return self._hashes.counters

    async def sign_up(
        self, given: Mapping[Kind, str | None], password: str | None, role: Role = "default", network: str = UNKNOWN
    ) -> User:
        """Add a user, without a password if none is given. Raises InvalidFieldsError or TakenError."""
        names = self._accepted(given, password)
        if password is None:
            return await self._add(names, role)
        with self._hashes.admission(network, f"sign-ups from {network}") as admitted:
            return await self._add(names, role, lambda: admitted.hash(password))

    async def _add(
        self, names: LoginNames, role: Role, hash_password: Callable[[], Awaitable[str]] | None = None
    ) -> User:
        async with self._alone(names):
            await storage.check_free(self._database, names)
            password_hash = None if hash_password is None else await hash_password()
            user = await storage.insert(self._database, names, password_hash, role)
        log.info("user created", user_id=user.id)
        return user

    def _accepted(self, given: Mapping[Kind, str | None], password: str | None) -> LoginNames:
        """The login names. Raises InvalidFieldsError with every fault of the names and the password."""
        read, faults = self._read_names(given)
        names = LoginNames(**read)
        if not faults and not names.keys():
            faults[""] = "must have an email, a username or a phone_number"
        try:
            if password is not None:
                self._policy.check(password, names)
        except InvalidFieldsError as error:
            faults |= error.faults
        if faults:
            raise InvalidFieldsError(faults)
        return names

    def _read_names(self, given: Mapping[Kind, str | None]) -> tuple[dict[Kind, LoginName | None], dict[str, str]]:
        read: dict[Kind, LoginName | None] = {}
        faults: dict[str, str] = {}
        for kind, text in given.items():
            try:
                read[kind] = None if text is None else login_names.read(kind, text, self._phone_region)
            except InvalidLoginNameError as error:
                faults[kind] = str(error)
        return read, faults

    @contextlib.asynccontextmanager
    async def _alone(self, names: LoginNames) -> AsyncIterator[None]:
        """Serialize the sign-ups of a name: of a hundred at once, one is hashed and the others find the name taken.

        Between replicas, the unique constraints decide.
        """
        async with contextlib.AsyncExitStack() as held:
            for key in sorted(names.keys()):  # sorted, so that two sign-ups never wait for each other
                lock = self._sign_ups.setdefault(key, asyncio.Lock())
                await held.enter_async_context(lock)
            yield

    async def accounts_of(self, login: str, login_type: LoginType) -> list[str]:
        """Opaque names of the accounts that `login` may mean, each of 64 hex digits.

        All login names of a user have the same account, and so have all spellings of an unknown name. A phone number
        without its `+` may be read as two numbers; then each of them has an account in the answer, so that it does not
        reveal which one is a user's. The account whose password would be checked comes first.
        """
        lookup = login_names.look_up(login, login_type, self._phone_region)
        ids = await storage.ids_by_login(self._database, lookup)
        readings = [*zip(lookup.keys, ids, strict=True)] or [(login, None)]
        readings.sort(key=lambda reading: reading[1] is None)
        return [_account(key, user_id) for key, user_id in readings]

    async def check_login(
        self, login: str, password: str, login_type: LoginType, network: str | None = None
    ) -> User | None:
        """The user with this login and password, or None, which takes the same time for every reason.

        If `network` is None, the queue for hashes treats the login name as a network of its own.
        """
        lookup = login_names.look_up(login, login_type, self._phone_region)
        name = f"name {lookup.keys[0] if lookup.keys else login}"
        with self._hashes.admission(network or f"unnamed {_digest(name)}", name) as admitted:
            account = await storage.find_by_login(self._database, lookup)
            admitted.identify(name if account is None else f"user {account.user.id}")
            matches = await self._matches(account, password, admitted)
        user = account.user if account is not None and matches and not account.user.disabled else None
        log.info("login checked", ok=user is not None, user_id=account.user.id if account is not None else None)
        return user

    async def _matches(self, account: Account | None, password: str, admitted: AdmittedHashes) -> bool:
        stored = account.password_hash if account is not None else None
        verdict = await admitted.verify(password, stored)
        if account is not None and stored is not None and verdict.replacement is not None:
            try:
                await storage.replace_hash(self._database, account.user.id, stored, verdict.replacement)
            except ServiceUnavailableError:
                log.warning("rehash failed", user_id=account.user.id)
        return verdict.matches

    async def change_password(
        self, user_id: int, current: str, new: str, keep_session: str | None, network: str
    ) -> None:
        """Set a new password, which ends all sessions but one. Repeating a change made just now succeeds.

        Raises NoSuchUserError, InvalidFieldsError, WrongPasswordError, ChangedMeanwhileError.
        """
        account = await self.find(user_id)
        self._policy.check(new, account.names)
        with self._hashes.admission(network, f"user {user_id}", hashes=2) as admitted:
            if not await self._matches(account, current, admitted):
                if await self._is_repeated(account, new, admitted):
                    return
                raise WrongPasswordError
            password_hash = await admitted.hash(new)
        await storage.change_password(self._database, user_id, account.user.epoch, password_hash, keep_session)
        log.info("password changed", user_id=user_id)

    async def check_password(self, user_id: int, current: str, network: str) -> None:
        """Raises WrongPasswordError if `current` is not the user's password, and NoSuchUserError."""
        account = await self.find(user_id)
        with self._hashes.admission(network, f"user {user_id}") as admitted:
            if not await self._matches(account, current, admitted):
                raise WrongPasswordError

    async def set_password(self, user_id: int, new: str, *, by: int | None = None, network: str = UNKNOWN) -> None:
        """Set a new password without knowing the current one, which ends all sessions.

        `by` is the administrator who does it and to whose share of the hashes it counts; None on the command line.
        Raises NoSuchUserError, InvalidFieldsError, ChangedMeanwhileError.
        """
        account = await self.find(user_id)
        self._policy.check(new, account.names)
        with self._hashes.admission(network, f"user {by}") as admitted:
            password_hash = await admitted.hash(new)
        await storage.change_password(self._database, user_id, account.user.epoch, password_hash, keep_session=None)
        log.info("password set", user_id=user_id, by=by)

    async def _is_repeated(self, account: Account, new: str, admitted: AdmittedHashes) -> bool:
        """True if `new` has just become the password: the client repeats the change because the answer was lost."""
        lately = await storage.password_changed_lately(self._database, account.user.id)
        return lately and await self._matches(account, new, admitted)

    async def find(self, user_id: int) -> Account:
        """Raises NoSuchUserError."""
        account = await storage.find(self._database, user_id)
        if account is None:
            raise NoSuchUserError
        return account

    async def find_by_login(self, login: str) -> User | None:
        """The user who logs in by this name, in any spelling that the login of any client accepts."""
        for login_type in get_args(LoginType):
            lookup = login_names.look_up(login, login_type, self._phone_region)
            account = await storage.find_by_login(self._database, lookup)
            if account is not None:
                return account.user
        return None

    async def page(self, after: int, limit: int) -> list[User]:
        """Up to `limit` users with ids above `after`, in the order of their ids."""
        return await storage.page(self._database, after, limit)

    async def update(
        self,
        user_id: int,
        given: Mapping[Kind, str | None],
        role: Role | None,
        *,
        proven: bool,
        epoch: int | None = None,
    ) -> User:
        """Change login names (None removes one) and role; a new role ends all sessions.

        `epoch` is as in `delete`.

        Raises NoSuchUserError, InvalidFieldsError, TakenError, and UnprovenError if something would change and the
        caller is not `proven` to be the token's user.
        """
        changes, faults = self._read_names(given)
        if faults:
            raise InvalidFieldsError(faults)
        user, role_changed = await storage.update(self._database, user_id, changes, role, proven=proven, epoch=epoch)
        if role_changed:
            log.info("role changed", user_id=user.id, role=user.role)
        return user

    async def set_disabled(self, user_id: int, disabled: bool) -> User:
        """Disable a user, which ends all sessions, or enable the user again. Raises NoSuchUserError."""
        user = await storage.set_disabled(self._database, user_id, disabled)
        log.info("user disabled" if disabled else "user enabled", user_id=user.id)
        return user

    async def delete(self, user_id: int, epoch: int | None = None) -> None:
        """Delete a user, which ends all sessions. Raises NoSuchUserError.

        `epoch` is the user's epoch at the caller's proof: raises ChangedMeanwhileError if it has changed since.
        """
        await storage.delete(self._database, user_id, epoch)
        log.info("user deleted", user_id=user_id)

    async def note_restored(self, skipped_ids: int) -> None:
        """Raise epochs, event ids and user ids above those of the database that a restored backup has replaced."""
        await restoring.note_restored(self._database, skipped_ids)
        log.info("backup restored", skipped_ids=skipped_ids)


def _account(key: str, user_id: int | None) -> str:
    """The opaque name of the account of `user_id`, or of an unknown login. Both take the same time."""
    nobody, user = _digest(f"nobody {key}"), _digest(f"user {user_id}")
    return nobody if user_id is None else user


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
