"""The payload: what a stream entry holds in its one field `m`, and what its pub/sub message carries.

Both are the same bytes, so replay and live decode with the same code:

    1 <id> <prev> <wall-ms> <kind>[ <extension>...]\\n
    <event type>\\n
    <data>

`<id>` is the event's id, `<prev>` the position of the channel's event before it (`0-0` where there is
none), `<wall-ms>` Redis' clock at the publish, `<kind>` is `event` or `end`. The type may be empty.
The data is all that follows the second line feed. Readers ignore extensions that they don't know.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from publisher.ids import EventId, Position

CONTRACT_VERSION: Final = 1
FIELD: Final = b"m"
END_TYPE: Final = "fanlight.end"
MAX_HEAD_BYTES: Final = 2048
"""Of the first two lines: a reader's bound on a payload is this and the largest data."""

_RESERVED: Final = b"fanlight."
_HEAD_BYTES: Final = 256


class Kind(Enum):
    """What a publication is to its channel."""

    EVENT = "event"
    END = "end"


class InvalidPayload(ValueError):
    """The bytes are not a payload of this contract: somebody else wrote them."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A decoded payload. `type` and `data` are UTF-8 bytes, checked."""

    id: EventId
    prev: Position
    wall_ms: int
    kind: Kind
    type: bytes
    data: bytes

    def encode(self) -> bytes:
        """The inverse of `decode`. (When publishing, the script does this.)"""
        head = f"{CONTRACT_VERSION} {self.id} {self.prev} {self.wall_ms} {self.kind.value}"
        return b"\n".join((head.encode(), self.type, self.data))


_KINDS: Final = {kind.value: kind for kind in Kind}


def decode(raw: bytes) -> Payload:
    """Decode and validate: Redis is not trusted input. Raises `InvalidPayload`.

    Checked is what could break the event stream's framing, the chain, or another client: the ids, the
    UTF-8, no NUL, no line break in the type.
    """
    try:
        head, type_, data = raw.split(b"\n", 2)
        version, id_, prev, wall_ms, kind, *_ = head.decode("ascii").split(" ")
        if version != "1":
            raise InvalidPayload(f"contract version {version[:16]!r}, this is 1")
        payload = Payload(EventId.parse(id_), Position.parse(prev), int(wall_ms), _KINDS[kind], type_, data)
        type_.decode()
        data.decode()
    except InvalidPayload:
        raise
    except (ValueError, KeyError) as error:
        raise InvalidPayload(f"not a payload of this contract: {error}") from None
    if payload.prev >= payload.id.position:
        raise InvalidPayload("an event comes after the one before it")
    if b"\0" in raw or b"\r" in type_:
        raise InvalidPayload("a payload holds no NUL, and its type no carriage return")
    if type_.startswith(_RESERVED) and (payload.kind is Kind.EVENT or type_ != END_TYPE.encode()):
        raise InvalidPayload(f"the type {type_[:64]!r} is reserved")
    return payload


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
