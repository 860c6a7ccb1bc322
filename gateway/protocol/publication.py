"""A publication: an event with its id on a channel, and its frames, each encoded at most once."""

from __future__ import annotations

from typing import Final

from gateway.protocol import sse
from gateway.protocol.sse import Encoding
from publisher.channels import Channel
from publisher.ids import EventId, Position
from publisher.payload import END_TYPE, Kind, Payload, decode

_OVERHEAD_BYTES: Final = 600
"""What a publication holds besides its data: measured with tracemalloc, one frame encoded."""


class Publication:
    """One event, shared by every connection that gets it."""

    __slots__ = (
        "_frames",
        "channel",
        "data",
        "id",
        "kind",
        "position",
        "prev",
        "size_bytes",
        "traceparent",
        "type",
        "wall_ms",
    )

    def __init__(self, channel: Channel, payload: Payload) -> None:
        self.channel = channel
        self.id: EventId
        self.prev: Position
        self.id, self.prev, self.wall_ms, self.kind, self.type, self.data, self.traceparent = payload
        self.position: Position = self.id.position
        self.size_bytes = 2 * len(self.data) + _OVERHEAD_BYTES
        """About what it holds in memory: its data, and a frame of the same size."""
        self._frames: list[bytes | None] = [None] * sse.ENCODINGS

    @classmethod
    def decode(cls, channel: Channel, raw: bytes) -> Publication:
        """From the bytes of an entry or a message. Raises `publisher.payload.InvalidPayload`."""
        return cls(channel, decode(raw))

    @classmethod
    def end(cls, channel: Channel, id_: EventId) -> Publication:
        """The `fanlight.end` that a tail speaks of, where the stream no longer holds it."""
        data = b'{"channel":"%b"}' % channel.encode()
        kind, type_ = Kind.END, END_TYPE.encode()
        return cls(channel, Payload(id_, id_.position.before(), id_.position.ms, kind, type_, data))

    def frame(self, encoding: Encoding) -> bytes:
        """The event's bytes on a connection of this encoding."""
        slot = encoding.slot
        frame = self._frames[slot]
        if frame is None:
            # `fanlight.end` says its channel itself, like the other events of ours.
            wrapped = encoding.envelope and self.kind is not Kind.END
            data = sse.enveloped(self.channel, self.data) if wrapped else self.data
            frame = encoding.framed(sse.event(self.type, data, str(self.id)))
            self._frames[slot] = frame
        return frame

    def __repr__(self) -> str:
        return f"<Publication {self.channel} {self.id}>"
