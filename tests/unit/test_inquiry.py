"""What nodes ask each other and answer: what is written is read, and nothing else is taken."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from gateway.protocol.changes import Change, ChangeKind
from gateway.protocol.fields import BadMessage, printable
from gateway.protocol.inquiry import MOST_BYTES, MOST_CHANNELS, Answer, Ask, Question, Top
from gateway.protocol.summary import MOST_CHANGES, MOST_LAGGARDS, LaggingStream, LinkSummary, Summary
from publisher.channels import MAX_CHANNEL_BYTES, Channel

ID, ME, OTHER = "0123456789abcdef", "1" * 16, "2" * 16
A, B = Channel("a"), Channel("orders.42/~@:b-c")
SUMMARY = Summary(
    name="host-ü:8080",
    worker=3,
    version="0.1.0",
    uptime_seconds=12.5,
    ready=False,
    why=("it drains",),
    draining=True,
    streams=5,
    max_streams=10,
    replaying=1,
    channels=2,
    ingested=100,
    delivered=500,
    redis=LinkSummary(False, 2, 1.5, 0.001, 0.002, "ConnectionResetError: x"),
    behind_seconds=3.0,
    left_seconds=4.0,
    laggards=(LaggingStream("r1", A, 2, 3.0, 4.0), LaggingStream("r2", B, 1, 1.0, math.inf)),
    changes=(Change(ChangeKind.SLOW_STREAMS, 1000, 2000, 7, "x"),),
)
COUNTS = Question(ID, ME, Ask.COUNTS, (A, B))
OVERVIEW = Question(ID, ME, Ask.OVERVIEW, prefix="orders.", most=2)
COUNTED = Answer(ID, OTHER, (3, 0))
SEEN = Answer(ID, OTHER, summary=SUMMARY, top=Top(7, True, (A, B), (5, 4)))


@pytest.mark.parametrize("question", [COUNTS, OVERVIEW, replace(COUNTS, channels=())])
def test_a_question_is_read_as_it_was_written(question: Question) -> None:
    assert Question.decode(question.encode()) == question


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (COUNTS, COUNTED),
        (OVERVIEW, SEEN),
        (OVERVIEW, replace(SEEN, summary=replace(SUMMARY, worker=None, left_seconds=math.inf))),
        (OVERVIEW, replace(SEEN, top=Top(0, False))),
    ],
)
def test_an_answer_is_read_as_it_was_written(question: Question, answer: Answer) -> None:
    assert Answer.decode(answer.encode(), {ID: question}) == answer


def test_the_largest_that_may_be_asked_and_answered_fits() -> None:
    names = tuple(Channel(f"{number:0{MAX_CHANNEL_BYTES}}") for number in range(MOST_CHANNELS))
    most = Question(ID, ME, Ask.OVERVIEW, names, "p" * 128, MOST_CHANNELS)
    assert Question.decode(most.encode()) == most
    wide = "😀" * 200  # twelve bytes each, in JSON
    laggards = (LaggingStream(wide[:128], names[0], 10_000, 2.0**53, 2.0**53),) * MOST_LAGGARDS
    changes = (Change(ChangeKind.REVOCATIONS_MISSED, 2**53, 2**53, 2**53, wide),) * MOST_CHANGES
    summary = replace(SUMMARY, laggards=laggards, changes=changes, why=(wide,) * 8)
    answer = Answer(ID, OTHER, summary=summary, top=Top(2**53, True, names, (2**53,) * MOST_CHANNELS))
    assert len(answer.encode()) <= MOST_BYTES
    assert Answer.decode(answer.encode(), {ID: most}) == answer


def without(message: dict[str, Any], *path: str | int) -> dict[str, Any]:
    return changed(message, *path, value=None, gone=True)


def changed(message: dict[str, Any], *path: str | int, value: object, gone: bool = False) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(message))
    at: Any = copy
    for step in path[:-1]:
        at = at[step]
    if gone:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return copy


ASKED: dict[str, Any] = json.loads(COUNTS.encode())
TOLD: dict[str, Any] = json.loads(COUNTED.encode())
SHOWN: dict[str, Any] = json.loads(SEEN.encode())


@pytest.mark.parametrize(
    "message",
    [
        *(without(ASKED, name) for name in ASKED),
        changed(ASKED, "v", value=2),
        changed(ASKED, "v", value=True),
        changed(ASKED, "id", value="0123456789ABCDEF"),
        changed(ASKED, "id", value="x" * 16),
        changed(ASKED, "from", value="*"),
        changed(ASKED, "from", value="1" * 15),
        changed(ASKED, "from", value=1),
        changed(ASKED, "ask", value="everything"),
        changed(ASKED, "ask", value=["counts"]),
        changed(ASKED, "channels", value={"a": 1}),
        changed(ASKED, "channels", value=["a", 1]),
        changed(ASKED, "channels", value=["a", "no spaces"]),
        changed(ASKED, "channels", value=["fanlight.control"]),
        changed(ASKED, "channels", value=["a\n"]),
        changed(ASKED, "channels", value=["a"] * (MOST_CHANNELS + 1)),
        changed(ASKED, "prefix", value="no spaces"),
        changed(ASKED, "prefix", value="p" * 129),
        changed(ASKED, "most", value=-1),
        changed(ASKED, "most", value=1.5),
        changed(ASKED, "most", value=MOST_CHANNELS + 1),
    ],
)
def test_a_question_that_is_not_ours_is_refused(message: object) -> None:
    with pytest.raises(BadMessage):
        Question.decode(json.dumps(message).encode())


@pytest.mark.parametrize(
    "message",
    [
        *(without(TOLD, name) for name in TOLD),
        changed(TOLD, "counts", value=[1]),
        changed(TOLD, "counts", value=[1, 2, 3]),
        changed(TOLD, "counts", value=[1, -2]),
        changed(TOLD, "counts", value=[1, True]),
        changed(TOLD, "counts", value=[1, 2**53 + 1]),
        changed(TOLD, "counts", value=[1, 1e3]),
        SHOWN,
    ],
)
def test_counts_that_are_not_ours_are_refused(message: object) -> None:
    with pytest.raises(BadMessage):
        Answer.decode(json.dumps(message).encode(), {ID: COUNTS})


@pytest.mark.parametrize(
    "message",
    [
        TOLD,
        *(without(SHOWN, "summary", name) for name in SHOWN["summary"]),
        *(without(SHOWN, "summary", "redis", name) for name in SHOWN["summary"]["redis"]),
        *(without(SHOWN, "summary", "laggards", 0, name) for name in SHOWN["summary"]["laggards"][0]),
        *(without(SHOWN, "summary", "changes", 0, name) for name in SHOWN["summary"]["changes"][0]),
        *(without(SHOWN, "top", name) for name in SHOWN["top"]),
        changed(SHOWN, "summary", value=[]),
        changed(SHOWN, "summary", "name", value="esc\x1b[2J"),
        changed(SHOWN, "summary", "name", value="\ud800"),
        changed(SHOWN, "summary", "name", value="n" * 129),
        changed(SHOWN, "summary", "why", value=["x"] * 9),
        changed(SHOWN, "summary", "ready", value=1),
        changed(SHOWN, "summary", "worker", value=-1),
        changed(SHOWN, "summary", "uptime_seconds", value=-1),
        changed(SHOWN, "summary", "uptime_seconds", value="1"),
        changed(SHOWN, "summary", "uptime_seconds", value=None),
        changed(SHOWN, "summary", "left_seconds", value=1e300),
        changed(SHOWN, "summary", "redis", "last_error", value="x\ny"),
        changed(SHOWN, "summary", "laggards", value=[SHOWN["summary"]["laggards"][0]] * (MOST_LAGGARDS + 1)),
        changed(SHOWN, "summary", "laggards", 0, "channel", value="fanlight.control"),
        changed(SHOWN, "summary", "changes", 0, "kind", value="nothing"),
        changed(SHOWN, "top", "channels", value=["a"]),
        changed(SHOWN, "top", "channels", value=["a", "a"]),
        changed(SHOWN, "top", "channels", value=["a", "b", "c"]),
        changed(SHOWN, "top", "matching", value=None),
    ],
)
def test_an_overview_that_is_not_ours_is_refused(message: object) -> None:
    with pytest.raises(BadMessage):
        Answer.decode(json.dumps(message).encode(), {ID: OVERVIEW})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"v":1',
        json.dumps(TOLD).encode().replace(b"[3", b"[NaN"),
        json.dumps(SHOWN).encode().replace(b"12.5", b"Infinity"),
        json.dumps(SHOWN).encode().replace(b"12.5", b"1e999"),
        json.dumps(TOLD).encode().replace(b"[3", b"[" + b"9" * 5000),
        json.dumps(TOLD | {"x": "y" * MOST_BYTES}).encode(),
    ],
)
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    for question in (COUNTS, OVERVIEW):
        with pytest.raises(BadMessage):
            Answer.decode(raw, {ID: question})
    with pytest.raises(BadMessage):
        Question.decode(raw)


def test_what_a_newer_node_tells_beyond_this_is_passed_over() -> None:
    newer = changed(SHOWN | {"more": {"x": [1]}}, "summary", "colour", value="red")
    assert Answer.decode(json.dumps(newer).encode(), {ID: OVERVIEW}) == SEEN
    assert Question.decode(json.dumps(ASKED | {"why": None}).encode()) == COUNTS


def test_an_answer_to_another_question_is_none() -> None:
    assert Answer.decode(COUNTED.encode(), {}) is None
    assert Answer.decode(COUNTED.encode(), {"f" * 16: COUNTS}) is None


def test_any_text_can_be_made_fit_to_be_sent() -> None:
    hostile = "a\x00\x1b[2J\n\u202e\ud800ü" + "x" * 300
    made = printable(hostile, 200)
    assert len(made) == 200
    assert made.isprintable()
    assert made.startswith("a  [2J   ü")
