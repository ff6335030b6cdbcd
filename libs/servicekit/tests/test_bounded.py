"""A full memory evicts its oldest entry and keeps all others."""

from servicekit.bounded import BoundedMap


def test_the_entry_that_was_set_the_longest_time_ago_is_evicted():
    remembered = BoundedMap(3)
    for name in "abc":
        remembered[name] = name
    remembered["a"] = "set again"
    remembered["d"] = "d"
    assert dict(remembered) == {"c": "c", "a": "set again", "d": "d"}
