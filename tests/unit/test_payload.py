from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ids import Epoch, EventId, Position
from publisher.payload import InvalidPayload, Kind, Payload, decode
from publisher.traceparent import Traceparent

numbers = st.integers(0, 2**64 - 1)
positions = st.builds(Position, numbers, numbers)
ids = st.builds(EventId, positions, st.from_regex(r"[0-9a-f]{6}", fullmatch=True).map(Epoch))
texts = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
types = st.text(alphabet=st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]))
traceparents = st.builds(
    Traceparent,
    trace_id=st.integers(1, 2**128 - 1).map("{:032x}".format),
    parent_id=st.integers(1, 2**64 - 1).map("{:016x}".format),
    flags=st.integers(0, 3),
)
payloads = st.builds(
    Payload,
    id=ids,
    prev=positions,
    wall_ms=st.integers(0, 2**53),
    kind=st.sampled_from(Kind),
    type=types.map(str.encode),
    data=texts.map(str.encode),
    traceparent=st.none() | traceparents,
).filter(lambda payload: payload.prev < payload.id.position)

GOOD = b"1 7-2-0a1b2c 7-1 1700000000000 event\ntick\nhello"


@given(payloads)
def test_decode_is_the_inverse_of_encode(payload: Payload) -> None:
    assert decode(payload.encode()) == payload


def test_decodes_the_documented_form() -> None:
    assert decode(GOOD) == Payload(
        id=EventId(Position(7, 2), Epoch("0a1b2c")),
        prev=Position(7, 1),
        wall_ms=1_700_000_000_000,
        kind=Kind.EVENT,
        type=b"tick",
        data=b"hello",
    )


def test_data_is_all_after_the_second_line_feed() -> None:
    assert decode(GOOD + b"\n\r\n\n").data == b"hello\n\r\n\n"


def test_unknown_extensions_are_ignored() -> None:
    assert decode(GOOD.replace(b"event\n", b"event x=1 y\n", 1)) == decode(GOOD)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"\n\n",
        GOOD.replace(b"1 ", b"2 ", 1),
        GOOD.replace(b"7-2-0a1b2c", b"7-2"),
        GOOD.replace(b"7-1", b"7"),
        GOOD.replace(b"7-1", b"7-2"),
        GOOD.replace(b"7-1", b"9-0"),
        GOOD.replace(b"7-1", b"6-%d" % 2**64),
        GOOD.replace(b"7-2-", b"7-%d-" % 2**64),
        GOOD.replace(b"7-2-", b"%d-2-" % 2**64),
        GOOD.replace(b"1700000000000", b"soon"),
        GOOD.replace(b"event", b"other"),
        GOOD.replace(b" event", b""),
        GOOD.replace(b"tick", b"ti\rck"),
        GOOD.replace(b"tick", b"ti\0ck"),
        GOOD.replace(b"tick", b"\xff"),
        GOOD + b"\0",
        GOOD + b"\xff",
        GOOD + b"\xed\xa0\x80",  # half of a surrogate pair
        GOOD.replace(b"1 7", "١ 7".encode(), 1),
        b"1 7-2-0a1b2c 7-1 1700000000000 event\nno data",
    ],
)
def test_refuses_what_is_not_of_the_contract(raw: bytes) -> None:
    with pytest.raises(InvalidPayload):
        decode(raw)


@given(st.binary(max_size=80) | st.binary(max_size=20).map(lambda tail: GOOD[:40] + tail))
def test_foreign_bytes_are_refused_and_nothing_else(raw: bytes) -> None:
    try:
        payload = decode(raw)
    except InvalidPayload:
        return
    assert b"\0" not in payload.type + payload.data
    assert b"\n" not in payload.type
    payload.data.decode()
