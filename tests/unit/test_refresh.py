"""When an issuer's keys are fetched again, against a clock that is played."""

from __future__ import annotations

from gateway.auth.refresh import Refresh


def fetched(at: float = 100.0) -> Refresh:
    refresh = Refresh(every_seconds=300, asked_seconds=30)
    refresh.begin(at)
    refresh.succeeded(at + 1)
    return refresh


def test_the_first_fetch_is_at_once() -> None:
    refresh = Refresh(300, 30)
    assert refresh.pause_seconds(0) == 0
    assert refresh.may_ask(0)
    assert not refresh.well


def test_keys_are_fetched_again_by_their_age() -> None:
    refresh = fetched()
    assert refresh.well
    assert [refresh.pause_seconds(now) for now in (100, 250, 400, 999)] == [300, 150, 0, 0]


def test_a_key_that_is_not_known_is_asked_for_once_in_a_while() -> None:
    refresh = fetched()
    assert [refresh.may_ask(now) for now in (100, 129.9, 130, 500)] == [False, False, True, True]
    refresh.begin(130)
    assert not refresh.may_ask(159)


def test_a_flood_of_asking_brings_a_fetch_each_interval() -> None:
    refresh, fetches = fetched(0), 0
    for tick in range(10_000):  # ten a second
        now = 1 + tick / 10
        if refresh.may_ask(now):
            refresh.begin(now)
            refresh.succeeded(now)
            fetches += 1
    assert fetches == 1000 // 30


def test_after_a_failure_it_is_tried_again_ever_later_and_no_later_than_by_age() -> None:
    refresh, now, pauses = fetched(0), 300.0, []
    for _ in range(12):
        refresh.begin(now)
        refresh.failed()
        assert not refresh.well
        pauses.append(refresh.pause_seconds(now))
        now += pauses[-1]
    assert pauses == [30, 60, 120, 240, *[300] * 8]
    refresh.begin(now)
    refresh.succeeded(now)
    assert refresh.well
    assert refresh.pause_seconds(now) == 300
