"""The count has to find what is forged: `pytest bench/peers`."""

from __future__ import annotations

import pytest

from bench.peers.judge import PeerVerdict, judge
from bench.peers.load import PeerSubscriber
from tests.chaos.history import Outcome, Written

Arrival = tuple[int, int, bool]


def verdict_of(arrivals: list[Arrival], *, opens: int = 1, away: bool = False) -> PeerVerdict:
    """Numbers 1 to 6 were acknowledged, 7 was not, and 3 was published twice."""
    subscriber = PeerSubscriber("one", ["a"], list, path=str)
    subscriber.opens, subscriber.was_away = opens, away
    subscriber.seen = [("a", *arrival) for arrival in arrivals]
    written = [Written("a", n, "", Outcome.UNKNOWN if n == 7 else Outcome.ACKED) for n in range(1, 8)]
    written.append(Written("a", 3, "", Outcome.UNKNOWN))
    return judge(written, [subscriber])


ALL: list[Arrival] = [(n, 1, False) for n in range(1, 7)]


def test_all_is_well() -> None:
    verdict = verdict_of(ALL)
    assert verdict == PeerVerdict(published=6, delivered=6)


def test_what_nobody_answered_for_is_due_once_somebody_got_it() -> None:
    verdict = verdict_of([*ALL, (7, 1, False)])
    assert verdict == PeerVerdict(published=7, delivered=7)


def test_what_came_before_the_first_is_not_due() -> None:
    assert verdict_of(ALL[2:]).lost == 0


@pytest.mark.parametrize(
    ("arrivals", "field"),
    [
        ([(1, 1, False), (4, 1, False), (5, 1, False), (6, 1, False)], "lost_unbroken"),
        ([(1, 1, False), (4, 2, False), (5, 2, False), (6, 2, False)], "lost_reconnect"),
        ([(1, 1, False), (4, 2, True), (5, 2, True), (6, 2, True)], "lost_away"),
    ],
)
def test_a_hole_is_counted_where_it_is(arrivals: list[Arrival], field: str) -> None:
    _, opens, away = arrivals[-1]
    verdict = verdict_of(arrivals, opens=opens, away=away)
    assert (verdict.lost, getattr(verdict, field), verdict.lost_single) == (2, 2, 2)


def test_the_end_is_due() -> None:
    assert verdict_of(ALL[:4]).lost_unbroken == 2


def test_repeats_are_told_from_second_publishes() -> None:
    verdict = verdict_of([*ALL, (2, 1, False), (3, 1, False)])
    assert (verdict.repeated, verdict.published_again, verdict.delivered) == (1, 1, 6)
