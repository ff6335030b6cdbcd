"""Addresses for the stack, the attacker and the honest clients, in the benchmark's own network namespace."""

import ctypes
import os
import subprocess
from dataclasses import dataclass

HONEST = 200
# An address may have 1,000 connections, and all together 10,000: this many addresses can use them up.
ATTACKER_ADDRESSES = 12
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Networks:
    """`honest` addresses are each in a different IPv4 /24 or IPv6 /48; `attacker` addresses are in one network."""

    host: str
    attacker: list[str]
    honest: list[str]


IPV4 = Networks("127.0.0.1", ["127.66.0.1"], [f"127.10.{number}.1" for number in range(HONEST)])
IPV6 = Networks(
    "2001:db8::1",
    [f"2001:db8:66:66::{number:x}" for number in range(1, ATTACKER_ADDRESSES + 1)],
    [f"2001:db8:{0x1000 + number:x}::1" for number in range(HONEST)],
)


def leave_the_machines_network() -> bool:
    """Move this process and its children to a network namespace with the addresses of IPV6.

    Returns False, and changes nothing, unless this is Linux and the user is root. Call it before the process has a
    second thread, because namespaces belong to threads.
    """
    if os.uname().sysname != "Linux" or os.geteuid() != 0 or ctypes.CDLL(None).unshare(_CLONE_NEWNET) != 0:
        return False
    addresses = [IPV6.host, *IPV6.attacker, *IPV6.honest]
    lines = ["link set lo up", *(f"addr add {address}/128 dev lo nodad" for address in addresses)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    return True
