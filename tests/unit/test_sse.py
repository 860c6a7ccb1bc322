"""Frames of the gateway, decoded by the strict parser, which shares no code with it."""

from __future__ import annotations

import json
import re
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol import sse
from gateway.protocol.publication import Publication
from gateway.protocol.sse import Encoding
from publisher.channels import Channel
from publisher.ids import Epoch, EventId, Position
from publisher.payload import Kind, Payload
from tests.support.sse_parser import ChunkedDecoder, Event, EventStreamParser

ENCODINGS = [Encoding(chunked, envelope) for chunked, envelope in product((False, True), repeat=2)]
CHANNEL = Channel("room:1")

# Rich in what clients trip over: line ends, colons, spaces, the BOM, the separators of other standards.
texts = st.text(
    st.one_of(
        st.sampled_from('\r\n: \ufeff\u0085\u2028\u2029\v\f\x1c{}"\\'),
        st.characters(codec="utf-8", exclude_characters="\0"),
    ),
    max_size=40,
)
types = texts.filter(lambda text: "\r" not in text and "\n" not in text)
numbers = st.integers(0, 2**64 - 1)
ids = st.builds(EventId, st.builds(Position, numbers, numbers), st.just(Epoch("0a1b2c")))


def publication(data: str, type_: str = "", id_: EventId | None = None) -> Publication:
    id_ = id_ or EventId.parse("1700000000000-3-0a1b2c")
    return Publication(
        CHANNEL, Payload(id_, Position(0, 0), 1_700_000_000_000, Kind.EVENT, type_.encode(), data.encode())
    )


def arrives(data: str) -> str:
    """What the standard gives a client of `data`: its line ends become line feeds."""
    return re.sub("\r\n|\r", "\n", data)


def received(wire: bytes, encoding: Encoding) -> list[Event]:
    """Decode strictly, in one piece and byte by byte; nothing in it may trip a careless client."""
    decoder, parser, slow = ChunkedDecoder(), EventStreamParser(), EventStreamParser()
    body = decoder.feed(wire) if encoding.chunked else wire
    events = parser.feed(body)
    assert [event for byte in body for event in slow.feed(bytes([byte]))] == events
    assert parser.pending == b""
    assert (parser.carriage_returns, parser.blocks_without_data, parser.unknown_fields) == (0, 0, [])
    assert not body.startswith(b"\xef\xbb\xbf")
    assert b"\0" not in body
    return events


@given(data=texts, type_=types, id_=ids, encoding=st.sampled_from(ENCODINGS))
@example(data="", type_="", id_=EventId.parse("1-0-0a1b2c"), encoding=ENCODINGS[0])
@example(data="\n", type_=" ", id_=EventId.parse("1-0-0a1b2c"), encoding=ENCODINGS[1])
@example(data="\r\n\r\n", type_=":", id_=EventId.parse("1-0-0a1b2c"), encoding=ENCODINGS[0])
@example(
    data=": not a comment\nid: 9\nretry: 1", type_="t", id_=EventId.parse("1-0-0a1b2c"), encoding=ENCODINGS[1]
)
def test_an_event_arrives_as_it_was_published(
    data: str, type_: str, id_: EventId, encoding: Encoding
) -> None:
    [event] = received(publication(data, type_, id_).frame(encoding), encoding)
    assert (event.type, event.id) == (type_ or "message", str(id_))
    if encoding.envelope:
        # A JSON string keeps every line end as it was.
        assert json.loads(event.data) == {"channel": CHANNEL, "data": data}
    else:
        assert event.data == arrives(data)


DATA = [
    ("", ["data: "]),
    (" x", ["data:  x"]),
    (":x", ["data: :x"]),
    ("a\nb", ["data: a", "data: b"]),
    ("a\rb", ["data: a", "data: b"]),
    ("a\r\nb", ["data: a", "data: b"]),
    ("a\n\rb", ["data: a", "data: ", "data: b"]),
    ("\n", ["data: ", "data: "]),
    ("a\n", ["data: a", "data: "]),
    ("\ufeffa", ["data: \ufeffa"]),
    ("a\u2028b\u0085c\vd", ["data: a\u2028b\u0085c\vd"]),
    ("data: x", ["data: data: x"]),
]


@pytest.mark.parametrize(("data", "lines"), DATA)
def test_the_fields_of_a_frame(data: str, lines: list[str]) -> None:
    """A space after each colon; `id:` last, so that no client commits it before the data is whole."""
    frame = publication(data, "word").frame(Encoding(chunked=False))
    assert frame.decode().split("\n") == ["event: word", *lines, "id: 1700000000000-3-0a1b2c", "", ""]


def test_the_default_type_is_not_spelled_out() -> None:
    assert publication("x").frame(Encoding(chunked=False)).startswith(b"data: x\n")


def test_an_event_without_an_id_leaves_the_clients_alone() -> None:
    [first, second] = received(sse.event(b"", b"a", "7-0-0a1b2c") + sse.event(b"t", b"b", None), ENCODINGS[0])
    assert first == Event("message", "a", "7-0-0a1b2c")
    assert second == Event("t", "b", "7-0-0a1b2c")


@given(st.lists(st.tuples(texts, types), max_size=8))
def test_joined_frames_are_still_one_chunk_an_event(events: list[tuple[str, str]]) -> None:
    publications = [publication(data, type_) for data, type_ in events]
    plain = [item.frame(Encoding(chunked=False)) for item in publications]
    decoder = ChunkedDecoder()
    body = decoder.feed(b"".join(item.frame(Encoding(chunked=True)) for item in publications))
    assert body == b"".join(plain)
    assert decoder.chunks == plain
    decoder.feed(sse.LAST_CHUNK)
    assert decoder.ended


@pytest.mark.parametrize("size", [1, 15, 16, 255, 256, 65_536, 262_144])
def test_chunk_sizes(size: int) -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(sse.chunk(b"x" * size)) == b"x" * size
    assert [len(chunk) for chunk in decoder.chunks] == [size]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_frame_is_encoded_once(encoding: Encoding) -> None:
    item = publication("x")
    assert item.frame(encoding) is item.frame(encoding)


def test_each_encoding_has_a_frame_of_its_own() -> None:
    item = publication("x")
    assert len({item.frame(encoding) for encoding in ENCODINGS}) == sse.ENCODINGS == len(ENCODINGS)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(sse.retry(2345), id="retry"),
        pytest.param(sse.COMMENT, id="heartbeat"),
        pytest.param(sse.retry(2345) + sse.COMMENT * 3, id="both"),
    ],
)
def test_what_is_no_event_ends_no_block(head: bytes) -> None:
    """A blank line would set the last event ID of a client that came back with one to the empty string
    (by the letter of the standard), and make careless clients dispatch an empty message."""
    parser = EventStreamParser()
    assert parser.feed(head) == []
    assert parser.last_event_id is None
    assert parser.blocks_without_data == 0
    assert parser.retry_ms == (2345 if b"retry" in head else None)
    [event] = parser.feed(publication("x").frame(Encoding(chunked=False)))
    assert event == Event("message", "x", "1700000000000-3-0a1b2c")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_end_of_a_channel_is_an_event_that_is_not_enveloped(encoding: Encoding) -> None:
    item = Publication.end(CHANNEL, EventId.parse("9-0-0a1b2c"))
    [event] = received(item.frame(encoding), encoding)
    assert (event.type, json.loads(event.data), event.id) == (
        "fanlight.end",
        {"channel": CHANNEL},
        "9-0-0a1b2c",
    )
