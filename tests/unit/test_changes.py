"""What has changed with a node between two looks at it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.protocol.changes import KEPT, Change, ChangeKind, Changes, Look, between

K = ChangeKind
WELL = Look(generation=1, connected=True, epoch="aaaaaa", ready=True, limits={"streams": 1}, gaps={"late": 2})


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (WELL, WELL, []),
        (
            Look(),
            replace(WELL, limits={}, gaps={}),
            [(K.REDIS_CONNECTED, 1, "generation 1"), (K.READY, 1, "")],
        ),
        (WELL, replace(WELL, connected=False, last_error="reset"), [(K.REDIS_LOST, 1, "reset")]),
        # Lost and made anew, between two looks; twice.
        (
            WELL,
            replace(WELL, generation=3, last_error="reset"),
            [(K.REDIS_LOST, 2, "reset"), (K.REDIS_CONNECTED, 2, "generation 3")],
        ),
        # It was away before, and could not be reached meanwhile.
        (replace(WELL, connected=False), replace(WELL, connected=False, last_error="refused"), []),
        (
            replace(WELL, connected=False),
            replace(WELL, generation=2),
            [(K.REDIS_CONNECTED, 1, "generation 2")],
        ),
        (
            replace(WELL, connected=False),
            replace(WELL, generation=2, epoch="bbbbbb"),
            [(K.REDIS_CONNECTED, 1, "generation 2"), (K.EPOCH_CHANGED, 1, "aaaaaa is now bbbbbb")],
        ),
        (WELL, replace(WELL, caught_up_seconds=0.254), [(K.CAUGHT_UP, 1, "after 0.25 s")]),
        (WELL, replace(WELL, ready=False), [(K.UNREADY, 1, "")]),
        (replace(WELL, ready=False), WELL, [(K.READY, 1, "")]),
        (WELL, replace(WELL, accepting=False, ready=False), [(K.DRAINING, 1, "")]),
        (WELL, replace(WELL, slow_streams=5), [(K.SLOW_STREAMS, 5, "")]),
        (WELL, replace(WELL, shed=2, holes_healed=1), [(K.STREAMS_SHED, 2, ""), (K.HOLES_HEALED, 1, "")]),
        (WELL, replace(WELL, limits={"streams": 4, "tickets": 1}), [(K.LIMITS_HIT, 4, "streams, tickets")]),
        (WELL, replace(WELL, gaps={"late": 2, "trimmed": 3}), [(K.GAPS, 3, "trimmed")]),
        (WELL, replace(WELL, revocations_missed={"epoch": 1}), [(K.REVOCATIONS_MISSED, 1, "epoch")]),
    ],
)
def test_what_two_looks_tell(before: Look, after: Look, found: list[tuple[ChangeKind, int, str]]) -> None:
    assert list(between(before, after)) == found


def test_what_goes_on_is_one_change_with_a_count() -> None:
    changes = Changes()
    for second in range(3):
        changes.note(
            replace(WELL, slow_streams=second), replace(WELL, slow_streams=second + 1), 1000 * second
        )
    assert changes.last(9) == (Change(K.SLOW_STREAMS, 0, 2000, 3),)
    changes.note(WELL, replace(WELL, slow_streams=4), 62_001)  # more than a minute later: another one
    assert [change.count for change in changes.last(9)] == [4, 3]


def test_what_comes_in_numbers_does_not_push_out_what_is_rare() -> None:
    changes = Changes()
    changes.note(WELL, replace(WELL, connected=False, last_error="reset"), 0)
    for second in range(1, 10 * KEPT):
        changes.note(WELL, replace(WELL, slow_streams=1, shed=1, gaps={"late": 9}), 1000 * second)
    kinds = [change.kind for change in changes.last(KEPT)]
    assert sorted(kind.value for kind in kinds) == ["gaps", "redis_lost", "slow_streams", "streams_shed"]
    assert kinds[-1] is K.REDIS_LOST


def test_so_many_are_kept_and_the_newest_come_first() -> None:
    changes = Changes(most=5)
    for number in range(20):
        changes.note(WELL, replace(WELL, connected=False, last_error=str(number)), number)
    assert [change.detail for change in changes.last(3)] == ["19", "18", "17"]
    assert len(changes.last(99)) == 5
