"""The cost of a head grows with its bytes, not with the number of packets that it arrives in."""

import pytest

from servicekit.http1.head_reader import HeadReader

HEAD = b"GET / HTTP/1.1\r\n" + b"X: %b\r\n" % (b"x" * 60_000) + b"\r\n"


class Counting(bytearray):
    """Bytes that count how many of them are searched."""

    searched = 0

    def find(self, part, start=0):
        self.searched += len(self) - start
        return super().find(part, start)


@pytest.mark.parametrize("size", [1, 7])
def test_no_byte_is_searched_again_with_each_packet(size):
    reader = HeadReader()
    reader.received = Counting()
    packets = [HEAD[start : start + size] for start in range(0, len(HEAD), size)]
    assert [reader.feed(packet) for packet in packets[:-1]] == [None] * (len(packets) - 1)
    assert reader.feed(packets[-1]) == (HEAD, b"")
    assert len(HEAD) / 2 < reader.received.searched < 5 * len(HEAD)
