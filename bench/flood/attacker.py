"""`python -m bench.flood.attacker NAME`: attacks until its standard input ends, then writes the outcomes.

The first line of the input is the aim in JSON. A line of output says that the attack has begun.
"""

import asyncio
import contextlib
import json
import resource
import sys
from typing import Any

import uvloop

from bench.flood import connection_attacks, request_attacks
from bench.flood.attack import Aim, Attack
from bench.flood.figures import quantile

ATTACKS: dict[str, type[Attack]] = {
    "login-flood": request_attacks.LoginFlood,
    "slow-bodies": connection_attacks.SlowBodies,
    "one-account": request_attacks.OneAccount,
    "password-changes": request_attacks.PasswordChanges,
    "split-heads": connection_attacks.SplitHeads,
    "silent": connection_attacks.Silent,
    "spray": request_attacks.Spray,
    "retries": request_attacks.Retries,
    "rotations": request_attacks.Rotations,
    "sessions": request_attacks.Sessions,
    "names": request_attacks.Names,
    "junk-tokens": request_attacks.JunkTokens,
    "odd-names": request_attacks.OddNames,
    "silent-tls": connection_attacks.SilentTls,
    "web-sockets": connection_attacks.WebSockets,
    "empty-frames": connection_attacks.EmptyFrames,
}


async def make(attack: Attack) -> dict[str, Any]:
    """Attack until standard input ends; returns count, median and 99 % quantile of each outcome, and CPU seconds."""
    attacking = asyncio.ensure_future(attack.run())
    await asyncio.wait([attacking, asyncio.ensure_future(attack.begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    print("begun", flush=True)
    ending = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([attacking, ending], return_when=asyncio.FIRST_COMPLETED)
    if attacking.done():
        await attacking  # it does not end by itself: raise its exception
    outcomes = {
        what: (len(times), quantile(times, 0.5), quantile(times, 0.99)) for what, times in attack.outcomes().items()
    }
    attacking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await attacking
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"outcomes": outcomes, "cpu": used.ru_utime + used.ru_stime}


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    aim = Aim(**json.loads(sys.stdin.readline()))
    print(json.dumps(uvloop.run(make(ATTACKS[sys.argv[1]](aim)))))


if __name__ == "__main__":
    main()
