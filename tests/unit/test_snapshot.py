"""What the inspector makes of the answers: nobody is left out, and nothing is claimed that is not known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from gateway.cli.inspect_text import duration, lines
from gateway.inspect.inquiries import Inquiry
from gateway.inspect.kept import Kept, of
from gateway.inspect.roll import KEPT_SECONDS, Known, Roll
from gateway.inspect.snapshot import Channels, candidates, snapshot
from gateway.protocol.changes import Change, ChangeKind
from gateway.protocol.inquiry import MOST_CHANNELS, Answer, Top
from gateway.protocol.summary import LaggingStream
from publisher.channels import Channel
from tests.unit.test_inquiry import OVERVIEW, SUMMARY

A, B, C = Channel("a"), Channel("b"), Channel("c")
READY = replace(
    SUMMARY, name="one:8080", worker=None, ready=True, draining=False, why=(), changes=(), laggards=()
)


def inquiry(*tops: Top, heard_by: int | None = None) -> Inquiry:
    found = Inquiry(OVERVIEW, heard_by=len(tops) if heard_by is None else heard_by)
    for number, top in enumerate(tops):
        summary = replace(READY, name=f"n{number}:8080")
        found.add(Answer(OVERVIEW.id, f"{number:016}", summary=summary, top=top))
    return found


@pytest.mark.parametrize(
    ("tops", "subscribers", "matching", "all_known", "unseen"),
    [
        ([], {}, 0, True, 0),
        ([Top(2, True, (A, B), (3, 1)), Top(1, True, (B,), (4,))], {B: 5, A: 3}, 2, True, 0),
        # Each has cut its list: what neither has named has no more than 3 and 2.
        ([Top(9, True, (A,), (3,)), Top(5, True, (B,), (2,))], {A: 3, B: 2}, 9, False, 5),
        ([Top(9, True, (A,), (3,)), Top(1, True, (B,), (9,))], {B: 9, A: 3}, 9, False, 3),
        # One did not look at all of its channels.
        ([Top(1, False, (A,), (3,))], {A: 3}, 1, False, math.inf),
        ([Top(4, True)], {}, 4, False, 0),
    ],
)
def test_channels_of_several_nodes(
    tops: list[Top], subscribers: dict[Channel, int], matching: int, all_known: bool, unseen: float
) -> None:
    found = candidates(inquiry(*tops))
    assert found == Channels(subscribers, matching, all_known, unseen)
    assert list(found.subscribers) == list(subscribers)


def test_more_than_can_be_asked_for_by_name_are_not_claimed_to_be_the_first() -> None:
    names = tuple(Channel(f"c{number}") for number in range(MOST_CHANNELS))
    others = tuple(Channel(f"d{number}") for number in range(MOST_CHANNELS))
    found = candidates(
        inquiry(Top(400, True, names, (1,) * len(names)), Top(400, True, others, (1,) * len(names)))
    )
    assert len(found.subscribers) == MOST_CHANNELS
    assert not found.first


@pytest.mark.parametrize(
    ("unseen", "counted", "first"),
    [(4, True, True), (5, True, False), (0, False, False), (math.inf, True, False)],
)
def test_the_first_are_the_first_only_where_none_unseen_can_have_more(
    unseen: float, counted: bool, first: bool
) -> None:
    shown = Channels({A: 9, B: 1, C: 4}, 9, all_known=False, unseen=unseen, counted=counted).shown(2)
    assert list(shown.subscribers.items()) == [(A, 9), (C, 4)]
    assert shown.first is first


def shot(
    found: Inquiry, *missing: Known, asked: bool = True, kept: list[Kept] | None = None
) -> dict[str, Any]:
    return snapshot(
        found,
        missing,
        candidates(found),
        kept,
        asked_by="0" * 16,
        asked=asked,
        now_ms=1_800_000_000_000,
        now=100.0,
    )


LOST = [Known("f" * 16, "gone:1", None, "1", 58.0), Known("e" * 16, "gone:2", 0, "1", 99.0)]


@pytest.mark.parametrize(
    ("heard_by", "missing", "asked", "states", "unknown"),
    [
        (2, [], True, ["ready", "ready"], 0),
        (2, LOST, True, ["gone", "gone", "ready", "ready"], 0),  # nobody else has heard the question
        (4, LOST, True, ["silent", "silent", "ready", "ready"], 0),
        (3, LOST, True, ["missing", "missing", "ready", "ready"], 0),  # one of them has, and which?
        (5, LOST, True, ["silent", "silent", "ready", "ready"], 1),  # and one that nobody knows
        (3, [], True, ["ready", "ready"], 1),
        (0, LOST, False, ["missing", "missing", "ready", "ready"], 0),
    ],
)
def test_who_does_not_answer_is_not_left_out(
    heard_by: int, missing: list[Known], asked: bool, states: list[str], unknown: int
) -> None:
    found = shot(inquiry(Top(0, True), Top(0, True), heard_by=heard_by), *missing, asked=asked)
    assert [node["state"] for node in found["nodes"]] == states
    assert found["silent_unknown"] == unknown
    assert found["channels_first"] is (asked and heard_by == 2)
    if missing:
        assert found["nodes"][0]["heard_seconds"] == 42.0


def test_what_threatens_first_comes_first_and_the_newest_change() -> None:
    found = Inquiry(OVERVIEW, heard_by=2)
    for number, (left, at) in enumerate([(math.inf, 10), (5.0, 30)]):
        laggard = LaggingStream(f"r{number}", A, 1, 60.0, left)
        change = Change(ChangeKind.REDIS_LOST, at, at, 1, "x")
        summary = replace(READY, laggards=(laggard,), changes=(change,))
        found.add(Answer(OVERVIEW.id, f"{number:016}", summary=summary, top=Top(0, True)))
    seen = shot(found)
    assert [laggard["request_id"] for laggard in seen["laggards"]] == ["r1", "r0"]
    assert [change["at_ms"] for change in seen["changes"]] == [30, 10]
    assert seen["laggards"][1]["left_seconds"] is None


def test_the_roll_forgets_who_was_not_heard_for_minutes() -> None:
    roll = Roll(most=2)
    for number, at in enumerate([0.0, 1.0, 2.0]):
        roll.heard(Known(str(number), "n", None, "1", at))
    assert [known.id for known in roll.missing({"9"}, 3.0)] == ["1", "2"]
    assert [known.id for known in roll.missing({"2"}, 3.0)] == ["1"]
    roll.heard(Known("1", "n", None, "1", 4.0))
    assert [known.id for known in roll.missing(set(), 2.5 + KEPT_SECONDS)] == ["1"]
    assert roll.missing(set(), 5 + KEPT_SECONDS) == []


INFO = {b"length": 2, b"first-entry": [b"5000-0", []], b"last-entry": [b"6000-0", []]}


@pytest.mark.parametrize(
    ("info", "ttl_ms", "tail", "kept"),
    [
        (INFO, 7000, b"6000-0-aaaaaa", Kept(2, 5000, "6000-0-aaaaaa", False, 7.0)),
        (INFO, -1, b"6000-0-aaaaaa end", Kept(2, 5000, "6000-0-aaaaaa", True, None)),
        (Exception("no such key"), -2, None, Kept()),
        (Exception("WRONGTYPE"), 7000, b"6000-0-aaaaaa", Kept(last_id="6000-0-aaaaaa")),
        ({b"length": 0}, 5, b"not ours", Kept()),
        ({**INFO, b"first-entry": [b"x", []]}, 5, b"\xff", Kept(2, None, None, False, 0.005)),
    ],
)
def test_what_redis_keeps(info: object, ttl_ms: object, tail: bytes | None, kept: Kept) -> None:
    assert of(info, ttl_ms, tail) == kept


# As text.


def hostile() -> dict[str, Any]:
    found = Inquiry(OVERVIEW, heard_by=3)
    summary = replace(SUMMARY, name="host:8080", worker=1)
    found.add(Answer(OVERVIEW.id, "0" * 16, summary=summary, top=Top(1, True, (Channel("c" * 128),), (5,))))
    seen = shot(found, *LOST, kept=[Kept(3, 1_799_999_990_000, "1-0-aaaaaa", True, 9.0)])
    for node in (*seen["nodes"], *seen["changes"]):
        node["name"] = "evil\x1b[2J\n"
    seen["laggards"][0]["request_id"] = "\x1b]0;x\x07"
    return seen


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_none_holds_what_could_control_it(width: int) -> None:
    drawn = lines(hostile(), width)
    assert max(map(len, drawn)) <= width
    assert "".join(drawn).isprintable()
    assert drawn[0].endswith("1 of 3 nodes have answered")


def test_the_text_says_what_the_snapshot_does() -> None:
    text = "\n".join(lines(hostile(), 220))
    for part in (
        "draining",
        "silent",
        "heard 42 s ago",
        "lost 1.5 s, gen 2",
        "(closed)",
        "slow_streams x7",
        "r2",
    ):
        assert part in text, part
    assert "\x1b[31m" in "\n".join(lines(hostile(), 220, colours=True))


def test_a_node_alone_says_so() -> None:
    assert "this node alone" in lines(shot(inquiry(Top(0, True)), asked=False), 100)[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (59.9, "59 s"),
        (200, "3 m 20 s"),
        (18_120, "5 h 2 m"),
        (370_800, "4 d 7 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
