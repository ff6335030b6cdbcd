"""A fault as a row of a table: how it is brought about and undone, and what it may cost."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

from replicas import Stack

Inject = Callable[[Stack], AbstractAsyncContextManager[None]]
Ways = Literal["direct", "relayed"]

# What clients may see of a fault that leaves no replica: try again later, or nothing within a client's patience.
UNAVAILABLE = (502, 503, 504, "timeout", "reset", "refused")
# What may become of the requests that a replica held when it was lost: others are answered.
HELD = (502, 503, 504, "timeout", "reset")
NOTHING = ()


@dataclass(frozen=True)
class Fault:
    """`inject` brings the fault about when it is entered and undoes it when it is left, `hold` seconds later.

    `sees` are the failures that clients may see at all, and `spares` the operations that never fail. No request waits
    longer than `longest`. None that is sent more than `over` seconds after the fault's end fails, or after its
    beginning where `of_itself`, because the rest of the stack gets over it. `short` says that the short form has it.
    """

    name: str
    inject: Inject
    hold: float
    sees: tuple[int | str, ...]
    over: float
    longest: float
    of_itself: bool = False
    spares: tuple[str, ...] = ()
    short: bool = False
    ways: Ways = "direct"
