"""Time limits that are checked ten times a second."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from servicekit import deadlines
from servicekit.deadlines import Deadlines


class Item:
    def __init__(self, deadline: float, then: Callable[["Item"], None]) -> None:
        self.deadline = deadline
        self.expired = 0
        self._then = then

    def expire(self) -> None:
        self.expired += 1
        self._then(self)


def once(item: Item) -> None:
    item.deadline = math.inf


@pytest.fixture
async def looking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deadlines]:
    monkeypatch.setattr(deadlines, "INTERVAL", 0.01)
    looking = Deadlines()
    looking.start(asyncio.get_running_loop())
    yield looking
    looking.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110 - nothing signals what is observed from outside
            await asyncio.sleep(0.002)


async def test_who_is_late_is_told_and_nobody_else(looking: Deadlines) -> None:
    now = asyncio.get_running_loop().time()
    early, late, never = Item(now + 60, once), Item(now + 0.03, once), Item(math.inf, once)
    for item in (early, late, never):
        looking.add(item)
    await until(lambda: late.expired == 1)
    assert asyncio.get_running_loop().time() >= now + 0.03
    late.deadline = now
    await until(lambda: late.expired == 2)
    assert early.expired == never.expired == 0


class Clock:
    """A loop whose time a test sets, and whose next check the test triggers."""

    def __init__(self) -> None:
        self.now = 100.0
        self._look: Callable[[], None]

    def time(self) -> float:
        return self.now

    def call_at(self, _when: float, look: Callable[[Any], None], loop: Any) -> None:
        self._look = lambda: look(loop)

    def look_after(self, seconds: float) -> None:
        self.now += seconds
        self._look()


def test_a_look_that_comes_late_is_left_to_the_next_one_but_not_for_ever() -> None:
    clock: Any = Clock()
    looking, item = Deadlines(), Item(100.0, lambda _item: None)
    looking.add(item)
    looking.start(clock)
    seen = []
    for seconds in (0.1, 0.5, 0.5, 0.5, 0.1, 0.5, 0.1):
        before = item.expired
        clock.look_after(seconds)
        seen.append(item.expired - before)
    assert seen == [1, 0, 1, 0, 1, 0, 1]


async def test_who_is_discarded_is_not_told(looking: Deadlines) -> None:
    gone, last = Item(0.0, once), Item(0.0, once)
    looking.add(gone)
    looking.discard(gone)
    looking.add(last)
    await until(lambda: last.expired == 1)
    assert gone.expired == 0


async def test_one_ends_what_another_waits_for(looking: Deadlines) -> None:
    items: list[Item] = []

    def end_all(item: Item) -> None:
        looking.discard(items[0])
        looking.discard(items[1])
        items[2].deadline = items[3].deadline = math.inf

    items += [Item(0.0, end_all), Item(0.0, end_all), Item(0.0, end_all), Item(0.0, end_all)]
    last = Item(asyncio.get_running_loop().time() + 0.05, once)
    for item in (*items, last):
        looking.add(item)
    await until(lambda: last.expired == 1)
    assert sum(item.expired for item in items) == 1


async def test_an_error_of_one_does_not_hold_up_the_others(looking: Deadlines) -> None:
    def fail(item: Item) -> None:
        item.deadline = math.inf
        raise RuntimeError("what nobody thought of")

    items = [Item(0.0, fail) for _ in range(3)]
    with capture_logs() as lines:
        for item in items:
            looking.add(item)
        await until(lambda: all(item.expired == 1 for item in items))
    assert [line["event"] for line in lines] == ["unexpected error"] * 3


async def test_nobody_is_told_after_the_end(looking: Deadlines) -> None:
    item = Item(0.0, lambda item: None)
    looking.add(item)
    await until(lambda: item.expired > 1)
    looking.stop()
    expired = item.expired
    await asyncio.sleep(0.05)
    assert item.expired == expired
