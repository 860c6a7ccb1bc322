from __future__ import annotations

import pytest

from gateway.protocol.request import BadRequest, StreamRequest
from publisher.channels import Channel

ID = "1700000000000-3-0a1b2c"
OTHER = "1700000000000-4-0a1b2c"


def parse(*query: tuple[str, str], header: str | None = None) -> StreamRequest:
    return StreamRequest.parse(query, header, max_channels=3, max_last=100)


GOOD = [
    pytest.param(
        [("channel", "a"), ("presence", "counts")],
        StreamRequest((Channel("a"),), None, 0, False, None, True),
        id="presence",
    ),
    pytest.param([("channel", "a")], StreamRequest((Channel("a"),), None, 0, False), id="one channel"),
    pytest.param(
        [("channel", "b"), ("channel", "a"), ("channel", "b")],
        StreamRequest((Channel("b"), Channel("a")), None, 0, False),
        id="a channel named twice counts once",
    ),
    pytest.param(
        [("channel", "a")] * 9, StreamRequest((Channel("a"),), None, 0, False), id="the bound is on names"
    ),
    pytest.param(
        [("channel", "room:1/x@y~z.w-v_u")],
        StreamRequest((Channel("room:1/x@y~z.w-v_u"),), None, 0, False),
        id="every character of a name",
    ),
    pytest.param(
        [("last", "0"), ("channel", "a")], StreamRequest((Channel("a"),), None, 0, False), id="last=0"
    ),
    pytest.param(
        [("last", "100"), ("channel", "a")], StreamRequest((Channel("a"),), None, 100, False), id="last=100"
    ),
    pytest.param(
        [("last", "007"), ("channel", "a")], StreamRequest((Channel("a"),), None, 7, False), id="last=007"
    ),
    pytest.param(
        [("envelope", "json"), ("channel", "a")],
        StreamRequest((Channel("a"),), None, 0, True),
        id="envelope",
    ),
    pytest.param(
        [("channel", "a"), ("_", "17"), ("token", "x"), ("token", "y"), ("Channel", "b")],
        StreamRequest((Channel("a"),), None, 0, False),
        id="what is not ours is ignored",
    ),
]


@pytest.mark.parametrize(("query", "wanted"), GOOD)
def test_a_good_request(query: list[tuple[str, str]], wanted: StreamRequest) -> None:
    assert parse(*query) == wanted


BAD = [
    pytest.param([], "/events?channel=", id="no channel"),
    pytest.param([("channels", "a")], "/events?channel=", id="channels is not channel"),
    pytest.param([("channel", "")], "1 to 128 characters", id="empty name"),
    pytest.param([("channel", "a"), ("channel", "b c")], "'b c'", id="one bad name of two"),
    pytest.param([("channel", "a,b")], "'a,b'", id="names with a comma between"),
    pytest.param([("channel", "x" * 129)], "1 to 128 characters", id="too long"),
    pytest.param([("channel", "ä")], "'ä'", id="not ASCII"),
    pytest.param([("channel", "a\n")], "bad channel name", id="line feed"),
    pytest.param([("channel", "fanlight.x")], "reserved", id="reserved"),
    pytest.param([("channel", name) for name in "abcd"], "at most 3", id="too many"),
    *(
        pytest.param([("channel", "a"), ("last", text)], "whole number from 0 to 100", id=f"last={text!r}")
        for text in ("", "-1", "+1", "1.0", "101", "ten", " 1", "1_0", "٣", "9" * 5000)
    ),
    pytest.param([("channel", "a"), ("last", "1"), ("last", "1")], "give it once", id="last twice"),
    pytest.param([("channel", "a"), ("envelope", "")], "json", id="empty envelope"),
    pytest.param([("channel", "a"), ("envelope", "JSON")], "json", id="envelope=JSON"),
    pytest.param(
        [("channel", "a"), ("envelope", "json"), ("envelope", "json")], "give it once", id="envelope twice"
    ),
    pytest.param(
        [("channel", "a"), ("last_event_id", ID), ("last_event_id", ID)], "give it once", id="cursor twice"
    ),
]


@pytest.mark.parametrize(("query", "said"), BAD)
def test_a_bad_request_is_told_what_to_do(query: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(*query)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400  # what the client sent is cut short


CURSORS = [
    pytest.param(None, None, None, id="neither"),
    pytest.param(ID, None, ID, id="header"),
    pytest.param(None, ID, ID, id="query"),
    pytest.param(ID, OTHER, ID, id="the header wins"),
    pytest.param("", OTHER, OTHER, id="an empty header is none"),
    pytest.param("", "", None, id="both empty"),
    pytest.param(None, "", None, id="empty query"),
    pytest.param("garbage", None, "garbage", id="garbage is not refused"),
    pytest.param("garbage", ID, "garbage", id="garbage in the header wins too"),
    pytest.param("x" * 5000, None, "x" * 5000, id="long garbage"),
]


@pytest.mark.parametrize(("header", "query", "wanted"), CURSORS)
def test_the_cursor_as_it_came(header: str | None, query: str | None, wanted: str | None) -> None:
    pairs = [("channel", "a"), *([] if query is None else [("last_event_id", query)])]
    assert parse(*pairs, header=header).cursor == wanted
