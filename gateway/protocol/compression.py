"""Compression of event streams, encoded once: units that all connections with the same bytes share.

A compressed stream is one gzip member (RFC 1952). Its header is sent with the response's head, and its
trailer with the end of the stream. Between them, each write is one *unit*: deflate blocks (RFC 1951) that
refer to nothing before them, that end at a byte, and none of which is the last. So units stand alone and
follow each other in any order. A connection has no compressor: a unit depends on its plain bytes only, is
kept by them for a while, and one event is compressed once for all that get it, whichever other channels they
follow; so is one page for all that resume from one place. A unit is flushed: what it holds can be decoded
when it arrives. A cut in it leaves a client with the events before the cut, as in a plain stream.

    head   1f 8b 08 ...                                  header
    write  blocks, 00 00 00 ff ff                        compressed, then an empty stored block (a sync flush)
    write  00 LEN NLEN bytes                             stored: too small to gain anything
    end    03 00 CRC-32 ISIZE                            the last block, empty, and the trailer

The trailer is of the connection, whose client may have come at any time: what has been written to it is
summed up there (`gateway.http.gzip_stream`).
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from typing import Final

from gateway.protocol import sse

# 32 KB of window and the usual memory level take 256 KB for a compressor: to allocate, clear and give back
# these costs more than to compress an event. These two take 100 KB and stay with the allocator. us of CPU
# for a unit, and what is left of it (CPython 3.11, zlib 1.2.13, events like log lines of 200 bytes, one or
# more in a unit):
#
#     plain bytes      15 and 8        13 and 7        12 and 5        10 and 4
#     level 4:   200   40   78 %       4.1  78 %       4.0  78 %       3.9  78 %
#              2,000   44   36 %       8.2  36 %       8.7  36 %       9.5  36 %
#              9,500   52   32 %       37   32 %       43   32 %       48   38 %
#             46,000  329   27 %      354   27 %      429   27 %      455   30 %
#
# As no size gains by another choice, all have the same.
_WINDOW_BITS: Final = -13
"""8 KB of window; negative: raw deflate, without a header of its own."""
_MEMORY_LEVEL: Final = 7

_SMALL_BYTES: Final = 100
"""Up to it a unit is stored: with the five bytes of the flush, compression would gain nothing."""
_STORED_MOST: Final = 65_535
"""What a stored block can hold (RFC 1951, section 3.2.4)."""
_UNIT_OVERHEAD_BYTES: Final = 260
"""What a kept unit takes besides its bytes and the plain ones: an entry, two objects and chunk framing."""

HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Deflate, no flags, no time, no name, a system that is not told (RFC 1952, section 2.3)."""


def stored(data: bytes) -> bytes:
    """A unit that holds `data` as it is: five bytes more, for each 65,535."""
    blocks = []
    for start in range(0, len(data), _STORED_MOST):
        block = data[start : start + _STORED_MOST]
        blocks.append(struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF) + block)
    return b"".join(blocks)


def deflated(data: bytes, level: int) -> bytes:
    """A unit of `data`, compressed at `level` (1 to 9), or stored where that is not larger."""
    if len(data) <= _SMALL_BYTES:
        return stored(data)
    compressor = zlib.compressobj(level, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    unit = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return unit if len(unit) < len(data) + 5 else stored(data)


def trailer(checksum: int, length: int) -> bytes:
    """What ends the member: an empty last block, and the CRC-32 and length of all plain bytes before it."""
    return struct.pack("<HII", 3, checksum, length & 0xFFFF_FFFF)


class Units:
    """The units of a node, each one HTTP/1.1 chunk, made once and kept while there is room.

    `most_bytes` bounds what is kept, plain and compressed; the newest is kept however large it is, as all
    members of a group get it one after the other.
    """

    def __init__(self, level: int, most_bytes: int) -> None:
        self._level = level
        self._most_bytes = most_bytes
        # By the plain bytes, the least recently used first. A bytes object computes its hash once.
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._newest = self._newest_unit = b""
        self.kept_bytes = 0
        self.made = 0
        """How many had to be compressed. Small ones, which are stored, don't count."""
        self.dropped = 0
        """How many were dropped at the bound."""
        self.plain_bytes = 0
        """What was asked for, over all connections, as it would be without compression."""
        self.wire_bytes = 0
        """The same as it was given."""

    def of(self, data: bytes) -> bytes:
        """The unit of these plain bytes, as a chunk."""
        if data is self._newest:  # the writes of a group, one after the other
            unit = self._newest_unit
        elif len(data) <= _SMALL_BYTES:
            unit = sse.chunk(stored(data))
        else:
            unit = self._newest_unit = self._find(data)
            self._newest = data
        self.plain_bytes += len(data)
        self.wire_bytes += len(unit)
        return unit

    def _find(self, data: bytes) -> bytes:
        kept = self._kept
        unit = kept.get(data)
        if unit is not None:
            kept.move_to_end(data)
            return unit
        unit = sse.chunk(deflated(data, self._level))
        self.made += 1
        self.kept_bytes += _size(data, unit)
        while kept and self.kept_bytes > self._most_bytes:
            self.kept_bytes -= _size(*kept.popitem(last=False))
            self.dropped += 1
        kept[data] = unit
        return unit


def _size(data: bytes, unit: bytes) -> int:
    return len(data) + len(unit) + _UNIT_OVERHEAD_BYTES
