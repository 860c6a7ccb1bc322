"""How many connections there is room for, under limits of the system that are played."""

from __future__ import annotations

import resource

import pytest

from gateway.http.descriptors import KEPT, room_for

ROWS = [
    # soft, hard, what the soft one becomes, room for 1,000 connections and 30 others
    (10_000, 20_000, 10_000, 1000),
    (1030 + KEPT, 20_000, 1030 + KEPT, 1000),
    (1024, 20_000, 1030 + KEPT, 1000),
    (1024, resource.RLIM_INFINITY, 1030 + KEPT, 1000),
    (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000),
    (256, 512, 512, 512 - 30 - KEPT),
    (64, 64, 64, 1),
]


@pytest.mark.parametrize(("soft", "hard", "raised", "room"), ROWS)
def test_the_limit_is_raised_as_far_as_it_has_to_be(
    soft: int, hard: int, raised: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: now.__setitem__(0, limits))
    assert room_for(1000, 30) == room
    assert now == [(raised, hard)]


def test_a_system_that_refuses_leaves_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert room_for(1000, 30) == 512 - 30 - KEPT
