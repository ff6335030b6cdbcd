"""Logs are JSON lines; an exception is logged as its type and origin, and never with its message."""

import asyncio
import gc
import io
import json
import logging
import warnings

import pytest
import structlog

from servicekit.logs import configure_logs


@pytest.fixture
def lines():
    """Call to get the log so far, line by line."""
    written, handlers, level = io.StringIO(), list(logging.root.handlers), logging.root.level
    shows_warning = warnings.showwarning
    configure_logs("trial", "info", written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.root.handlers = handlers
    logging.root.setLevel(level)
    warnings.showwarning = shows_warning


def fail():
    raise ValueError("s3cr3t")


@pytest.mark.parametrize("log", [structlog.get_logger, lambda: logging.getLogger("library")])
def test_an_exception_is_scrubbed(lines, log):
    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("s3cr3t too") from error
    except RuntimeError:
        log().exception("it failed")
        log().warning("it failed again", exc_info=True)
    for line in lines():
        assert line["exception"] == "RuntimeError"
        assert any("test_logs.py" in frame for frame in line["frames"])
        assert "s3cr3t" not in json.dumps(line)
    assert [line["event"] for line in lines()] == ["it failed", "it failed again"]


def test_every_line_says_who_when_and_how_severe(lines):
    structlog.get_logger().info("hello", fact=1)
    logging.getLogger("library").warning("there %s", "you are", extra={"fact": 2})
    structlog.get_logger().debug("too fine")
    logging.getLogger("library").debug("too fine")
    first, second = lines()
    assert (first["event"], first["fact"], first["level"], first["service"]) == ("hello", 1, "info", "trial")
    assert (second["event"], second["fact"], second["level"], second["logger"]) == (
        "there you are",
        2,
        "warning",
        "library",
    )
    assert first["timestamp"].endswith("Z")
    assert second["timestamp"].endswith("Z")


def test_no_input_makes_a_line_of_its_own(lines):
    forged = 'x\r\n{"event": "login_ok"}\u2028\x1b[31m'
    structlog.get_logger().info(forged, fact=forged)
    logging.getLogger("library").warning("%s", forged)
    assert [line["event"] for line in lines()] == [forged, forged]


def test_what_belongs_to_a_request_has_its_id(lines):
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        structlog.get_logger().info("one")
        logging.getLogger("library").warning("two")
    structlog.get_logger().info("three")
    assert [line.get("request_id") for line in lines()] == ["abc", "abc", None]


async def test_what_asyncio_reports_is_a_line_with_a_message(lines):
    loop = asyncio.get_running_loop()

    async def fails():
        fail()

    def forget_a_task():
        loop.create_task(fails(), name="forgotten")  # noqa: RUF006 - wrong on purpose

    def forget_a_future():
        loop.create_future().set_exception(ValueError("s3cr3t"))

    def forget_a_pending_task():
        async def wait():
            await asyncio.Future()

        loop.create_task(wait(), name="abandoned")  # noqa: RUF006

    for forget in (forget_a_task, forget_a_future, forget_a_pending_task, lambda: loop.call_soon(fail)):
        forget()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
    loop.call_exception_handler({"exception": ValueError("s3cr3t")})
    found = {line["event"]: line for line in lines() if line["logger"] == "asyncio"}
    never_retrieved = found["Task exception was never retrieved"]
    assert (never_retrieved["exception"], never_retrieved["level"]) == ("ValueError", "error")
    assert any(frame.endswith(" fail") for frame in never_retrieved["frames"])
    assert "name='forgotten'" in never_retrieved["about"]
    assert found["Future exception was never retrieved"]["exception"] == "ValueError"
    assert "name='abandoned'" in found["Task was destroyed but it is pending"]["about"]
    assert found["Unhandled exception in event loop"]["exception"] == "ValueError"
    assert any(event.startswith("Exception in callback ") for event in found)
    assert "s3cr3t" not in json.dumps(found)


def test_a_warning_of_python_s_is_a_line(lines, capfd):
    warnings.warn("it is old", DeprecationWarning, stacklevel=1)
    (line,) = lines()
    assert (line["event"], line["warning"], line["level"]) == ("it is old", "DeprecationWarning", "warning")
    assert "test_logs.py:" in line["frames"][0]
    assert capfd.readouterr().err == ""


def test_a_record_that_lacks_its_message_has_one(lines, capfd):
    log = logging.getLogger("library")
    log.warning("%d of them", "s")
    log.warning("")
    log.error(TimeoutError())
    try:
        fail()
    except ValueError as error:
        log.error(error)  # noqa: TRY400 - as libraries do
        log.warning("", exc_info=True)
    assert [line["event"] for line in lines()] == [
        "%d of them",
        "no message from library",
        "TimeoutError in library",
        "ValueError in library",
        "ValueError in library",
    ]
    assert all(any(frame.endswith(" fail") for frame in line["frames"]) for line in lines()[3:])
    assert capfd.readouterr().err == ""
