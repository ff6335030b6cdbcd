"""The boundaries of WebSocket frames, found in a stream that is cut anywhere."""

import pytest

from gateway.clients.frames import Frames, close_frame
from websocket_peer import GOING_AWAY, frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("mask", [b"", bytes(4)])
def test_boundaries_are_found_wherever_a_stream_is_cut(size, mask):
    stream = frame(b"x" * size, mask) + frame(b"", mask) + frame(b"y" * 3, mask)
    boundaries = {0, len(frame(b"x" * size, mask)), len(stream) - len(frame(b"y" * 3, mask)), len(stream)}
    for cut in {*range(min(len(stream), 200)), *boundaries, len(stream) - 1}:
        frames = Frames()
        first = frames.feed(stream[:cut])
        assert frames.between == (cut in boundaries)
        passed = sorted(boundary for boundary in boundaries if 0 < boundary <= cut)
        assert first == (passed[0] if passed else 0)
        assert cut == len(stream) or frames.feed(stream[cut:]) == min(each for each in boundaries if each > cut) - cut
        assert frames.between


def test_a_close_frame_states_its_code():
    assert close_frame(1001, masked=False) == GOING_AWAY
