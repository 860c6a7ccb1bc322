"""Hundreds of random schedules against the product's own hub: nothing is lost in silence, nothing comes
twice, ids rise. See `tests/support/simulation.py`. More of them: `python -m tests.support.schedules`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.hub.replay import Replay
from gateway.protocol.hottail import HotTail
from gateway.protocol.interest import Interest
from tests.support.schedules import FAULTS, run


@pytest.mark.parametrize("faults", FAULTS)
def test_nothing_is_lost_in_silence(faults: str) -> None:
    published = replays = 0
    for seed in range(25):
        world = run(seed, faults)
        published += len(world.redis.facts)
        replays += sum(node.log.reads for node in world.nodes)
    # Not vacuous. A closed channel takes no more events, and a wiped log has nothing to replay.
    assert published > 750
    assert replays > 25


BROKEN_RULES: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "a floor may come from a read of an earlier time": (
        Interest,
        "floors_read",
        lambda self, work: [c for c in work.floors if self._floorless.pop(c, None) is not None],
    ),
    "a client that is ahead of its node goes live at once": (Replay, "_is_ahead", lambda *_: False),
    "memory is taken to reach back for ever": (HotTail, "reaches", lambda *_: True),
}


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_the_schedules_notice_a_broken_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, broken = BROKEN_RULES[rule]
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(AssertionError, match="seed"):
        run_many(2_000)


def run_many(seeds: int) -> None:
    for seed in range(seeds):
        run(seed, "calm")
