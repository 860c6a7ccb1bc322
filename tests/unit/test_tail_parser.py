"""The event-stream parser of `fanlight tail`, against the standard's rules and any way of cutting."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.sse_client import EventStreamParser, ReceivedEvent, StreamTooLarge


def message(data: str, id_: str = "") -> ReceivedEvent:
    return ReceivedEvent("message", data, id_)


EXAMPLES: list[tuple[str, bytes, list[ReceivedEvent]]] = [
    ("data lines are joined", b"data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
    (
        "an id stays until the next, an empty one clears it, an unfinished event is dropped",
        b": test stream\n\ndata: first\nid: 1\n\ndata: second\n\ndata:third\nid\n\ndata:  fourth\n",
        [message("first", "1"), message("second", "1"), message("third")],
    ),
    (
        "empty data is data",
        b"data\n\ndata\ndata\n\nevent: x\n\ndata:\n\n",
        [message(""), message("\n"), message("")],
    ),
    (
        "one space is dropped",
        b"data:a\n\ndata: a\n\ndata:  a\n\n",
        [message("a"), message("a"), message(" a")],
    ),
    (
        "the type is for one event",
        b"event: add\ndata: 1\n\ndata: 2\n\n",
        [ReceivedEvent("add", "1", ""), message("2")],
    ),
    (
        "every line end",
        b"data: 1\r\rdata: 2\r\n\r\ndata: 3\n\n",
        [message("1"), message("2"), message("3")],
    ),
    (
        "one byte order mark, at the start",
        b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n",
        [message("1")],
    ),
    ("an id with NUL does not count", b"id: a\0b\ndata: 1\n\n", [message("1")]),
    ("unknown fields", b"foo: 1\n data: 2\nDATA: 3\ndata: 4\n\n", [message("4")]),
    ("broken UTF-8", b"data: \xff\n\n", [message("\ufffd")]),
    (
        "separators that are no line ends",
        "data: a\u2028b\x0bc\x85d\n\n".encode(),
        [message("a\u2028b\x0bc\x85d")],
    ),
]


@pytest.mark.parametrize(("what", "stream", "events"), EXAMPLES)
def test_the_standard(what: str, stream: bytes, events: list[ReceivedEvent]) -> None:
    assert EventStreamParser().feed(stream) == events


@pytest.mark.parametrize(("what", "stream", "events"), EXAMPLES)
def test_the_standard_a_byte_at_a_time(what: str, stream: bytes, events: list[ReceivedEvent]) -> None:
    parser = EventStreamParser()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == events


ROUGH = st.lists(
    st.sampled_from(
        [
            *(
                b"data",
                b"event",
                b"id",
                b"retry",
                b":",
                b" ",
                b"\n",
                b"\r",
                b"\r\n",
                b"\n\n",
                b"a",
                b"7",
                b"\0",
            ),
            *("é".encode(), "🦊".encode(), b"\xff", b"\xef\xbb\xbf", b"\xf0\x9f"),
        ]
    ),
    max_size=40,
).map(b"".join)


def everything(parser: EventStreamParser, chunks: list[bytes]) -> tuple[list[ReceivedEvent], str, int | None]:
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.last_event_id, parser.retry_ms


@given(stream=ROUGH, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_where_it_is_cut_does_not_matter(stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(bounds)]
    assert everything(EventStreamParser(), chunks) == everything(EventStreamParser(), [stream])


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
FIELD = LINE.filter(lambda text: text != "" and "\0" not in text)


@given(
    events=st.lists(st.tuples(FIELD, st.lists(LINE, min_size=1, max_size=3), FIELD), max_size=5),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    size=st.integers(1, 9),
)
def test_what_is_written_is_read(events: list[tuple[str, list[str], str]], end: str, size: int) -> None:
    lines: list[str] = []
    for type_, data, id_ in events:
        lines += [f"event: {type_}", *(f"data: {line}" for line in data), f"id: {id_}", ""]
    stream = "".join(line + end for line in lines).encode()
    parser = EventStreamParser()
    found = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
    assert found == [ReceivedEvent(type_, "\n".join(data), id_) for type_, data, id_ in events]


def test_an_id_counts_only_when_its_event_is_complete() -> None:
    parser = EventStreamParser("1")
    parser.feed(b"id: 2\ndata: x\n")
    assert parser.last_event_id == "1"
    assert parser.feed(b"\n") == [ReceivedEvent("message", "x", "2")]
    assert parser.last_event_id == "2"


def test_an_id_without_data_counts_and_is_no_event() -> None:
    parser = EventStreamParser()
    assert parser.feed(b"id: 5\n\n") == []
    assert parser.last_event_id == "5"


@pytest.mark.parametrize(
    ("value", "expected"), [(b"1500", 1500), (b"", None), (b"-1", None), (b"1.5", None), ("٣".encode(), None)]
)
def test_the_reconnection_time(value: bytes, expected: int | None) -> None:
    parser = EventStreamParser()
    parser.feed(b"retry: " + value + b"\n")
    assert parser.retry_ms == expected


@pytest.mark.parametrize("line", [b"data: aaaaaaaa\n", b"aaaaaaaaaaaaaa"])
def test_an_event_without_end_is_not_held_forever(line: bytes) -> None:
    parser = EventStreamParser(max_characters=1000)
    parser.feed(line * 50)
    with pytest.raises(StreamTooLarge):
        parser.feed(line * 100)


def test_a_long_stream_of_events_is_not_too_large() -> None:
    parser = EventStreamParser(max_characters=100)
    parser.feed(b"da")
    assert [parser.feed(b"ta: aaaaaaaaaaaaaaaa\n\nda") for _ in range(100)] == [[message("a" * 16)]] * 100
