"""Logs as JSON lines on standard output; a request's id stands in every line written while it is served."""

import atexit
import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.contextvars import merge_contextvars

from servicekit.log_writer import LogWriter, StreamWriter, writer_to

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)

_writer: LogWriter | StreamWriter = StreamWriter()


def configure_logs(service: str, level: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream`, one JSON object a line.

    That is standard output, unless a command whose result goes there names another. No line waits for the stream's
    reader; those that are still held when the process ends are written then.
    """

    def name_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        event["service"] = service
        return event

    shared: list[structlog.typing.Processor] = [
        merge_contextvars,
        name_service,
        structlog.stdlib.add_log_level,
        _STAMP,
        _frames_of_exception,
    ]
    writer = _open(stream or sys.stdout, name_service)
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Logger(writer.write),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(writer.write)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=max(_LEVELS[level], logging.INFO), handlers=[handler], force=True)


def write(lines: bytes) -> None:
    """Write lines that are JSON already, each with its newline, in order with all others."""
    _writer.write(lines)


def dropped_lines() -> int:
    """Log lines that this process dropped because nobody read them or they could not be written."""
    return _writer.dropped


def _open(stream: TextIO, name_service: structlog.typing.Processor) -> LogWriter | StreamWriter:
    global _writer

    def describe_loss(lines: int) -> bytes:
        event: MutableMapping[str, Any] = {"event": "log lines dropped", "lines": lines}
        for add in (name_service, structlog.stdlib.add_log_level, _STAMP):
            add(None, "error", event)
        return json.dumps(event).encode() + b"\n"

    writer = writer_to(stream, describe_loss)
    if isinstance(writer, LogWriter):
        _writer = writer
        atexit.register(writer.close)
    return writer


class _Logger:
    """Takes lines from structlog."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def info(self, line: str) -> None:
        self._write(line.encode() + b"\n")

    debug = warning = error = critical = info


class _Handler(logging.Handler):
    """Takes records from the standard library's logging."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record).encode() + b"\n")
        except Exception:
            self.handleError(record)


def _frames_of_exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replace an exception by its type and frames: its message may quote what a client sent."""
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    exception = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(exception, BaseException):
        event["exception"] = type(exception).__qualname__
        event["frames"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exception.__traceback__)
        ]
    return event
