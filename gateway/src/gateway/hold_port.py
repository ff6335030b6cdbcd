"""`python -m gateway.hold_port`: binds the public port once and passes its listening socket to every gateway that asks.

Gateways can be replaced while connections that none of them has accepted yet wait in the socket's queue. This process
accepts no connections itself. It uses the standard library only, so that its image does not change with the gateway's:
whenever this process is replaced, the port is closed for a moment.
"""

import argparse
import errno
import json
import os
import selectors
import socket
import sys
import time
from datetime import UTC, datetime
from typing import Any, NoReturn

BACKLOG = 1024
# Gateways that have the socket of an earlier holder ask every half second.
OFFERED_WITHIN = 5.0
_LOOK = 0.1


class PortHolder:
    """Holds `host:port` for the gateways that connect to the Unix socket `path`.

    If an earlier holder ended while its gateways kept running, they still have its listening socket and the port cannot
    be bound: the first gateway that asks returns the socket. Exits with status 1 and one line if the port cannot be
    bound, or if another holder answers on `path`.
    """

    def __init__(self, host: str, port: int, path: str) -> None:
        self._address = (host, port)
        self._gateways = selectors.DefaultSelector()
        self._listening = self._bind()
        self._asked = _listen_for_gateways(path)
        self._gateways.register(self._asked, selectors.EVENT_READ)

    def run(self) -> NoReturn:
        deadline = time.monotonic() + OFFERED_WITHIN
        while self._listening is not None or time.monotonic() < deadline:
            for key, _ in self._gateways.select(None if self._listening is not None else _LOOK):
                if key.fileobj is self._asked:
                    self._gateways.register(self._asked.accept()[0], selectors.EVENT_READ)
                else:
                    self._hear(key.fileobj)
        _fail(self._cannot_listen(OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))))

    def _hear(self, gateway: Any) -> None:
        """Answer a gateway's request, which is one byte, with the socket; forget the gateway if it has disconnected."""
        try:
            question, descriptors, _, _ = socket.recv_fds(gateway, 1, 1)
            self._consider([socket.socket(fileno=descriptor) for descriptor in descriptors])
            if question and self._listening is not None:
                socket.send_fds(gateway, [b"\n"], [self._listening.fileno()])
                return
        except OSError:
            pass
        self._gateways.unregister(gateway)
        gateway.close()

    def _consider(self, offered: list[socket.socket]) -> None:
        for listening in offered:
            if self._listening is None and listening.getsockname()[1] == self._address[1]:
                self._listening = listening
                self._say_listening()
            else:
                listening.close()

    def _bind(self) -> socket.socket | None:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            listening = socket.create_server(self._address, family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                _fail(self._cannot_listen(error))
            return None
        self._address = (self._address[0], listening.getsockname()[1])
        self._say_listening()
        return listening

    def _say_listening(self) -> None:
        host, port = self._address
        line = {"host": host, "port": port, "event": "listening", "service": "port", "level": "info"}
        print(json.dumps({**line, "timestamp": datetime.now(UTC).isoformat()}), flush=True)  # noqa: T201

    def _cannot_listen(self, error: OSError) -> str:
        host, port = self._address
        return f"cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}"


def _listen_for_gateways(path: str) -> socket.socket:
    """Listen on `path`, replacing the socket file of a holder that was killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
            _fail(f"{path}: another process answers there")
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            _fail(f"{path}: {error}")
    os.umask(0o077)
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.bind(path)
    except OSError as error:
        _fail(f"{path}: {os.strerror(error.errno) if error.errno else error}")
    asked.listen()
    return asked


def _fail(line: str, status: int = 1) -> NoReturn:
    print(line, file=sys.stderr)  # noqa: T201
    raise SystemExit(status)


def main() -> None:
    argparse.ArgumentParser(prog="python -m gateway.hold_port", description=__doc__).parse_args()
    port, path = os.environ.get("GATEWAY_PORT", "8080"), os.environ.get("GATEWAY_LISTENER", "")
    faults = [] if path else ["GATEWAY_LISTENER: is missing"]
    if not port.isdecimal() or int(port) > 65535:
        faults.append("GATEWAY_PORT: is no port")
    if faults:
        _fail(f"settings: {'; '.join(faults)}", 2)
    PortHolder(os.environ.get("GATEWAY_HOST", "127.0.0.1"), int(port), path).run()


if __name__ == "__main__":
    main()
