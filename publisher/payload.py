"""The payload: what a stream entry holds in its one field `m`, and what its pub/sub message carries.

Both are the same bytes, so replay and live decode with the same code:

    1 <id> <prev> <wall-ms> <kind>[ <extension>...]\\n
    <event type>\\n
    <data>

`<id>` is the event's id, `<prev>` the position of the channel's event before it (`0-0` where there is
none), `<wall-ms>` Redis' clock at the publish, `<kind>` is `event` or `end`. The type may be empty.
The data is all that follows the second line feed. Readers ignore extensions that they don't know. This
version knows one, `traceparent=<traceparent>`, of an event that is traced.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from publisher.ids import MAX_NUMBER, Epoch, EventId, Position
from publisher.traceparent import Traceparent

CONTRACT_VERSION: Final = 1
FIELD: Final = b"m"
END_TYPE: Final = "fanlight.end"
MAX_HEAD_BYTES: Final = 2048
"""Of the first two lines: a reader's bound on a payload is this and the largest data."""

_TRACEPARENT: Final = b"traceparent"
_RESERVED: Final = b"fanlight."
_HEAD_BYTES: Final = 256


class Kind(Enum):
    """What a publication is to its channel."""

    EVENT = "event"
    END = "end"


class InvalidPayload(ValueError):
    """The bytes are not a payload of this contract: somebody else wrote them."""


class Payload(NamedTuple):
    """A decoded payload. `type` and `data` are UTF-8 bytes, checked."""

    id: EventId
    prev: Position
    wall_ms: int
    kind: Kind
    type: bytes
    data: bytes
    traceparent: Traceparent | None = None

    def encode(self) -> bytes:
        """The inverse of `decode`. (When publishing, the script does this.)"""
        head = f"{CONTRACT_VERSION} {self.id} {self.prev} {self.wall_ms} {self.kind.value}".encode()
        if self.traceparent is not None:
            head += b" " + extension(self.traceparent)
        return b"\n".join((head, self.type, self.data))


def extension(traceparent: Traceparent) -> bytes:
    """What the head of a traced event ends with."""
    return b"%b=%b" % (_TRACEPARENT, str(traceparent).encode())


_KINDS: Final = {kind.value.encode(): kind for kind in Kind}
_NUMBER: Final = rb"(0|[1-9][0-9]{0,19})"
_POSITION: Final = _NUMBER + b"-" + _NUMBER
_PAYLOAD: Final = re.compile(
    rb"1 %b-([0-9a-f]{6}) %b ([0-9]{1,20}) (event|end)(?: ([^\n\0\x80-\xff]*))?\n([^\n\r\0]*)\n([^\0]*)"
    % (_POSITION, _POSITION)
)


def decode(raw: bytes) -> Payload:
    """Decode and validate: Redis is not trusted input. Raises `InvalidPayload`.

    Checked is what could break the event stream's framing, the chain, or another client: the ids, the
    UTF-8, no NUL, no line break in the type.
    """
    # One expression for all of it: 2 us for an event of 200 bytes, where splitting and parsing took 3.4.
    match = _PAYLOAD.fullmatch(raw)
    if match is None:
        raise InvalidPayload(_fault(raw))
    ms, seq, epoch, prev_ms, prev_seq, wall_ms, kind, extensions, type_, data = match.groups()
    position, prev = Position(int(ms), int(seq)), Position(int(prev_ms), int(prev_seq))
    if prev >= position:
        raise InvalidPayload("an event comes after the one before it")
    if max(position) > MAX_NUMBER or prev.seq > MAX_NUMBER:
        raise InvalidPayload("a number of an id has 64 bits")
    try:
        type_.decode()
        data.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"type and data are UTF-8: {error}") from None
    if type_.startswith(_RESERVED) and (kind == b"event" or type_ != END_TYPE.encode()):
        raise InvalidPayload(f"the type {type_[:64]!r} is reserved")
    return Payload(
        EventId(position, Epoch(epoch.decode())),
        prev,
        int(wall_ms),
        _KINDS[kind],
        type_,
        data,
        None if extensions is None else _traceparent(extensions),
    )


def _traceparent(extensions: bytes) -> Traceparent | None:
    """The trace that they name. One that can't be read costs nobody the event."""
    for word in extensions.split(b" "):
        name, _, value = word.partition(b"=")
        if name == _TRACEPARENT:
            try:
                return Traceparent.parse(value.decode("ascii"))
            except ValueError:
                return None
    return None


def _fault(raw: bytes) -> str:
    """Why it does not look like a payload."""
    version = raw[:_HEAD_BYTES].partition(b" ")[0]
    if version.isdigit() and version != b"1":
        return f"contract version {version[:16]!r}, this is 1"
    return f"not a payload of this contract: {raw[:64]!r}"


def decode_id(raw: bytes) -> EventId:
    """The id alone, from a payload that is too large or otherwise not fit for clients.

    Raises `InvalidPayload` where even that can't be read: then it is not of this contract.
    """
    try:
        version, id_, _ = raw[:_HEAD_BYTES].split(b"\n", 1)[0].decode("ascii").split(" ", 2)
        if version != "1":
            raise InvalidPayload(f"contract version {version[:16]!r}, this is 1")
        return EventId.parse(id_)
    except InvalidPayload:
        raise
    except ValueError as error:
        raise InvalidPayload(f"not a payload of this contract: {error}") from None
