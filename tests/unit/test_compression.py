"""Units, decoded by zlib as a client decodes them."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol import compression, sse
from gateway.protocol.compression import Units, deflated, stored, trailer
from tests.support.sse_parser import ChunkedDecoder, GzipDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = range(1, 10)
FLUSH = b"\0\0\xff\xff"
TEXT = b"".join(
    b"event: e\ndata: the %dth of many\nid: 1795448896226-%d-15afb2\n\n" % (n, n) for n in range(40)
)
NOISE = random.Random(1).randbytes(200_000)

parts = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.builds(lambda text, times: text * times, st.binary(min_size=1, max_size=40), st.integers(1, 300)),
        st.sampled_from([sse.COMMENT, sse.retry(1234), TEXT, NOISE[:70_000]]),
    ).filter(bool),
    max_size=8,
)


def alone(unit: bytes) -> bytes:
    """What a decoder makes of a unit that has seen nothing else."""
    decoder = zlib.decompressobj(-15)
    data = decoder.decompress(unit)
    assert not decoder.eof, "no block of a unit is the last one"
    return data


def member(units: Sequence[bytes], plain: bytes) -> bytes:
    return compression.HEADER + b"".join(units) + trailer(zlib.crc32(plain), len(plain))


@given(data=parts, level=st.sampled_from(LEVELS))
@example(data=[TEXT, TEXT, sse.COMMENT, NOISE, TEXT], level=4)
def test_units_are_decoded_as_they_come_and_make_one_member(data: list[bytes], level: int) -> None:
    units = [deflated(part, level) for part in data]
    assert [alone(unit) for unit in units] == data
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(compression.HEADER) == b""
    assert [decoder.decompress(unit) for unit in units] == data
    plain = b"".join(data)
    assert decoder.decompress(trailer(zlib.crc32(plain), len(plain))) == b""
    assert decoder.eof
    assert decoder.unused_data == b""


@given(data=parts, seed=st.randoms(use_true_random=False))
def test_units_follow_each_other_in_any_order(data: list[bytes], seed: random.Random) -> None:
    units = [(deflated(part, 4), part) for part in data * 2]
    seed.shuffle(units)
    plain = b"".join(part for _, part in units)
    assert GzipDecoder().feed(member([unit for unit, _ in units], plain)) == plain


@pytest.mark.parametrize("level", LEVELS)
def test_what_can_be_compressed_is(level: int) -> None:
    unit = deflated(TEXT, level)
    assert len(unit) < len(TEXT) / 4
    assert unit.endswith(FLUSH)


@pytest.mark.parametrize("size", [1, 2, 99, 100, 1000, 65_535, 65_536, 131_070, 131_071, 200_000])
def test_what_would_not_become_smaller_is_stored(size: int) -> None:
    data = NOISE[:size]
    unit = deflated(data, 9)
    assert unit == stored(data)
    assert len(unit) == size + 5 * -(-size // 65_535)
    assert alone(unit) == data


def test_the_form_of_a_stored_unit() -> None:
    """RFC 1951, section 3.2.4: not the last block, stored; the length, its complement, the bytes."""
    assert stored(b":\n") == b"\x00\x02\x00\xfd\xff:\n"


def test_a_cut_in_a_unit_leaves_what_comes_before_it() -> None:
    unit = deflated(TEXT, 4)
    for end in range(len(unit)):
        assert TEXT.startswith(alone(unit[:end]))
    assert len(alone(unit[: len(unit) // 2])) > len(TEXT) / 4


def test_the_length_in_the_trailer_is_modulo_4_gb() -> None:
    assert trailer(0xDEAD_BEEF, 2**32 + 7) == b"\x03\x00\xef\xbe\xad\xde\x07\0\0\0"


def test_a_trailer_that_is_wrong_is_found() -> None:
    """Of the decoder that other tests use."""
    unit = deflated(TEXT, 4)
    for checksum, length in ((1, len(TEXT)), (zlib.crc32(TEXT), len(TEXT) + 1)):
        with pytest.raises(AssertionError):
            GzipDecoder().feed(compression.HEADER + unit + trailer(checksum, length))
    with pytest.raises(AssertionError):
        GzipDecoder().feed(member([unit], TEXT) + b"\0")


# Units of a node.


def unchunked(chunk: bytes) -> bytes:
    decoder = ChunkedDecoder()
    body = decoder.feed(chunk)
    assert decoder.chunks == [body], "a unit is one chunk"
    return body


def copy(data: bytes) -> bytes:
    """Equal bytes, another object."""
    return bytes(bytearray(data))


def test_equal_bytes_share_a_unit() -> None:
    units = Units(4, 1_000_000)
    first, other = units.of(TEXT), units.of(TEXT + TEXT)
    assert units.of(copy(TEXT)) is first
    assert units.of(copy(TEXT)) is first
    assert units.of(copy(TEXT + TEXT)) is other
    assert units.made == 2
    assert [alone(unchunked(unit)) for unit in (first, other)] == [TEXT, TEXT + TEXT]


def test_what_was_asked_for_is_counted() -> None:
    units = Units(4, 1_000_000)
    given_ = [units.of(data) for data in (TEXT, TEXT, copy(TEXT), sse.COMMENT, TEXT + TEXT)]
    assert units.plain_bytes == 5 * len(TEXT) + len(sse.COMMENT)
    assert units.wire_bytes == sum(map(len, given_))
    assert units.made == 2


def test_small_ones_are_not_kept() -> None:
    units = Units(4, 1_000_000)
    for milliseconds in range(1000, 2000):
        units.of(sse.retry(milliseconds))
    assert (units.made, units.kept_bytes) == (0, 0)
    assert alone(unchunked(units.of(sse.COMMENT))) == sse.COMMENT


def different(number: int) -> bytes:
    return b"data: %d\n\n" % number + TEXT


def test_the_least_recently_used_are_dropped_at_the_bound() -> None:
    units = Units(4, 30_000)
    first = units.of(different(0))
    for number in range(1, 50):
        units.of(different(number))
        assert units.of(different(0)) is first, "it is in use"
        assert units.kept_bytes <= 30_000
    assert (units.made, units.dropped) == (50, 50 - len(units._kept))
    assert 5 < len(units._kept) < 20
    units.of(different(1))
    assert units.made == 51


@pytest.mark.parametrize("most_bytes", [0, 1000])
def test_the_newest_is_kept_however_large(most_bytes: int) -> None:
    """A group writes it to one member after the other."""
    units = Units(4, most_bytes)
    for data in (NOISE, NOISE + TEXT):
        unit = units.of(data)
        assert units.of(data) is unit
        assert units.of(copy(data)) is unit
    assert (units.made, len(units._kept)) == (2, 1)
    units.of(TEXT)
    assert units.kept_bytes < 2 * len(TEXT)
