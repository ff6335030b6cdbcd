"""A flood of odd header names does not slow other requests down permanently."""

from collections import Counter

from gateway.messages.headers import Names

USUAL = [b"X-Application-Specific-Header-Of-This-Client-%d" % number for number in range(100)]
MOST_HEADERS = 128


class Counting:
    """A pattern that counts the comparisons with each name. A comparison is needed for each name that is not cached."""

    def __init__(self):
        self.compared = Counter()

    def fullmatch(self, name):
        self.compared[name] += 1


def test_odd_names_displace_none_that_are_used():
    pattern = Counting()
    names = Names(pattern, frozenset(), frozenset(), lower=False)
    _send(names, (b"X-Odd-Before-%d" % number for number in range(6000)))
    for request in range(100):
        if request % 8 == 0:
            _send(names, USUAL)
        else:
            _send(names, (b"X-Odd-%d-%d" % (request, number) for number in range(MOST_HEADERS)))
    assert {pattern.compared[name.lower()] for name in USUAL} == {1}


def _send(names, sent):
    for name in sent:
        assert names[name][0] == name + b": "
