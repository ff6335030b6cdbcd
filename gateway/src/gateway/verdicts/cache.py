"""A cache of verdicts on tokens, which also merges simultaneous questions on the same token."""

import asyncio
import hashlib
from typing import Generic, Protocol, TypeVar

import structlog

from gateway.admission import GuardedQuota
from gateway.counters import Counters
from gateway.messages.headers import Headers
from gateway.quota import Consumer
from gateway.verdicts.breaker import Breaker
from gateway.verdicts.verification import Allow, Deny, Question, Unknown, Verdict
from servicekit.deadlines import Deadlines
from servicekit.standstills import Standstills
from servicekit.upstreams.pool import Upstream

log = structlog.get_logger()

MAX_ALLOWS = 50_000
MAX_DENIES = 5_000
MAX_DENY_BODY = 4 * 1024
# The fraction of its lifetime for which an allow is cached, so that a late event loop does not exceed it.
_LIFETIME_PART = 0.95

_NEGOTIATION = (b"accept", b"accept-language", b"language")

_NO_TOKEN = bytes(32)

T = TypeVar("T")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Waiter(Protocol):
    """Receives a verdict, even if its client has gone in the meantime."""

    def on_verdict(self, verdict: Verdict) -> None: ...


class _Remembered(Generic[T]):
    """Values by key, each until its time. At most `bound` are kept; the oldest are evicted first."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: dict[bytes, tuple[float, T]] = {}

    def get(self, key: bytes, now: float) -> T | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > now else None

    def put(self, key: bytes, value: T, now: float, until: float) -> None:
        entries = self._entries
        entries.pop(key, None)
        # Evict two at a time, so that the cache shrinks after a flood without one request paying for all of it.
        for _ in range(2):
            oldest = next(iter(entries), None)
            if oldest is not None and (entries[oldest][0] <= now or len(entries) >= self._bound):
                del entries[oldest]
        entries[key] = until, value


class Verdicts:
    """Verdicts by the SHA-256 digest of the token. `lifetime` is in seconds; 0 asks again for every request.

    The cache holds the facts that `/verify-token` states, never whether a route may be used. A verdict expires at a
    fixed time after it was given, and never later than its token.
    """

    def __init__(
        self,
        upstream: Upstream,
        deadlines: Deadlines,
        standstills: Standstills,
        counters: Counters,
        questions: GuardedQuota,
        *,
        lifetime: float,
        timeout: float,
    ) -> None:
        self._upstream = upstream
        self._deadlines = deadlines
        self._standstills = standstills
        self._counters = counters
        self._questions = questions
        self._lifetime = lifetime
        self._timeout = timeout
        self._time = asyncio.get_running_loop().time
        self._allows: _Remembered[Allow] = _Remembered(MAX_ALLOWS)
        self._denies: _Remembered[Deny] = _Remembered(MAX_DENIES)
        self._asked: dict[bytes, list[Waiter]] = {}
        self._breaker = Breaker()

    def allow(self, token: bytes) -> Allow | None:
        """The cached verdict on a valid token, or None."""
        found = self._allows.get(_digest(token), self._time())
        if found is not None:
            self._counters.verdict_hits += 1
        return found

    def ask(
        self, authorization: bytes | None, headers: Headers, request_id: bytes, waiter: Waiter, asker: Consumer | None
    ) -> None:
        """Call `waiter.on_verdict`, at once or later. Without `authorization`, it is a deny with the challenge to send.

        Of the client's `headers`, those that negotiate the form of a deny are sent along. If the same is not being
        asked already, the question counts against the share of `asker` until it is answered, even if the client leaves;
        without an asker it is not counted. Raises RefusedError where there is no room for the question.
        """
        digest = _digest(authorization.partition(b" ")[2]) if authorization is not None else _NO_TOKEN
        negotiation = b"".join(
            b"%b: %b\r\n" % (name, value) for name in _NEGOTIATION for value in headers.get(name, ())
        )
        now = self._time()
        key = _digest(digest + negotiation)
        known = self._allows.get(digest, now) or self._denies.get(key, now)
        if known is not None:
            self._counters.verdict_hits += 1
            waiter.on_verdict(known)
            return
        waiters = self._asked.get(key) if self._lifetime else None
        if waiters is not None:
            waiters.append(waiter)
            return
        if asker is not None:
            self._questions.require(asker)
        if not self._breaker.admits():
            self._counters.verdicts_unknown += 1
            waiter.on_verdict(Unknown())
            return
        credentials = b"authorization: %b\r\n" % authorization if authorization is not None else b""
        lines = b"%b%bx-request-id: %b\r\n" % (negotiation, credentials, request_id)
        self._ask(lines, digest, key, waiter, asker)

    def _ask(self, lines: bytes, digest: bytes, key: bytes, waiter: Waiter, asker: Consumer | None) -> None:
        waiters = [waiter]
        asked_at = self._standstills.arrival()
        if self._lifetime:
            self._asked[key] = waiters

        def then(verdict: Verdict) -> None:
            if self._standstills.spoiled(asked_at):
                verdict = Unknown()  # it may be outdated: this process was suspended meanwhile
            self._deadlines.discard(question)
            if asker is not None:
                self._questions.give_back(asker)
            self._asked.pop(key, None)
            self._counters.verdicts_unknown += isinstance(verdict, Unknown)
            answered = verdict.answered if isinstance(verdict, Unknown) else True
            if answered is not None:
                self._breaker.note(answered=answered)
            self._remember(digest, key, verdict)
            for waiter in waiters:
                _tell(waiter, verdict)

        self._counters.verdict_misses += 1
        if asker is not None:
            self._questions.take(asker)
        question = Question(
            self._upstream, lines, then, now=self._time(), timeout=self._timeout, has_token=digest is not _NO_TOKEN
        )
        self._deadlines.add(question)
        question.ask()

    def _remember(self, digest: bytes, key: bytes, verdict: Verdict) -> None:
        if not self._lifetime:
            return
        now = self._time()
        if isinstance(verdict, Allow):
            until = min(verdict.given_at + _LIFETIME_PART * self._lifetime, verdict.expires_at)
            if until > now:
                self._allows.put(digest, verdict, now, until)
        elif isinstance(verdict, Deny) and len(verdict.answer.body) <= MAX_DENY_BODY:
            self._denies.put(key, verdict, now, now + self._lifetime)


def _tell(waiter: Waiter, verdict: Verdict) -> None:
    try:
        waiter.on_verdict(verdict)
    except Exception:  # the other waiters are told nevertheless
        log.exception("unexpected error")
