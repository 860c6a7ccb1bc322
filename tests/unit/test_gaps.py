from __future__ import annotations

import json

import pytest

from gateway.protocol.gaps import Gap, GapReason
from gateway.protocol.sse import Encoding
from publisher.channels import Channel
from publisher.ids import EventId
from tests.support.sse_parser import ChunkedDecoder, EventStreamParser

FROM = EventId.parse("1700000000000-3-0a1b2c")
TO = EventId.parse("1700000000000-9-0a1b2c")
CURSOR = EventId.parse("1700000000000-2-0a1b2c")

CASES = [
    pytest.param(
        Gap(Channel("a"), GapReason.TRIMMED, FROM, TO),
        {"channel": "a", "reason": "trimmed", "from": str(FROM), "to": str(TO)},
        id="of a channel",
    ),
    pytest.param(
        Gap(None, GapReason.UNKNOWN_CURSOR, None, TO),
        {"channel": None, "reason": "unknown_cursor", "from": None, "to": str(TO)},
        id="of all channels, from nowhere",
    ),
    pytest.param(
        Gap(None, GapReason.FAILOVER, FROM, None),
        {"channel": None, "reason": "failover", "from": str(FROM), "to": None},
        id="open at its end",
    ),
]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("envelope", [False, True])
@pytest.mark.parametrize("cursor", [None, CURSOR])
@pytest.mark.parametrize(("gap", "data"), CASES)
def test_a_gap_is_an_event_under_the_cursor(
    gap: Gap, data: dict[str, str | None], cursor: EventId | None, envelope: bool, chunked: bool
) -> None:
    frame = gap.frame(Encoding(chunked, envelope), cursor)
    if chunked:
        decoder = ChunkedDecoder()
        frame = decoder.feed(frame)
        assert decoder.chunks == [frame]
    parser = EventStreamParser()
    [event] = parser.feed(frame)
    assert event.type == "fanlight.gap"
    assert json.loads(event.data) == data
    # Without a cursor the client keeps what it has, and is told again.
    assert event.id == ("" if cursor is None else str(CURSOR))
    assert (b"\nid: " in frame) == (cursor is not None)


def test_the_reasons_are_those_of_the_protocol() -> None:
    assert {reason.value for reason in GapReason} == {
        "trimmed",
        "expired",
        "rewritten",
        "invalid",
        "failover",
        "epoch",
        "unknown_cursor",
        "future",
        "late",
        "too_far_behind",
        "unknown",
    }
