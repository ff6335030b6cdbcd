"""A thread that writes log lines to a file descriptor, so that logging never waits for the log's reader."""

import os
import queue
import select
import stat
import sys
import threading
from collections.abc import Callable
from typing import TextIO

# Maximum bytes of buffered lines; as many again may be being written at the same time.
LIMIT = 2 * 1024 * 1024
# Maximum seconds that a stop waits for buffered lines to be written.
STOP_TIMEOUT = 3.0

_PAUSE = 0.02  # between two batches: lines logged meanwhile cost the serving thread no switch to this one
_RETRY = 0.25  # after a write that failed
_FILE_CHUNK = 64 * 1024


class LogWriter:
    """Writes lines in the order in which `write` received them, each one completely or not at all.

    Lines are dropped while the buffer is full, and when a write fails. Once writing succeeds again, the line that
    `describe_loss` makes of their number is written in their place. `dropped` counts them since the process started.
    """

    def __init__(self, descriptor: int, describe_loss: Callable[[int], bytes]) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._describe_loss = describe_loss
        # The kernel does not interleave a write of up to PIPE_BUF bytes with those of other processes on the same pipe,
        # and writes nothing of it as long as there is no room for all of it.
        self._chunk = _FILE_CHUNK if stat.S_ISREG(os.fstat(descriptor).st_mode) else select.PIPE_BUF
        # The garbage collector may run a finalizer that logs inside any of these methods. Hence a reentrant lock, and
        # instead of an Event a queue, whose `put` is reentrant.
        self._lock = threading.RLock()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lines: list[bytes] = []
        self._held = 0
        self._refused = 0  # lines that arrived after `_lines`, when the buffer was full
        self._waiting = False  # true while the thread waits for the bell
        self._untold = 0  # lines dropped before the next one to be written, not reported yet
        self._begun = b""  # the rest of a line whose beginning has been written
        self._closing = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Queue whole lines, each with its newline, for writing. Returns at once and raises nothing."""
        size = len(lines)
        with self._lock:
            if self._refused or self._held + size > LIMIT:
                count = lines.count(b"\n")
                self._refused += count
                self.dropped += count
                return
            self._lines.append(lines)
            self._held += size
            if self._waiting:
                self._waiting = False
                self._bell.put(None)
            if self._ended and self._writable(0):
                self._deliver(*self._take())

    def close(self) -> None:
        """Write the buffered lines, within `STOP_TIMEOUT`. Later lines are written at once, or lost if that blocks.

        Later lines come from finalizers, after the interpreter has ended all threads.
        """
        self._closing.set()
        self._bell.put(None)
        self._thread.join(STOP_TIMEOUT)
        self._ended = not self._thread.is_alive()

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wait()
            closing = self._closing.is_set()
            self._deliver(*self._take())
            self._closing.wait(_RETRY if self._untold else _PAUSE)

    def _wait(self) -> None:
        """Wait for lines, unless the number of dropped ones is still to be reported, which is retried continually."""
        with self._lock:
            waiting = self._waiting = not (self._lines or self._untold or self._closing.is_set())
        if waiting:
            self._bell.get()

    def _take(self) -> tuple[bytes, int]:
        """Take the buffered lines, and the number of those refused after them."""
        following: list[bytes] = []
        with self._lock:
            lines, self._lines = self._lines, following
            refused, self._refused = self._refused, 0
            self._held = 0
        return b"".join(lines), refused

    def _deliver(self, lines: bytes, refused: int) -> None:
        lost = lines
        if not self._untold or self._tell():
            lost = self._put(lines)
        count = lost.count(b"\n")
        with self._lock:
            self.dropped += count
        self._untold += count + refused
        if refused and not lost:
            self._tell()

    def _tell(self) -> bool:
        if self._put(self._describe_loss(self._untold)):
            return False
        self._untold = 0
        return True

    def _put(self, lines: bytes) -> bytes:
        """Write lines; returns those that cannot be written. A partly written line is completed before the next one."""
        lines = self._begun + lines
        written = 0
        while written < len(lines):
            try:
                written += os.write(self._descriptor, lines[written : self._end_of_chunk(lines, written)])
            except BlockingIOError:  # another process that shares the descriptor has made it non-blocking
                self._writable(None)
            except OSError:
                break
        rest = lines[written:]
        torn = lines[written - 1 : written] != b"\n" if written else bool(self._begun)
        end = rest.index(b"\n") + 1 if rest and torn else 0
        self._begun = rest[:end]
        return rest[end:]

    def _end_of_chunk(self, lines: bytes, start: int) -> int:
        """The end of as many whole lines as fit into a chunk, or of a single longer line."""
        end = lines.rfind(b"\n", start, start + self._chunk)
        return (end if end >= 0 else lines.index(b"\n", start)) + 1

    def _writable(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(timeout))


class StreamWriter:
    """Writes immediately to a stream without a file descriptor, as in tests; by default to standard output."""

    dropped = 0

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def write(self, lines: bytes) -> None:
        stream = self._stream or sys.stdout
        if stream is not None:  # the process may have been started without standard output
            stream.write(lines.decode())
            stream.flush()


def writer_to(stream: TextIO, describe_loss: Callable[[int], bytes]) -> LogWriter | StreamWriter:
    """A writer to a stream, through its file descriptor if it has one."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError):
        return StreamWriter(stream)
    return LogWriter(descriptor, describe_loss)
