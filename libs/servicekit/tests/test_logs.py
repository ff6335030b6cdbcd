"""Logs are JSON lines; an exception is its type and where it came from, and never its message."""

import io
import json
import logging

import pytest
import structlog

from servicekit.logs import configure_logs


@pytest.fixture
def lines():
    """Call to get what has been logged, line by line."""
    written, handlers, level = io.StringIO(), list(logging.root.handlers), logging.root.level
    configure_logs("trial", "info", written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.root.handlers = handlers
    logging.root.setLevel(level)


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
