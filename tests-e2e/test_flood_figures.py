"""The verdicts of `make bench-flood`: honest clients are served as without an attack, or they are not."""

import pytest

from bench.flood.figures import services


def outcomes(answered, refused, milliseconds):
    return {"reads": [(200, milliseconds)] * answered + [(503, 1.0)] * refused}


@pytest.mark.parametrize(
    ("attacked", "kept"),
    [
        (outcomes(95, 5, 20.0), True),
        (outcomes(94, 6, 10.0), False),
        (outcomes(100, 0, 20.1), False),
        (outcomes(0, 100, 10.0), False),
        (outcomes(190, 10, 10.0), True),
    ],
)
def test_a_twentieth_may_go_unanswered_and_the_slowest_take_twice_as_long(attacked, kept):
    idle = services(outcomes(100, 0, 10.0))["reads"]
    assert idle.kept_by(services(attacked)["reads"]) is kept


def test_one_slow_answer_in_fifty_counts_and_refusals_do_not():
    slow = {"reads": [(200, 5.0)] * 49 + [(200, 300.0), (503, 9000.0)]}
    service = services(slow)["reads"]
    assert (service.asked, service.answered, service.p50, service.p99) == (51, 50, 5.0, 300.0)
