from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.publishing import BadItem, Item, PublishRequest
from gateway.protocol.request import BadRequest


def parse(body: object, *, lines: bool = False, max_items: int = 5) -> PublishRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PublishRequest.parse(raw, lines=lines, max_items=max_items)


GOOD: list[Any] = [
    pytest.param({"channel": "a", "data": "x"}, Item(("a",), "x"), id="text"),
    pytest.param({"channel": "a", "data": None}, Item(("a",), None), id="data may be null"),
    pytest.param(
        {"channel": "a", "data": {"n": [1, 2.5, True]}}, Item(("a",), {"n": [1, 2.5, True]}), id="JSON"
    ),
    pytest.param({"channels": ["a", "b"], "data": 0}, Item(("a", "b"), 0, several=True), id="channels"),
    pytest.param({"channels": ["a"], "data": 0}, Item(("a",), 0, several=True), id="a list of one"),
    pytest.param(
        {"channel": "a", "data": "", "type": "t", "idempotency_key": "k"},
        Item(("a",), "", "t", "k"),
        id="all",
    ),
    pytest.param(
        {"channel": "a", "data": 1, "type": None, "idempotency_key": None}, Item(("a",), 1), id="nulls"
    ),
    pytest.param({"channel": "a", "close": True}, Item(("a",), close=True), id="close"),
    pytest.param(
        {"channels": ["a", "b"], "close": True}, Item(("a", "b"), close=True, several=True), id="ends"
    ),
    pytest.param({"channel": "a", "data": 1, "close": False}, Item(("a",), 1), id="close: false"),
    # Names, types and sizes are judged by the publisher, which says what is wrong with them.
    pytest.param(
        {"channel": "bad name", "data": 1}, Item(("bad name",), 1), id="a name that is refused later"
    ),
]


@pytest.mark.parametrize(("body", "item"), GOOD)
def test_a_good_item(body: object, item: Item) -> None:
    assert parse(body) == PublishRequest((item,), single=True)
    assert parse([body]) == PublishRequest((item,), single=False)
    assert parse(body, lines=True) == PublishRequest((item,), single=False)


BAD: list[Any] = [
    pytest.param("text", "an object", id="a string"),
    pytest.param(17, "an object", id="a number"),
    pytest.param(None, "an object", id="null"),
    pytest.param({}, "channel", id="empty"),
    pytest.param({"data": 1}, "channel or channels", id="no channel"),
    pytest.param({"channel": "a", "channels": ["b"], "data": 1}, "channel or channels", id="both"),
    pytest.param({"channel": "a", "channels": None, "data": 1}, "channel or channels", id="both, one null"),
    pytest.param({"channel": None, "data": 1}, "channel is a string", id="null channel"),
    pytest.param({"channel": 1, "data": 1}, "channel is a string", id="channel is a number"),
    pytest.param({"channel": ["a"], "data": 1}, "channel is a string", id="channel is a list"),
    pytest.param({"channels": "a", "data": 1}, "list of strings", id="channels is a string"),
    pytest.param({"channels": [], "data": 1}, "not empty", id="no channels"),
    pytest.param({"channels": ["a", 1], "data": 1}, "list of strings", id="one is no string"),
    pytest.param({"channel": "a"}, "data is missing", id="no data"),
    pytest.param({"channel": "a", "close": False}, "data is missing", id="neither data nor close"),
    pytest.param({"channel": "a", "data": 1, "event": "t"}, "'event'", id="unknown field"),
    pytest.param({"channel": "a", "data": 1, "x" * 999: 1}, "unknown field", id="a long unknown field"),
    pytest.param({"channel": "a", "data": 1, "type": 1}, "type and idempotency_key", id="type"),
    pytest.param({"channel": "a", "data": 1, "idempotency_key": 17}, "type and idempotency_key", id="key"),
    pytest.param({"channel": "a", "close": 1}, "true or false", id="close: 1"),
    pytest.param({"channel": "a", "close": True, "data": None}, "takes no data", id="close with data"),
    pytest.param({"channel": "a", "close": True, "type": "t"}, "takes no data", id="close with type"),
]


@pytest.mark.parametrize(("body", "said"), BAD)
def test_a_bad_item_costs_no_good_one(body: object, said: str) -> None:
    good = {"channel": "a", "data": 1}
    for request in (
        parse([good, body, good]),
        parse(b"\n".join(json.dumps(item).encode() for item in (good, body, good)), lines=True),
    ):
        before, bad, after = request.items
        assert before == after == Item(("a",), 1)
        assert isinstance(bad, BadItem)
        assert said in bad.detail
        assert len(bad.detail) < 300
    assert parse(body).items == (bad,)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{}{}", "not JSON"),
        (b'{"channel": "a", "data": "\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"channel": "a", "data": 1}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"channel": "a", "data": %b}' % (b"1" * 5000), "not JSON"),
        (b"[%b]" % b",".join([b"1"] * 6), "6 events"),
    ],
)
def test_a_body_that_is_bad_as_a_whole(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(body)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


def test_ndjson_has_an_item_a_line() -> None:
    body = b'\n{"channel":"a","data":"1\xe2\x80\xa8"}\r\n\n  \n{"channel":\r\n[]\n{"channel":"b","data":2}'
    first, bad, no_object, last = parse(body, lines=True, max_items=6).items
    assert first == Item(("a",), "1\u2028")
    assert isinstance(bad, BadItem)
    assert "not JSON" in bad.detail
    assert isinstance(no_object, BadItem)
    assert last == Item(("b",), 2)


def test_an_empty_batch_is_no_error() -> None:
    assert parse([]).items == parse(b"", lines=True).items == ()


@pytest.mark.parametrize("lines", [False, True])
def test_the_bound_counts_events(lines: bool) -> None:
    def batch(*items: object) -> bytes:
        rows = [json.dumps(item) for item in items]
        return ("\n".join(rows) if lines else f"[{','.join(rows)}]").encode()

    one, two = {"channel": "a", "data": 1}, {"channels": ["a", "b"], "data": 1}
    assert len(parse(batch(one, one, one, one, one), lines=lines).items) == 5
    assert len(parse(batch(one, two, two), lines=lines).items) == 3
    for items in ([one] * 6, [two] * 3, [None] * 6):
        with pytest.raises(BadRequest, match="6 events in one request; at most 5"):
            parse(batch(*items), lines=lines)


def test_the_bound_counts_the_channels_of_a_single_object() -> None:
    assert len(parse({"channels": list("abcde"), "data": 1}).items) == 1
    with pytest.raises(BadRequest, match="6 events in one request; at most 5"):
        parse({"channels": list("abcdef"), "data": 1})


@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_give_items_or_a_refusal(body: bytes, lines: bool) -> None:
    try:
        request = parse(body, lines=lines)
    except BadRequest:
        return
    assert all(isinstance(item, Item | BadItem) for item in request.items)


def test_lines_without_anything_count_before_they_are_taken_apart() -> None:
    with pytest.raises(BadRequest, match="at most 5"):
        parse(b"\n" * 6, lines=True)
    assert parse(b"\n" * 5, lines=True).items == ()
