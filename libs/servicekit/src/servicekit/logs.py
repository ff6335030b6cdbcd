"""Logs as JSON lines on standard output; every line written while a request is served has that request's id."""

import atexit
import json
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.contextvars import merge_contextvars

from servicekit.log_writer import LogWriter, StreamWriter, writer_to

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_EXCEPTION_TEXT = re.compile(r" exception=.*", re.DOTALL)
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)

_writer: LogWriter | StreamWriter = StreamWriter()


def configure_logs(service: str, level: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records, and Python's warnings, to `stream`, one JSON object a line.

    The default is standard output; a command that prints its result there names another stream. Logging never waits for
    the stream's reader; lines that are still buffered when the process ends are written then.
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
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.add_logger_name,
                _message_of_asyncio,
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=max(_LEVELS[level], logging.INFO), handlers=[handler], force=True)
    warnings.showwarning = _log_warning


def write(lines: bytes) -> None:
    """Write lines that are already JSON, each with its newline, in order with all other lines."""
    _writer.write(lines)


def dropped_lines() -> int:
    """The number of log lines that this process dropped because nobody read them or they could not be written."""
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
    """Receives lines from structlog."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def info(self, line: str) -> None:
        self._write(line.encode() + b"\n")

    debug = warning = error = critical = info


class _Handler(logging.Handler):
    """Receives records from the standard library's logging."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        _complete(record)
        try:
            self._write(self.format(record).encode() + b"\n")
        except Exception:
            self.handleError(record)


def _complete(record: logging.LogRecord) -> None:
    """Give a record a usable message if its own is an exception, is empty, or does not fit its arguments."""
    if isinstance(record.msg, BaseException):
        error = record.msg
        record.exc_info = record.exc_info or (type(error), error, error.__traceback__)
        record.msg = ""
    try:
        message = record.getMessage()
    except Exception:
        message = str(record.msg)  # the arguments do not fit
    if not message.strip():
        exception = record.exc_info[0] if record.exc_info else None
        message = f"{exception.__qualname__} in {record.name}" if exception else f"no message from {record.name}"
    record.msg, record.args = message, None


def _message_of_asyncio(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Split one of asyncio's reports into its sentence and the task or callback concerned.

    The text of an exception may quote what a client sent, so it is left out here as everywhere.
    """
    if event["logger"] == "asyncio":
        sentence, _, about = str(event["event"]).partition("\n")
        event["event"] = sentence.rstrip("!")
        if about:
            event["about"] = _EXCEPTION_TEXT.sub(">", about)
    return event


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - as `warnings` calls it
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger().warning(str(message), warning=category.__name__, frames=[f"{filename}:{lineno}"])


def _frames_of_exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replace an exception with its type and frames, and with the SQLSTATE if a statement is the cause.

    The exception's message is dropped, because it may quote what a client sent.
    """
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    exception = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(exception, BaseException):
        event["exception"] = type(exception).__qualname__
        event["frames"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exception.__traceback__)
        ]
        sqlstate = _sqlstate(exception)
        if sqlstate is not None:
            event["sqlstate"] = sqlstate
    return event


def _sqlstate(exception: BaseException | None) -> str | None:
    """The SQLSTATE of the exception, or of the nearest of its causes that has one."""
    while exception is not None:
        sqlstate = getattr(exception, "sqlstate", None)
        if isinstance(sqlstate, str):
            return sqlstate
        exception = exception.__cause__
    return None
