"""The access log: one JSON line per request, for all, a fraction or none of them, and for every server error."""

import json

import pytest

from gateway.clients.access_log import AccessLog
from gateway.messages.trace_context import Identity

TRACED = Identity(b"request-1", b"0af7651916cd43dd8448eb211c80319c", b"")


def _logged(rate, statuses, identity=TRACED, method=b"GET"):
    written = []
    log = AccessLog(rate, written.append)
    for status in statuses:
        log.request(method, b"/api/v1/users/{}", status, 10.0, 10.01234, identity)
    log.flush()
    return [json.loads(line) for line in b"".join(written).splitlines()]


def test_a_line_says_what_was_asked_and_what_came_of_it():
    [line] = _logged(1, [200])
    timestamp = line.pop("timestamp")
    assert line == {
        "event": "request",
        "service": "gateway",
        "level": "info",
        "method": "GET",
        "route": "/api/v1/users/{}",
        "status": 200,
        "duration_ms": 12.34,
        "request_id": "request-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    assert timestamp.endswith("Z")
    assert "T" in timestamp


def test_what_a_client_chooses_freely_does_not_stand_in_it():
    [line] = _logged(1, [405], Identity(b"request-1", b"", b""), b'X"\r\n')
    assert line["method"] == "-"
    assert "trace_id" not in line


@pytest.mark.parametrize(("rate", "least", "most"), [(0, 0, 0), (0.1, 700, 1300), (1, 10_000, 10_000)])
def test_a_share_is_logged(rate, least, most):
    assert least <= len(_logged(rate, [200] * 10_000)) <= most


@pytest.mark.parametrize(("rate", "number"), [(0, 0), (0.001, 50)])
def test_failures_of_ours_are_logged_where_anything_is(rate, number):
    assert sum(line["status"] == 503 for line in _logged(rate, [503] * 50)) == number
