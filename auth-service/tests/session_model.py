"""A model of sessions beside the real database: each refresh token has one successor, and what ended never verifies."""

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Drawn
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from auth_service.app import FORMATS, GRANTS
from auth_service.backends.clients import PostgresClients
from auth_service.backends.dead_sessions import DeadSessions
from auth_service.backends.endings import PostgresEndedSessions
from auth_service.backends.keyring import Keyring
from auth_service.backends.rotation import RefreshLimits
from auth_service.backends.sessions import PostgresSessions
from auth_service.backends.signing_keys import SigningKeys
from auth_service.backends.throttle import Budgets, GuessThrottle
from auth_service.backends.upkeep import tidy_tables
from auth_service.backends.user_events import apply
from auth_service.backends.user_service import UserEvent
from auth_service.core.clients import ClientAuthentication
from auth_service.core.endings import EndedBy, Endings, EverySession, Reason
from auth_service.core.errors import (
    InvalidClientError,
    InvalidGrantError,
    InvalidTokenError,
    OAuthError,
    StaleClientError,
)
from auth_service.core.grants.grant import Provers
from auth_service.core.login import Login as Logins
from auth_service.core.model import TokenRequest, TokenResponse, User, session_name
from auth_service.core.server import AuthorizationServer
from auth_service.core.tokens.refresh import RefreshTokens
from auth_service.core.verification import Verifier
from servicekit.postgres import Database
from servicekit.throttling.budgets import Window, guess_budgets
from servicekit.throttling.networks import Networks
from servicekit.throttling.rate_limiter import RateLimiter

from .service import ISSUER, Party, register

# The model leaves out throttling: every request comes from an exempt address.
EXEMPT = "192.0.2.1"
_ONCE = Window(1, 1)
_GUESSES = guess_budgets("guess", pair=_ONCE, network=_ONCE, free=1, row=2)
BUDGETS = Budgets(_GUESSES, _GUESSES, _ONCE, _ONCE)

GRACE = 3_000
REFRESHES = RefreshLimits(GRACE, retries=1_000, rotations=Window(1_000, 1))  # the model leaves these out too
DAY = 86_400
ACCESS, IDLE, SESSION = 90_000, 360_000, 2_000_000
# Small enough that several fit into the grace period, large enough to exceed every lifetime, and so coarse that the
# test's own running time makes no difference.
PASSING = st.sampled_from([0, 0, 100, 1_300, 2_500, 4_000, 100_000, 500_000])
AGE = """
    UPDATE sessions SET created_at = created_at - $2::interval, rotated_at = rotated_at - $2::interval,
        idle_expires_at = idle_expires_at - $2::interval, expires_at = expires_at - $2::interval
    WHERE client_id = ANY($1) AND before_deadline($3)
"""
AGE_CLIENTS = """
    UPDATE clients SET created_at = created_at - $2::interval WHERE client_id = ANY($1) AND before_deadline($3)
"""
AGE_TOKENS = """
    UPDATE access_tokens t SET issued_at = issued_at - $2::interval, expires_at = t.expires_at - $2::interval
    FROM sessions s WHERE s.id = t.session_id AND s.client_id = ANY($1) AND before_deadline($3)
"""


# Rules that end sessions wait for a few rotations: an ended session has little more to show.
rare = precondition(lambda self: self.rotations % 4 == 3)


class KnownUsers:
    """The port `Users`: every password is right, and the answer carries the user's current epoch."""

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}

    async def accounts_of(self, login: str, _login_type: str, _address: str) -> list[str]:
        return [login]

    async def check_credentials(self, login: str, _login_type: str, _password: str, _address: str) -> User | None:
        return User(int(login), f"{login}@example.com", self.epochs[int(login)])


@dataclass(eq=False)
class Login:
    """A session as its client sees it: every token it ever got, the newest last. Times are the model's."""

    user_id: int
    client_id: str
    opened: int
    refreshed: int
    refresh_tokens: list[str]
    access_tokens: list[tuple[str, int]]
    session_id: int = 0
    rotated: int | None = None
    over: bool = False


class Sessions(RuleBasedStateMachine):
    """Two clients (an opaque and a signed format) and two users; `now` is the model's clock in seconds."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    database: Database
    keyring: Keyring
    keys: SigningKeys

    logins = Drawn("logins")

    @initialize(target=logins)
    def start(self) -> Any:
        self.now = self.rotations = 0
        self.known: list[Login] = []
        self.users = KnownUsers()
        self.users.epochs = {secrets.randbits(40): 0 for _ in range(2)}
        self.client_ids = {name: f"{name}-{secrets.token_hex(4)}" for name in ("doorkeeper", "rfc6749")}
        self.clients = PostgresClients(self.database, self.keyring)
        sessions = PostgresSessions(self.database, REFRESHES, per_user=1_000)
        refresh_tokens = RefreshTokens(self.keyring.refresh_token_keys)
        throttle = GuessThrottle(RateLimiter(None, Networks(EXEMPT)), BUDGETS, secrets.token_bytes(32))
        authentication = ClientAuthentication(self.clients, throttle, self.database.now)
        provers = Provers(Logins(self.users, throttle), refresh_tokens, FORMATS)
        grants = [grant(provers) for grant in GRANTS]
        self.server = AuthorizationServer(
            ISSUER, authentication, sessions, self.keys, refresh_tokens, grants, FORMATS, throttle
        )
        self.endings = Endings(PostgresEndedSessions(self.database))
        self.verifier = Verifier(ISSUER, sessions, self.keys, refresh_tokens, FORMATS, self.endings, {})
        for dialect, client_id in self.client_ids.items():
            lifetimes = {"access_token_lifetime": ACCESS, "idle_lifetime": IDLE, "session_lifetime": SESSION}
            party = Party(client_id, None, dialect)
            chosen = {"grant_types": frozenset({"password", "refresh_token"}), **lifetimes}
            self.run(register(self.database, self.keyring, party, None, **chosen))
        return multiple()

    async def _ask(self, client_id: str, request: TokenRequest) -> TokenResponse:
        client = await self.clients.get(client_id)
        request = replace(request, address=EXEMPT)
        assert client is not None
        try:
            return await self.server.token(client, None, request)
        except StaleClientError:
            client = await self.clients.fresh(client_id)
            assert client is not None
            return await self.server.token(client, None, request)

    def _refresh(self, login: Login, token: str) -> TokenResponse:
        answer: TokenResponse = self.run(
            self._ask(login.client_id, TokenRequest(grant_type="refresh_token", refresh_token=token))
        )
        return answer

    def _refused(self, login: Login, token: str, error: type[OAuthError] = InvalidGrantError) -> None:
        with pytest.raises(error):
            self._refresh(login, token)

    def _live(self, login: Login) -> bool:
        return not login.over and self.now - login.opened < SESSION

    def _refreshable(self, login: Login) -> bool:
        return self._live(login) and self.now - login.refreshed < ACCESS + IDLE

    def _within_grace(self, login: Login) -> bool:
        return login.rotated is not None and self.now - login.rotated < GRACE

    def _expires(self, login: Login) -> int:
        return min(self.now + ACCESS, login.opened + SESSION)

    @rule(target=logins, dialect=st.sampled_from(["doorkeeper", "rfc6749"]), number=st.integers(0, 1))
    def log_in(self, dialect: str, number: int) -> Any:
        client_id, user_id = self.client_ids[dialect], list(self.users.epochs)[number]
        request = TokenRequest(grant_type="password", username=str(user_id), password="right")
        answer = self.run(self._ask(client_id, request))
        login = Login(user_id, client_id, self.now, self.now, [answer.refresh_token], [])
        login.access_tokens.append((answer.access_token, self._expires(login)))
        login.session_id = self.run(self.verifier.verify(answer.access_token)).session_id
        self.known.append(login)
        return login

    @rule(login=logins, after=PASSING, answer_is_lost=st.booleans())
    def refresh(self, login: Login, after: int, answer_is_lost: bool) -> None:
        self.time_passes(after)
        newest = login.refresh_tokens[-1]
        if not self._refreshable(login):
            self._refused(login, newest)
            return
        answer = self._refresh(login, newest)
        assert answer.refresh_token not in login.refresh_tokens
        self.rotations += 1
        login.rotated = login.refreshed = self.now
        login.access_tokens.append((answer.access_token, self._expires(login)))
        if answer_is_lost:
            again = self._refresh(login, newest)
            assert again.refresh_token == answer.refresh_token
            login.access_tokens.append((again.access_token, self._expires(login)))
        login.refresh_tokens.append(str(answer.refresh_token))

    @rule(login=logins, after=PASSING, steps_back=st.integers(1, 3))
    def present_a_spent_token(self, login: Login, after: int, steps_back: int) -> None:
        """The predecessor gets the same successor within its grace period; any other spent token counts as stolen."""
        self.time_passes(after)
        if steps_back >= len(login.refresh_tokens):
            return
        token = login.refresh_tokens[-1 - steps_back]
        if self._refreshable(login) and steps_back == 1 and self._within_grace(login):
            answer = self._refresh(login, token)
            assert answer.refresh_token == login.refresh_tokens[-1]
            login.access_tokens.append((answer.access_token, self._expires(login)))
            return
        was_refreshable = self._refreshable(login)
        self._refused(login, token)
        login.over = login.over or was_refreshable

    @rule(login=logins)
    def present_as_another_client(self, login: Login) -> None:
        """The request is refused and does no harm."""
        other = next(client_id for client_id in self.client_ids.values() if client_id != login.client_id)
        request = TokenRequest(grant_type="refresh_token", refresh_token=login.refresh_tokens[-1])
        with pytest.raises(InvalidGrantError):
            self.run(self._ask(other, request))

    @rare
    @rule()
    def tidy(self) -> None:
        self.run(tidy_tables(self.database, DeadSessions(self.database)))
        for login in self.known:  # a day after its idle time; its access tokens, which have their own clock, are older
            login.over = login.over or self.now - login.refreshed > ACCESS + IDLE + DAY

    @rare
    @rule(login=logins, by_refresh_token=st.booleans())
    def revoke(self, login: Login, by_refresh_token: bool) -> None:
        """Revoke by either kind of token; an access token that is no longer accepted does not identify a session."""
        token, expires = login.access_tokens[-1]
        client = self.run(self.clients.fresh(login.client_id))
        self.run(self.verifier.revoke(login.refresh_tokens[-1] if by_refresh_token else token, client))
        aged_out = client.dialect == "doorkeeper" and self.now >= expires
        if by_refresh_token or (self._live(login) and not aged_out):
            login.over = True

    @rare
    @rule(login=logins, keeps=st.booleans(), told_twice=st.booleans())
    def change_password(self, login: Login, keeps: bool, told_twice: bool) -> None:
        """End every session of the user, except the one that made the change if it was alive."""
        self.users.epochs[login.user_id] += 1
        epoch, kept = self.users.epochs[login.user_id], session_name(login.session_id) if keeps else None
        event = UserEvent(secrets.randbits(40), "sessions_ended", login.user_id, epoch, kept, None)
        self.run(apply([event] * (2 if told_twice else 1), self.database, self.endings))
        for other in self.known:
            if other.user_id == login.user_id and not (keeps and other is login):
                other.over = True

    @rare
    @rule()
    def end_every_session(self) -> None:
        """End all sessions, as after a backup was restored."""
        self.run(self.endings.end(EverySession(restored=True), EndedBy.OPERATOR, Reason.RESTORED))
        for login in self.known:
            login.over = True

    @rare
    @rule(login=logins)
    def disable_the_client_for_a_while(self, login: Login) -> None:
        """Another process disables the client, while this one has it cached. Tokens refused meanwhile are not lost."""
        elsewhere = PostgresClients(self.database, self.keyring)
        self.run(elsewhere.set_disabled(login.client_id, True))
        assert not self._verifies(login.access_tokens[-1][0])
        self._refused(login, login.refresh_tokens[-1], InvalidClientError)
        self.run(elsewhere.set_disabled(login.client_id, False))

    def time_passes(self, seconds: int) -> None:
        """All clocks are the database's, so its rows are moved into the past."""
        ids, interval = list(self.client_ids.values()), timedelta(seconds=seconds)
        self.run(self.database.write(AGE, ids, interval))
        self.run(self.database.write(AGE_CLIENTS, ids, interval))
        self.run(self.database.write(AGE_TOKENS, ids, interval))
        self.now += seconds

    @invariant()
    def tokens_are_worth_what_their_sessions_are(self) -> None:
        for login in getattr(self, "known", []):
            for token, expires in login.access_tokens[-3:]:
                # A signed token carries its expiry, which this clock cannot move; only its session's end counts here.
                aged_out = login.client_id.startswith("doorkeeper") and self.now >= expires
                assert self._verifies(token) == (self._live(login) and not aged_out)

    def _verifies(self, token: str) -> bool:
        try:
            self.run(self.verifier.verify(token))
        except InvalidTokenError:
            return False
        return True
