"""Network and mount namespaces for this process and the processes that it starts."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest

NAME_SERVER = "127.0.0.53"
RESOLVER = f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n"

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def enter(directory: Path) -> None:
    """Enter new namespaces, with only a loopback interface and with `NAME_SERVER` as the resolver.

    The process must have a single thread, because namespaces belong to threads. Skips the test if the kernel forbids
    it: root or user namespaces are required.
    """
    user, group = os.getuid(), os.getgid()
    try:
        _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET | (0 if user == 0 else _CLONE_NEWUSER)))
    except OSError as error:
        pytest.skip(f"needs its own namespaces, which this machine does not allow: {error.strerror}")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    _bring_up_loopback()
    resolver = directory / "resolv.conf"
    resolver.write_text(RESOLVER)
    _check(_libc.mount(bytes(resolver), b"/etc/resolv.conf", None, _MS_BIND, None))


def mount_small(directory: Path, megabytes: int) -> None:
    """Mount an in-memory file system of this size."""
    _check(_libc.mount(b"none", bytes(directory), b"tmpfs", 0, f"size={megabytes}m,mode=0777".encode()))


def unmount(directory: Path) -> None:
    _check(_libc.umount2(bytes(directory), _MNT_DETACH))


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
