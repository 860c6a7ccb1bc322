"""Which tokens a revocation covers, and for how long."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.grants import Bearer
from gateway.auth.revocations import Revocation, Revocations
from publisher.channels import Channel
from publisher.control import By, Target

AT = 1_000.4
UNTIL = 2_000.0
NOW = 1_001.0
A, B = Channel("a"), Channel("b")
SUBJECT, TOKEN, CHANNEL = Target(By.SUBJECT, "42"), Target(By.TOKEN, "t1"), Target(By.CHANNEL, "a")

COVERED = [
    # target, subject, token, iat, channels
    (SUBJECT, "42", "t1", 1_000, [A], True),
    (SUBJECT, "42", "t1", AT, [A], True),
    (SUBJECT, "42", None, None, [A], True),  # nobody knows how old it is
    (SUBJECT, "42", "t1", None, [], True),  # not to publish either
    (SUBJECT, "42", "t1", 1_001, [A], False),  # issued afterwards
    (SUBJECT, "4", "t1", 1_000, [A], False),
    (SUBJECT, None, "42", None, [Channel("42")], False),
    (TOKEN, "42", "t1", 1_000, [A], True),
    (TOKEN, None, "t1", None, [], True),
    (TOKEN, "42", "t1", 1_001, [A], True),  # that very token, whatever it says
    (TOKEN, "t1", "t2", 1_000, [A], False),
    (TOKEN, "t1", None, None, [A], False),
    (CHANNEL, "42", "t1", 1_000, [A], True),
    (CHANNEL, "42", "t1", 1_000, [B, A], True),
    (CHANNEL, None, None, None, [A], True),  # what is open to everybody, too
    (CHANNEL, "42", "t1", 1_001, [A], False),
    (CHANNEL, "42", "t1", 1_000, [B], False),
    (CHANNEL, "a", "a", 1_000, [], False),  # it keeps nobody from publishing
]


@pytest.mark.parametrize(("target", "subject", "token_id", "issued_at", "channels", "covered"), COVERED)
def test_what_is_covered(
    target: Target,
    subject: str | None,
    token_id: str | None,
    issued_at: float | None,
    channels: list[Channel],
    covered: bool,
) -> None:
    bearer = Bearer(subject, token_id, issued_at)
    revocation = Revocation(target, AT, UNTIL)
    assert revocation.covers(bearer, channels) is covered
    held = Revocations()
    held.add(Revocation(Target(By.SUBJECT, "other"), AT, UNTIL), NOW)
    assert held.find(bearer, channels, NOW) is None
    held.add(revocation, NOW)
    assert held.find(bearer, channels, NOW) == (revocation if covered else None)
    assert held.find(bearer, channels, UNTIL) is None, "it has run out"


def test_a_later_one_takes_the_place_of_an_earlier() -> None:
    held = Revocations()
    assert held.add(Revocation(SUBJECT, 100, 1_000), 100)
    assert held.add(Revocation(SUBJECT, 200, 900), 200)
    assert len(held) == 1
    assert held.find(Bearer("42", None, 150), [], 950) is not None, "for as long as either of them"
    held.prune(950)
    assert len(held) == 1
    held.prune(1_000)
    assert len(held) == 0


def test_what_was_heard_before_is_no_news() -> None:
    held = Revocations()
    one = Revocation(SUBJECT, 100, 1_000)
    assert held.add(one, 100)
    assert not held.add(one, 100)
    assert not held.add(Revocation(SUBJECT, 99, 2_000), 100)
    assert held.add(Revocation(TOKEN, 100, 1_000), 100), "that is another target"
    assert not held.add(Revocation(CHANNEL, 100, 1_000), 1_000), "it has run out"
    assert len(held) == 2


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=8), st.integers(0, 40))
def test_in_whatever_order_they_come_none_is_lost(told: list[tuple[int, int]], now: int) -> None:
    held = Revocations()
    for at, seconds in told:
        held.add(Revocation(SUBJECT, at, at + seconds), 0)
    held.prune(now)
    counting = [at for at, seconds in told if at + seconds > now]
    found = held.find(Bearer("42"), [], now)
    assert (found is not None) == bool(counting)
    assert found is None or found.at >= max(counting)
    held.prune(1_000)
    assert len(held) == 0


def parse(fields: object) -> Revocation:
    return Revocation.parse(json.dumps(fields).encode(), AT, 60)


GOOD = [
    ({"subject": "42", "seconds": 100}, Revocation(SUBJECT, AT, AT + 100)),
    ({"token_id": "t1", "seconds": 100.5}, Revocation(TOKEN, AT, AT + 100.5)),
    ({"channel": "a", "seconds": 1}, Revocation(CHANNEL, AT, AT + 60)),  # as long as tokens live here
    ({"channel": "a", "seconds": 100, "later": 1}, Revocation(CHANNEL, AT, AT + 100)),
]


@pytest.mark.parametrize(("fields", "revocation"), GOOD, ids=str)
def test_what_it_is_read_from(fields: object, revocation: Revocation) -> None:
    assert parse(fields) == revocation


BAD: list[object] = [None, [], "x", {}, {"seconds": 1}, {"subject": "42"}, {"subject": "42", "seconds": "x"}]
BAD += [{"subject": "42", "seconds": None}, {"subject": "42", "channel": "a", "seconds": 1}]
BAD += [{"subject": 42, "seconds": 1}, {"subject": "", "seconds": 1}, {"subject": "x" * 257, "seconds": 1}]
BAD += [
    {"channel": "a b", "seconds": 1},
    {"channel": "fanlight.x", "seconds": 1},
    {"channel": 7, "seconds": 1},
]
BAD += [{"subject": "42", "seconds": float("inf")}, {"subject": "42", "seconds": 10**400}]


@pytest.mark.parametrize("fields", BAD, ids=lambda fields: str(fields)[:60])
def test_what_is_none(fields: object) -> None:
    with pytest.raises(ValueError, match="not a revocation"):
        parse(fields)


@given(st.binary(max_size=60))
def test_any_bytes_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a revocation"):
        Revocation.parse(data, AT, 60)
    with pytest.raises(ValueError, match="not a revocation"):
        Revocation.parse(b"[" * 100_000, AT, 60)
