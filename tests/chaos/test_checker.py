"""The checker, beside forged histories: a judge that passes everything proves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import check, check_vitals
from tests.chaos.history import (
    Allowance,
    Connected,
    Followed,
    History,
    Logged,
    Loss,
    Outcome,
    Received,
    Refused,
    Vitals,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.once

OLD, BETWEEN, NEW = "aaaaaa", "cccccc", "bbbbbb"


def data(channel: str, number: int) -> str:
    return json.dumps({"c": channel, "n": number})


def id_of(number: int, epoch: str = NEW) -> str:
    """Number n is at 1000 + n ms, so that order is easy to see."""
    return f"{1000 + number}-0-{epoch}"


def event(channel: str, number: int, epoch: str = NEW) -> Received:
    return Received("message", id_of(number, epoch), data(channel, number))


def opened(at: int, epoch: str = NEW) -> Received:
    return Received("fanlight.open", id_of(at, epoch), '{"resumed":true}')


def gap(
    reason: str, start: int | None, end: int | None, *, channel: str | None = "a", **ids: str
) -> Received:
    held = ids.get("held", id_of(start or 0, ids.get("epoch", NEW)))
    body = {
        "channel": channel,
        "reason": reason,
        "from": None if start is None else id_of(start, ids.get("epoch", NEW)),
        "to": None if end is None else id_of(end, ids.get("to_epoch", NEW)),
    }
    return Received("fanlight.gap", held, json.dumps(body))


def written(channel: str, number: int, epoch: str = NEW, outcome: Outcome = Outcome.ACKED) -> Written:
    id_ = id_of(number, epoch) if outcome is Outcome.ACKED else ""
    return Written(channel, number, data(channel, number), outcome, id_)


def good() -> History:
    """Channels a (odd numbers) and b (even ones), 1 to 6; a subscriber that reconnects after 3."""
    channels = ["ab"[number % 2 == 0] for number in range(1, 7)]
    both = Followed("both", ("a", "b"), [Connected(""), opened(0)])
    for number, channel in enumerate(channels, 1):
        both.records.append(event(channel, number))
        if number == 3:
            both.records += [Connected(id_of(3)), opened(3)]
    return History(
        written=[written(channel, number) for number, channel in enumerate(channels, 1)],
        logged=[Logged(c, id_of(n), data(c, n)) for n, c in enumerate(channels, 1)],
        followed=[both],
        epoch=NEW,
    )


def crossed() -> tuple[History, Allowance]:
    """Events 1 to 3 of the old epoch, of which Redis lost 3; a break; 4 to 6 of the new one."""
    history = good()
    for number in (1, 2, 3):
        channel = "ab"[number % 2 == 0]
        history.written[number - 1] = written(channel, number, OLD)
        history.logged[number - 1] = Logged(channel, id_of(number, OLD), data(channel, number))
    del history.logged[2]
    history.followed = [
        Followed(
            "both",
            ("a", "b"),
            [
                Connected(""),
                opened(0, OLD),
                event("a", 1, OLD),
                event("b", 2, OLD),
                gap("failover", 2, None, channel=None, epoch=OLD),
                event("b", 4),
                event("a", 5),
                event("b", 6),
            ],
        )
    ]
    return history, Allowance(gaps=frozenset({"failover"}), loss=Loss.AT_BREAK, told=frozenset({"failover"}))


def test_a_good_run_is_good() -> None:
    verdict = check(good(), Allowance())
    assert verdict.violations == []
    assert (verdict.published, verdict.delivered, verdict.repeated, verdict.lost) == (6, 6, 0, 0)


def test_a_break_that_was_told_is_good() -> None:
    verdict = check(*crossed())
    assert verdict.violations == []
    assert (verdict.lost, verdict.gaps["failover"]) == (0, 1)


def _records(history: History) -> list[Connected | Refused | Received]:
    return history.followed[0].records


def _drop(number: int) -> Callable[[History], None]:
    def forge(history: History) -> None:
        records = _records(history)
        records[:] = [
            r for r in records if not (isinstance(r, Received) and r == event("ab"[number % 2 == 0], number))
        ]

    return forge


def _insert(at: int, *records: Connected | Refused | Received) -> Callable[[History], None]:
    return lambda history: _records(history).__setitem__(slice(at, at), records)


def _change(list_name: str, at: int, **fields: object) -> Callable[[History], None]:
    def forge(history: History) -> None:
        items = getattr(history, list_name)
        items[at] = replace(items[at], **fields)

    return forge


def _swap(history: History) -> None:
    records = _records(history)
    records[2], records[3] = records[3], records[2]


def _never_open(history: History) -> None:
    _records(history).clear()


def _garbled(history: History) -> None:
    _records(history)[3] = Received("message", id_of(2), data("b", 2) + " ")


def _log_again(history: History) -> None:
    history.logged.append(Logged("a", id_of(7), data("a", 5)))


def _duplicate_ack(history: History) -> None:
    history.written.append(replace(history.written[4], id=id_of(8)))
    history.logged.append(Logged("a", id_of(8), data("a", 5)))


def _refused_yet_there(history: History) -> None:
    history.written[5] = written("b", 6, outcome=Outcome.REFUSED)


LOST, TWICE, RISE = "nothing is lost in silence", "nothing comes twice", "ids rise"
FORGERIES: list[tuple[str, Callable[[History], object], str]] = [
    ("the first event is missing", _drop(1), LOST),
    ("one is missing in the middle", _drop(4), LOST),
    ("the last is missing", _drop(6), LOST),
    ("an open claims what did not come", _insert(2, opened(2)), LOST),
    ("an event again on the same connection", _insert(4, event("b", 2)), TWICE),
    ("an event again after a reconnect", _insert(7, event("a", 3)), TWICE),
    ("the same number under another id", _insert(9, Received("message", id_of(9), data("b", 6))), TWICE),
    ("two in the wrong order", _swap, RISE),
    ("an open below what came", _insert(5, opened(1)), RISE),
    ("other data than was published", _garbled, "what comes was published"),
    (
        "of another channel",
        _insert(4, Received("message", id_of(2), data("z", 2))),
        "only what is followed comes",
    ),
    ("a status at which a browser gives up", _insert(5, Refused(503)), "no browser gives up"),
    ("it never opened", _never_open, "everybody is at the top"),
    ("a gap where nothing is missing", _insert(4, gap("trimmed", 2, 3)), "no false gap"),
    ("another epoch and no word of it", _insert(9, opened(9, OLD)), "a break is told"),
    (
        "an acknowledged event is not in the stream",
        lambda h: h.logged.pop(3),
        "what is acknowledged is in the stream",
    ),
    ("an event twice in the stream", _log_again, "an event is in the stream once"),
    ("a retry with another id", _duplicate_ack, "an event is in the stream once"),
    (
        "the stream holds other data",
        _change("logged", 2, data=data("a", 30)),
        "the stream holds what was published",
    ),
    (
        "the stream holds another event",
        _change("logged", 2, data=data("a", 5)),
        "an event is in the stream once",
    ),
    ("a publish was refused", _change("written", 5, outcome=Outcome.REFUSED), "no publish is refused"),
    ("a refused publish is there", _refused_yet_there, "no publish is refused"),
]


@pytest.mark.parametrize(("forge", "rule"), [pytest.param(f, r, id=n) for n, f, r in FORGERIES])
def test_a_forged_run_is_rejected(forge: Callable[[History], None], rule: str) -> None:
    history = good()
    forge(history)
    verdict = check(history, Allowance())
    assert rule in {violation.rule for violation in verdict.violations}, verdict
    assert (verdict.lost > 0) == (LOST in {violation.rule for violation in verdict.violations})
    assert (verdict.repeated > 0) == (TWICE in {violation.rule for violation in verdict.violations})


def test_a_refused_publish_must_not_be_in_the_stream() -> None:
    history = good()
    _refused_yet_there(history)
    rules = {violation.rule for violation in check(history, Allowance(refused=True)).violations}
    assert rules == {"what is refused is not published"}


def test_what_was_refused_may_be_published_again() -> None:
    history = good()
    history.written.insert(5, written("b", 6, outcome=Outcome.REFUSED))
    assert check(history, Allowance(refused=True)).violations == []


BREAKS: list[tuple[str, Callable[[History], object], str]] = [
    ("the break is not told", lambda h: _records(h).pop(4), LOST),
    (
        "the break is told too late",
        lambda h: _records(h).insert(5, _records(h).pop(4)),
        "a break is told",
    ),
    ("it was lost before the gap began", lambda h: _records(h).pop(3), LOST),
    ("what Redis still has is skipped", lambda h: _records(h).pop(5), LOST),
    (
        "an event of the new epoch is lost",
        lambda h: h.logged.pop(3),
        "what is acknowledged is in the stream",
    ),
    (
        "a gap of another reason",
        lambda h: _records(h).__setitem__(4, gap("epoch", 2, 3, channel=None, epoch=OLD)),
        "no false gap",
    ),
]


@pytest.mark.parametrize(("forge", "rule"), [pytest.param(f, r, id=n) for n, f, r in BREAKS])
def test_a_forged_break_is_rejected(forge: Callable[[History], object], rule: str) -> None:
    history, allowance = crossed()
    forge(history)
    assert rule in {violation.rule for violation in check(history, allowance).violations}


def test_what_was_lost_may_have_ids_above_the_first_of_the_new_epoch() -> None:
    """Who comes back to a quiet channel is opened where the old epoch ended, below what was lost."""
    history, allowance = crossed()
    _records(history).insert(5, opened(2))
    assert not check(history, allowance).violations
    # The gap spoke of the old epoch, and of nothing that the new one loses.
    history.logged = [entry for entry in history.logged if entry.id != id_of(5)]
    _records(history).pop(7)
    assert LOST in {violation.rule for violation in check(history, allowance).violations}


def test_a_break_must_be_told_to_everyone() -> None:
    history, allowance = crossed()
    history.followed.append(Followed("late", ("a",), [Connected(""), opened(4), event("a", 5)]))
    [violation] = check(history, allowance).violations
    assert (violation.rule, violation.who) == ("a break is told to everyone", "late")
    assert not check(history, replace(allowance, told_only=frozenset({"both"}))).violations


def test_a_retry_is_another_event_where_its_key_was_lost() -> None:
    """Event 7 is number 5 again, under an id of its own; nobody may miss it, or get it twice."""
    history = good()
    again = data("a", 5)
    history.written.append(Written("a", 5, again, Outcome.ACKED, id_of(7)))
    history.logged.append(Logged("a", id_of(7), again))
    _records(history).append(Received("message", id_of(7), again))
    rules = {violation.rule for violation in check(history, Allowance()).violations}
    assert {TWICE, "an event is in the stream once", "a retry gets the same id"} <= rules
    lost = Allowance(keys_lost=True)
    assert not check(history, lost).violations
    _records(history).append(Received("message", id_of(7), again))
    assert {violation.rule for violation in check(history, lost).violations} == {TWICE}
    del _records(history)[-2:]
    assert {violation.rule for violation in check(history, lost).violations} == {LOST}


def test_two_primaries_at_once() -> None:
    """The old one takes event 7 after the new one has taken 4 to 6; nobody will ever have both but who
    was told of the break between them."""
    history, allowance = crossed()
    history.written.append(written("a", 7, OLD))
    records = _records(history)
    records[4:5] = [event("a", 7, OLD), gap("failover", 7, None, channel=None, epoch=OLD)]
    records.insert(4, gap("failover", 2, None, channel=None, epoch=OLD))  # of event 3, which is gone
    assert not check(history, allowance).violations
    for missing in ("b", 4), ("a", 5), ("b", 6):
        forged = replace(history, followed=[replace(history.followed[0], records=records.copy())])
        forged.followed[0].records.remove(event(*missing))
        assert {violation.rule for violation in check(forged, allowance).violations} == {LOST}


def test_two_breaks_with_nothing_between_them_are_each_told() -> None:
    history, allowance = crossed()
    records = _records(history)
    records[4:5] = [
        gap("epoch", 2, 3, channel=None, epoch=OLD, to_epoch=BETWEEN),
        gap("epoch", 3, 3, channel=None, epoch=BETWEEN),
    ]
    allowance = replace(allowance, gaps=frozenset({"epoch"}), told=frozenset({"epoch"}))
    assert not check(history, allowance).violations
    del records[4]  # the one that is left holds an id of an epoch that nobody has told of
    assert "a break is told" in {violation.rule for violation in check(history, allowance).violations}


def trimmed(start: int, end: int) -> tuple[History, Allowance]:
    """Redis has trimmed events 1 and 3 of channel a; the gap says from `start` to `end`."""
    history = good()
    history.followed = [
        Followed("a", ("a",), [Connected(""), opened(0), gap("trimmed", start, end), event("a", 5)])
    ]
    history.logged = [entry for entry in history.logged if entry.id not in (id_of(1), id_of(3))]
    allowance = Allowance(gaps=frozenset({"trimmed"}), gap_channels=frozenset("a"), loss=Loss.ANY)
    return history, allowance


def test_a_gap_covers_what_it_says_and_no_more() -> None:
    assert not check(*trimmed(0, 3)).violations
    assert not check(*trimmed(0, 4)).violations
    assert {v.rule for v in check(*trimmed(0, 2)).violations} == {LOST}
    assert {v.rule for v in check(*trimmed(0, 5)).violations} == {"a gap is exact"}
    assert LOST in {v.rule for v in check(*trimmed(1, 3)).violations}
    history, allowance = trimmed(0, 3)
    elsewhere = replace(allowance, gap_channels=frozenset("b"))
    assert {v.rule for v in check(history, elsewhere).violations} == {"a gap is of its channel alone"}


def test_a_gap_of_another_channel_covers_nothing() -> None:
    history, allowance = trimmed(0, 3)
    records = history.followed[0].records
    records[2] = gap("trimmed", 0, 3, channel="b")
    rules = {violation.rule for violation in check(history, replace(allowance, gap_channels=None)).violations}
    assert {LOST, "a gap is of a channel that is followed"} <= rules


def test_what_one_subscriber_got_the_others_are_due() -> None:
    """Also where no publisher heard of it, and Redis has lost it."""
    history = good()
    history.written[4] = written("a", 5, outcome=Outcome.UNKNOWN)
    del history.logged[4]
    history.followed.append(Followed("a", ("a",), [Connected(""), opened(0), event("a", 1), event("a", 3)]))
    allowance = Allowance(loss=Loss.ANY)
    assert [(v.rule, v.who) for v in check(history, allowance).violations] == [(LOST, "a")]


def test_what_comes_is_held_to_what_was_acknowledged_where_redis_has_lost_it() -> None:
    """Two events under each other's ids, both trimmed since: the stream is no witness any more."""
    history = good()
    del history.logged[:3]
    first, third = event("a", 1), event("a", 3)
    history.followed[0].records[2] = replace(first, data=third.data)
    history.followed[0].records[4] = replace(third, data=first.data)
    violations = check(history, Allowance(loss=Loss.ANY)).violations
    assert {violation.rule for violation in violations} == {"what comes was published"}


QUIET = Vitals(resident_bytes=50e6, open_files=20, tasks=8, streams=0, channels=0, subscriptions=0)


@pytest.mark.parametrize(
    "after",
    [
        replace(QUIET, streams=1),
        replace(QUIET, channels=1),
        replace(QUIET, subscriptions=1),
        replace(QUIET, open_files=31),
        replace(QUIET, tasks=9),
        replace(QUIET, resident_bytes=71e6),
    ],
)
def test_a_leak_is_found(after: Vitals) -> None:
    assert len(check_vitals(QUIET, after, more_files=10, more_bytes=20_000_000)) == 1
    assert not check_vitals(QUIET, QUIET, more_files=10, more_bytes=20_000_000)
