"""What nodes ask each other, and answer: JSON on two reserved pub/sub channels, bounded and read strictly.

A question goes to all nodes at once, and says which process asks; the answers come on a channel of that
process. Its `id` ties an answer to its question. Both carry the version of this form: a node that
does not know it says nothing, and is told of as silent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.protocol.fields import BadMessage, Fields
from gateway.protocol.summary import Summary
from publisher.channels import Channel

VERSION: Final = 1
MOST_BYTES: Final = 131_072
"""Of a question and of an answer."""
MOST_CHANNELS: Final = 400
"""Named in one of them: with names of full length, half of its bytes."""
_BEGINNING: Final = re.compile(r"[A-Za-z0-9_.:/@~-]{0,128}", re.ASCII)


class Ask(Enum):
    """What is asked for."""

    OVERVIEW = "overview"
    """How the node is, and its channels with the most subscribers, of those that begin with a prefix."""
    COUNTS = "counts"
    """The subscribers of these channels."""


@dataclass(frozen=True, slots=True)
class Question:
    """Put by the process `sender` to all."""

    id: str
    sender: str
    ask: Ask
    channels: tuple[Channel, ...] = ()
    prefix: str = ""
    most: int = 0
    """So many channels of an overview."""

    def encode(self) -> bytes:
        fields = {
            "v": VERSION,
            "id": self.id,
            "from": self.sender,
            "ask": self.ask.value,
            "channels": self.channels,
            "prefix": self.prefix,
            "most": self.most,
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Question:
        """Raises `BadMessage`."""
        fields = _fields(raw)
        asked, prefix = fields.text("ask", 20), fields.text("prefix", 128)
        most = fields.count("most")
        if not is_prefix(prefix) or most > MOST_CHANNELS:
            raise BadMessage("prefix" if not is_prefix(prefix) else "most")
        try:
            ask = Ask(asked)
        except ValueError:
            raise BadMessage("ask") from None
        channels = fields.channels("channels", MOST_CHANNELS)
        return cls(fields.identity("id"), fields.identity("from"), ask, channels, prefix, most)


@dataclass(frozen=True, slots=True)
class Top:
    """Channels that clients of a node follow, those with the most subscribers first."""

    matching: int
    """How many begin with the prefix."""
    whole: bool
    """All channels of the node were looked at."""
    channels: tuple[Channel, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def cut(self) -> bool:
        """Some that match are not among them."""
        return not self.whole or self.matching > len(self.channels)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one process: an overview (`summary` and `top`), or `counts` in the order of the question."""

    id: str
    sender: str
    counts: tuple[int, ...] = ()
    summary: Summary | None = None
    top: Top | None = None

    def encode(self) -> bytes:
        fields: dict[str, object] = {"v": VERSION, "id": self.id, "from": self.sender}
        if self.summary is not None and self.top is not None:
            fields["summary"] = self.summary.as_object()
            fields["top"] = {
                "matching": self.top.matching,
                "whole": self.top.whole,
                "channels": self.top.channels,
                "counts": self.top.counts,
            }
        else:
            fields["counts"] = self.counts
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, raw: bytes, open_: Mapping[str, Question]) -> Answer | None:
        """An answer to one of these questions, by their ids; None if it is to another, or comes late.
        Raises `BadMessage`."""
        fields = _fields(raw)
        id_, sender = fields.identity("id"), fields.identity("from")
        question = open_.get(id_)
        if question is None:
            return None
        if question.ask is Ask.COUNTS:
            counts = fields.counts("counts", len(question.channels))
            if len(counts) != len(question.channels):
                raise BadMessage("counts")
            return cls(id_, sender, counts)
        summary, top = Summary.parse(fields.object("summary")), fields.object("top")
        channels = top.channels("channels", question.most)
        counts = top.counts("counts", question.most)
        if len(channels) != len(counts) or len(set(channels)) != len(channels):
            raise BadMessage("counts")
        return cls(
            id_,
            sender,
            summary=summary,
            top=Top(top.count("matching"), top.flag("whole"), channels, counts),
        )


def is_prefix(text: str) -> bool:
    """Whether a channel's name could begin so."""
    return _BEGINNING.fullmatch(text) is not None


def _fields(raw: bytes) -> Fields:
    fields = Fields.of(raw, MOST_BYTES)
    if fields.count("v") != VERSION:
        raise BadMessage("v")
    return fields
