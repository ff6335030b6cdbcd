"""Shares in the queue of hashes: the room that networks and accounts get in it, and what becomes of those who wait."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from servicekit.http import OverloadedError
from user_service.hash_queue import HashQueue
from user_service.hash_shares import Admission, Shares

HERE, ELSEWHERE = "203.0.113.1/32", "198.51.100.1/32"


class Queue:
    """A queue with one thread and room for a hundred hashes, which wait for as long as the thread is taken."""

    def __init__(self, queue: HashQueue, stack: contextlib.ExitStack) -> None:
        self.queue = queue
        self.stack = stack

    def let_in(self, network: str, account: str, hashes: int = 1, most: int = 200) -> int:
        """The number of admissions granted before one is refused."""
        for number in range(most):
            try:
                self.stack.enter_context(self.queue.admission(network, account, hashes))
            except OverloadedError:
                return number
        return most


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    with (
        ThreadPoolExecutor(1) as executor,
        contextlib.closing(HashQueue(executor, 1, 1.0, 0.01)) as queue,
        contextlib.ExitStack() as stack,
    ):
        yield Queue(queue, stack)


def addresses() -> Iterator[str]:
    return (f"198.51.{number}.1/32" for number in range(256))


async def test_alone_a_network_and_an_account_may_have_it_all(queue: Queue) -> None:
    assert queue.let_in(HERE, "a") == 100


@pytest.mark.parametrize("hashes", [1, 2])
async def test_while_others_wait_a_network_has_a_quarter(queue: Queue, hashes: int) -> None:
    queue.let_in(ELSEWHERE, "b", most=1)
    admitted = sum(queue.let_in(HERE, f"user{number}", hashes, most=1) for number in range(100))
    assert admitted * hashes in (24, 25)


async def test_what_is_no_address_is_in_no_wide_network(queue: Queue) -> None:
    queue.let_in(HERE, "b", most=1)
    assert sum(queue.let_in(f"unnamed {number}", f"user{number}", most=1) for number in range(120)) == 99


@pytest.mark.parametrize("networks", ["203.0.113.{}/32", "2001:db8:0:{}::/64"])
def test_when_a_turn_comes_is_reckoned_by_wide_networks_too(networks: str) -> None:
    shares = Shares()
    for number in range(25):
        shares.add(Admission(networks.format(number), f"user{number}", 1))
    assert shares.turn(Admission(ELSEWHERE, "b", 1)) == 2
    assert shares.turn(Admission(networks.format(77), "b", 1)) == 26
    assert shares.turn(Admission(networks.format(0), "user0", 1)) == 26


async def test_while_others_wait_an_account_has_a_quarter_from_wherever_it_is_asked_for(queue: Queue) -> None:
    queue.let_in(ELSEWHERE, "b", most=1)
    assert sum(queue.let_in(address, "a", most=1) for address in addresses()) == 25


async def test_asking_for_an_account_elsewhere_keeps_its_share_from_nobody(queue: Queue) -> None:
    queue.let_in(ELSEWHERE, "b", most=1)
    assert queue.let_in("192.0.2.1/32", "a") == 25
    assert queue.let_in(HERE, "a") == 12


@pytest.mark.parametrize("networks", ["198.51.100.{}/32", "2001:db8:0:{}::/64"])
async def test_while_others_wait_a_wide_network_has_a_quarter(queue: Queue, networks: str) -> None:
    queue.let_in(HERE, "b", most=1)
    assert sum(queue.let_in(networks.format(number), f"user{number}", most=1) for number in range(100)) == 25


async def test_who_comes_into_a_full_queue_pushes_out_the_newest_of_who_holds_most(queue: Queue) -> None:
    queue.let_in(HERE, "a")
    oldest_of_two = [queue.let_in(address, address, most=2) for address in addresses()][:12]
    assert oldest_of_two == [2] * 12
    assert queue.queue.counters["passwords not hashed: pushed_out"] > 24


async def test_from_as_many_networks_as_there_is_room_nobody_is_pushed_out_for_one_more(queue: Queue) -> None:
    admitted = [queue.let_in(address, address, most=1) for address in addresses()]
    assert Counter(admitted) == {1: 100, 0: 156}


@pytest.mark.parametrize("seed", range(20))
async def test_nobody_who_is_refused_pushes_anybody_out_and_the_queue_is_never_too_long(seed: int) -> None:
    chance, room, held = random.Random(seed), 24, dict[Admission, contextlib.ExitStack]()
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as executor, contextlib.closing(HashQueue(executor, 1, room / 100, 0.01)) as queue:

        def add() -> None:
            network = f"203.0.{chance.randrange(8)}.{chance.randrange(2)}/32"
            stack = contextlib.ExitStack()
            asked = queue.admission(network, chance.choice("abcdefghijkl"), chance.choice([1, 1, 2]))
            held[stack.enter_context(asked)] = stack

        def identify() -> None:
            admission = chance.choice(list(held))
            try:
                queue.identify(admission, chance.choice("ABCDEF"))
            except OverloadedError:
                held.pop(admission).close()
                raise

        def leave() -> None:
            held.pop(chance.choice(list(held))).close()

        for step in chance.choices([add, identify, leave], [8, 2, 1], k=1000):
            if not held:
                add()
            try:
                step()
                outcome = "let in"
            except OverloadedError:
                outcome = "refused"
            pushed_out = [admission for admission in held if admission.pushed_out]
            assert not (outcome == "refused" and pushed_out)
            outcomes[f"{outcome}, {len(pushed_out)}"] += 1
            for admission in pushed_out:
                held.pop(admission).close()
            hashes = sum(admission.hashes for admission in held)
            assert hashes <= room
    assert min(outcomes[outcome] for outcome in ("refused, 0", "let in, 1", "let in, 2")) > 0


async def test_whatever_becomes_of_them_all_room_and_the_thread_are_given_back() -> None:
    chance = random.Random(1)
    with (
        ThreadPoolExecutor(1) as executor,
        contextlib.closing(HashQueue(executor, 1, 0.05, 0.005)) as queue,
        contextlib.ExitStack() as stack,
    ):

        async def hashed(network: str, account: str, hashes: int) -> None:
            with contextlib.suppress(OverloadedError), queue.admission(network, account, hashes) as admission:
                await asyncio.sleep(0)
                queue.identify(admission, f"id of {account}")
                for _ in range(hashes):
                    await queue.run(admission, lambda: time.sleep(0.002))

        tasks = []
        for _ in range(1000):
            network = f"203.0.{chance.choice([1, 1, 1, 2, 3])}.{chance.randrange(3)}/32"
            tasks.append(asyncio.create_task(hashed(network, chance.choice("aaabcd"), chance.choice([1, 2]))))
            if chance.random() < 0.2:
                chance.choice(tasks).cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.choice([0, 0.001]))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {type(None), asyncio.CancelledError}
        assert queue.counters["passwords not hashed: pushed_out"] > 10
        assert Queue(queue, stack).let_in(HERE, "a") >= 5
        with queue.admission(ELSEWHERE, "b", 1) as admission:
            assert await asyncio.wait_for(queue.run(admission, lambda: "hash"), 5) == "hash"


async def test_who_is_pushed_out_just_as_its_turn_comes_gives_the_thread_back(queue: Queue) -> None:
    async def hashed(network: str, account: str) -> None:
        with queue.queue.admission(network, account, 1) as admission:
            await queue.queue.run(admission, lambda: time.sleep(0.02))

    async def hashed_before_another_comes() -> None:
        await hashed(ELSEWHERE, "b")
        assert queue.let_in(ELSEWHERE, "c", most=1) == 1

    first = asyncio.create_task(hashed_before_another_comes())
    await asyncio.sleep(0)
    queue.let_in(HERE, "a", most=99)
    newest = asyncio.create_task(hashed(HERE, "a"))
    await first
    with pytest.raises(OverloadedError):
        await newest
    await asyncio.wait_for(hashed(ELSEWHERE, "b"), 5)
