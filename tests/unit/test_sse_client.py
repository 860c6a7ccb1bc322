"""The tests' own SSE client, held to the standard: what it accepts proves nothing unless it is strict."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sse import SseClient, SseConnection
from tests.support.sse_parser import ChunkedDecoder, Event, EventStreamParser, FramingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXAMPLES: list[tuple[str, bytes, list[Event]]] = [
    ("three lines", b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("message", "YHOO\n+2\n10", "")]),
    (
        "the standard's second example",
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [Event("message", "first event", "1"), Event("message", "second event", "")],
    ),
    (
        "empty data is an event, no data is none",
        b"data\n\ndata\ndata\n\ndata:",
        [Event("message", "", ""), Event("message", "\n", "")],
    ),
    (
        "one space is taken off",
        b"data:test\n\ndata:  test\n\n",
        [Event("message", "test", ""), Event("message", " test", "")],
    ),
    (
        "CR, LF and CRLF",
        b"data:a\rdata:b\r\ndata:c\n\r\ndata:d\r\r",
        [Event("message", "a\nb\nc", ""), Event("message", "d", "")],
    ),
    (
        "the type is for one event",
        b"event: t\ndata: 1\n\ndata: 2\n\n",
        [Event("t", "1", ""), Event("message", "2", "")],
    ),
    (
        "a type without data is dropped with its block",
        b"event: t\n\ndata: 1\n\n",
        [Event("message", "1", "")],
    ),
    (
        "the id stays",
        b"id: 7\ndata: 1\n\ndata: 2\n\n",
        [Event("message", "1", "7"), Event("message", "2", "7")],
    ),
    ("an id with NUL is ignored", b"id: 7\nid: 8\0\ndata: 1\n\n", [Event("message", "1", "7")]),
    ("a BOM at the start", b"\xef\xbb\xbfdata: 1\n\n", [Event("message", "1", "")]),
    ("a second BOM is part of the name", b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", []),
    ("a BOM later is part of the name", b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [Event("message", "1", "")]),
    ("an unknown field", b"foo: 1\nDATA: 2\n data: 3\ndata: 4\n\n", [Event("message", "4", "")]),
    ("a comment within an event", b"data: 1\n:\ndata: 2\n\n", [Event("message", "1\n2", "")]),
    ("bytes that are not UTF-8", b"data: \xff\xc3\n\n", [Event("message", "\ufffd\ufffd", "")]),
    (
        "U+2028 and U+0085 end no line",
        "data: a\u2028b\u0085c\n\n".encode(),
        [Event("message", "a\u2028b\u0085c", "")],
    ),
    ("cut before its blank line", b"data: 1\nid: 1\n", []),
]


@pytest.mark.parametrize(
    ("stream", "expected"), [row[1:] for row in EXAMPLES], ids=[row[0] for row in EXAMPLES]
)
def test_the_algorithm(stream: bytes, expected: list[Event]) -> None:
    whole = EventStreamParser()
    assert whole.feed(stream) == expected
    bytewise = EventStreamParser()
    assert [event for byte in stream for event in bytewise.feed(bytes([byte]))] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"retry: 1500", 1500),
        (b"retry:0", 0),
        (b"retry: 1.5", None),
        (b"retry: -1", None),
        (b"retry:  1", None),
        (b"retry:", None),
        ("retry: ٣".encode(), None),
    ],
)
def test_retry_takes_ascii_digits_only(line: bytes, expected: int | None) -> None:
    parser = EventStreamParser()
    parser.feed(line + b"\n")
    assert parser.retry_ms == expected


def test_the_last_event_id_is_set_by_the_blank_line_with_or_without_data() -> None:
    parser = EventStreamParser()
    parser.feed(b"id: 5\n")
    assert parser.last_event_id is None
    parser.feed(b"\n")
    assert parser.last_event_id == "5"


def test_a_block_without_an_id_erases_the_cursor_of_before() -> None:
    parser = EventStreamParser()
    parser.feed(b"retry: 10\n:\n")
    assert parser.last_event_id is None
    parser.feed(b"\n")
    assert parser.last_event_id == ""


def test_what_careless_clients_stumble_over_is_counted() -> None:
    parser = EventStreamParser()
    parser.feed(b":ping\n\nretry: 1\n\ndata: x\r\n\r\n")
    assert (parser.blocks_without_data, parser.carriage_returns, parser.comments) == (2, 2, ["ping"])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_where_the_bytes_are_cut_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    whole, pieces = EventStreamParser(), EventStreamParser()
    expected = whole.feed(stream)
    edges = [0, *sorted(cuts), len(stream)]
    got = [event for a, b in itertools.pairwise(edges) for event in pieces.feed(stream[a:b])]
    assert (got, pieces.last_event_id, pieces.retry_ms) == (expected, whole.last_event_id, whole.retry_ms)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 20))
def test_chunks_are_decoded_wherever_they_are_cut(chunks: list[bytes], step: int) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    decoder = ChunkedDecoder()
    body = b"".join(decoder.feed(wire[at : at + step]) for at in range(0, len(wire), step))
    assert (body, decoder.chunks, decoder.ended) == (b"".join(chunks), chunks, True)


@pytest.mark.parametrize(
    "wire",
    [
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"3;name=value\r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"\r\nabc",
        b"3\r3\r\n",
        b"-1\r\n",
        b"0\r\nTrailer: 1\r\n\r\n",
        b"0\r\n\r\nmore",
        b"fffffffffffffffffff\r\n",
    ],
)
def test_bad_chunks_are_refused(wire: bytes) -> None:
    with pytest.raises(FramingError):
        ChunkedDecoder().feed(wire)


Answer = tuple[bytes, bool]
"""The bytes of an answer, and whether the connection is cut (True) or kept open after them."""

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunked(*blocks: bytes, end: bool = False) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    return STREAM_HEAD + body + (b"0\r\n\r\n" if end else b"")


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, one a connection, and keeps the requests' heads."""
    heads: list[bytes] = []
    left = list(answers)
    open_ones: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones[task] = writer
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        answer, cut = left.pop(0)
        writer.write(answer)
        if not cut:
            await reader.read()  # until the client goes
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/events?channel=a", heads
    finally:
        server.close()
        for writer in open_ones.values():
            writer.transport.abort()
        await asyncio.gather(*open_ones)
        await server.wait_closed()


def last_event_ids(heads: list[bytes]) -> list[bytes | None]:
    found = []
    for head in heads:
        fields = dict(line.partition(b": ")[::2] for line in head.split(b"\r\n")[1:])
        found.append(fields.get(b"Last-Event-ID"))
    return found


async def test_a_connection_shows_the_wire_the_chunks_and_the_events() -> None:
    async with serving((chunked(b"data: 1\n\n", b":\n", end=True), True)) as (url, heads):
        async with await SseConnection.open(url, headers={"Origin": "http://example.org"}) as connection:
            await connection.until_end()
        assert (connection.version, connection.status, connection.reason) == ("HTTP/1.1", 200, "OK")
        assert connection.chunks == [b"data: 1\n\n", b":\n"]
        assert bytes(connection.wire).endswith(b"2\r\n:\n\r\n0\r\n\r\n")
        assert bytes(connection.body) == b"data: 1\n\n:\n"
        assert connection.events == [Event("message", "1", "")]
        assert not connection.cut
        assert b"Origin: http://example.org\r\n" in heads[0]
        assert heads[0].startswith(b"GET /events?channel=a HTTP/1.1\r\n")


async def test_a_stream_without_its_last_chunk_was_cut() -> None:
    async with serving((chunked(b"data: 1\n\n", b"data: 2"), True)) as (url, _):
        connection = await SseConnection.open(url)
        assert await connection.until_end() == [Event("message", "1", "")]
        assert connection.cut
        await connection.close()


async def test_an_answer_that_ends_with_its_connection_was_not_cut() -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with serving((head + b"data: 1\n\n", True)) as (url, _):
        connection = await SseConnection.open(url, version="1.0")
        assert len(await connection.until_end()) == 1
        assert not connection.cut
        await connection.close()


async def test_an_answer_of_a_known_length_ends_there() -> None:
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    async with serving((head, False)) as (url, _):
        connection = await SseConnection.open(url)
        await connection.until_end()
        assert (connection.status, bytes(connection.body)) == (400, b"{}")
        await connection.close()


async def test_a_client_resumes_with_its_last_event_id() -> None:
    answers = [
        (chunked(b"retry: 1\nid: 1\ndata: a\n\n", b"id: 2\ndata: b\n\nid: 3\ndata: lost"), True),
        (chunked(b"id: 3\ndata: c\n\n", end=True), True),
        (chunked(), False),
    ]
    async with serving(*answers) as (url, heads):
        async with SseClient(url) as client:
            await client.until(lambda: len(client.connections) == 3)
        assert [event.data for event in client.events] == ["a", "b", "c"]
        assert last_event_ids(heads) == [None, b"2", b"3"]
        assert client.retry_ms == 1


async def test_a_client_keeps_its_cursor_when_it_is_turned_away_in_the_first_block() -> None:
    answers = [(chunked(b"retry: 1\n", end=True), True), (chunked(), False)]
    async with serving(*answers) as (url, heads):
        async with SseClient(url, last_event_id="9", retry_ms=60_000) as client:
            await client.until(lambda: len(client.connections) == 2)
        assert last_event_ids(heads) == [b"9", b"9"]


async def test_a_client_waits_out_the_reconnection_time_unless_told() -> None:
    answers = [(chunked(b"retry: 60000\nid: 1\ndata: a\n\n"), False), (chunked(b"data: b\n\n"), False)]
    async with serving(*answers) as (url, _), SseClient(url) as client:
        await client.next_event()
        client.cut()
        await client.until(lambda: not client.connected)
        with pytest.raises(AssertionError, match="not true after"):
            await client.next_event(seconds=0.2)
        client.reconnect_now()
        assert (await client.next_event()).data == "b"


NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(NO_CONTENT, "status 204"), (BUSY, "status 503"), (PLAIN, "content type 'text/plain'")],
)
async def test_a_client_gives_up_where_a_browser_does(answer: bytes, reason: str) -> None:
    async with serving((answer, True)) as (url, heads), SseClient(url, reconnect_at_once=True) as client:
        await client.until(lambda: client.failed is not None)
        assert client.failed == reason
        assert len(heads) == 1


async def test_a_client_outlives_a_server_that_is_away() -> None:
    async with serving((chunked(b"id: 1\ndata: a\n\n"), False)) as (url, _):
        pass
    answer = (chunked(b"data: b\n\n"), False)
    async with SseClient(url, reconnect_at_once=True) as client, serving(answer) as (other, _):
        assert not client.connections
        client.url = other
        assert (await client.next_event()).data == "b"


async def test_bad_framing_breaks_the_test_that_meets_it() -> None:
    async with serving((STREAM_HEAD + b"3\r\ndata", False)) as (url, _):
        with pytest.raises(FramingError):
            async with SseClient(url) as client:
                await client.until(lambda: client.failed)
