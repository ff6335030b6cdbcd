"""A service that resolves `auth.test` to two addresses and `users.test` to three: `named.py MODULE [ARGUMENT…]`."""

import runpy
import sys
from typing import Any

from servicekit.upstreams.resolver import Resolver

ADDRESSES = {"auth.test": ("127.0.0.1", "127.0.0.2"), "users.test": ("127.0.0.1", "127.0.0.2", "127.0.0.3")}


async def resolve(host: str, port: int) -> list[tuple[str, int]]:
    return [(address, port) for address in ADDRESSES[host]]


def main() -> None:
    start = Resolver.__init__

    def start_with_names(self: Resolver, host: str, port: int, **given: Any) -> None:
        start(self, host, port, **{**given, "resolve": resolve})

    Resolver.__init__ = start_with_names  # type: ignore[method-assign]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
