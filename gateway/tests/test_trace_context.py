"""W3C Trace Context: a well-formed trace is forwarded unchanged, and a malformed one is replaced."""

import re

import pytest

ME = "/api/v1/users/me"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
NEW = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00")


async def _sent(gateway, *headers):
    assert (await gateway.request("GET", ME, *headers)).status == 200
    return gateway.users.requests[-1]


@pytest.mark.parametrize("parent", [GOOD, GOOD[:-2] + "00", f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-more"])
async def test_a_good_trace_travels_on(gateway, parent):
    message = await _sent(gateway, ("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert message.get("traceparent") == parent
    assert message.get("tracestate") == "a=1,b=2"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD + "-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-zz",
    ],
)
async def test_a_malformed_trace_begins_anew(gateway, parent):
    message = await _sent(gateway, ("traceparent", parent), ("tracestate", "a=1"))
    assert NEW.fullmatch(message.get("traceparent"))
    assert message.get("tracestate") is None


async def test_two_traces_are_none(gateway):
    message = await _sent(gateway, ("traceparent", GOOD), ("traceparent", GOOD))
    assert NEW.fullmatch(message.get("traceparent"))


@pytest.mark.parametrize("state", ["x=" + "y" * 600, ",".join(f"k{number}=v" for number in range(33))])
async def test_a_state_that_is_too_large_stays_here(gateway, state):
    message = await _sent(gateway, ("traceparent", GOOD), ("tracestate", state))
    assert message.get("traceparent") == GOOD
    assert message.get("tracestate") is None


async def test_a_state_without_a_trace_stays_here(gateway):
    message = await _sent(gateway, ("tracestate", "a=1"))
    assert {"traceparent", "tracestate"}.isdisjoint(message.names)
