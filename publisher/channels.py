"""Channel names, and the Redis keys that belong to one.

A name is 1 to 128 characters of `A-Z a-z 0-9 _ - . : / @ ~`, beginning with a letter or a digit.
Each of them may stand unescaped in a URL's query (RFC 3986, section 3.4), so a name has exactly one
spelling. Names that begin with `fanlight.` are reserved.

All keys of a partition share the hash tag `{prefix:partition}`: Redis Cluster keeps them in one
slot, which the publish script needs. Outside of Cluster there is one partition, 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NewType

from publisher.errors import InvalidChannel

Channel = NewType("Channel", str)
"""A channel's name that has been validated."""

MAX_CHANNEL_BYTES: Final = 128
RESERVED_PREFIX: Final = "fanlight."
DEFAULT_PREFIX: Final = "fanlight"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@~-]{0,127}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def validate_channel(name: str) -> Channel:
    """Return `name` as a `Channel`, or raise `InvalidChannel` with what is wrong."""
    if not isinstance(name, str):
        raise InvalidChannel(f"a channel's name is a str, not {type(name).__name__}")
    if _NAME.fullmatch(name) is None:
        raise InvalidChannel(
            f"bad channel name {name[:MAX_CHANNEL_BYTES]!r}: use 1 to {MAX_CHANNEL_BYTES} characters of "
            "A-Z a-z 0-9 _ - . : / @ ~, beginning with a letter or a digit"
        )
    if name.startswith(RESERVED_PREFIX):
        raise InvalidChannel(f"channel names that begin with {RESERVED_PREFIX!r} are reserved")
    return Channel(name)


def validate_prefix(prefix: str) -> str:
    """Return `prefix`, or raise ValueError: it becomes part of a hash tag, so no braces or colons."""
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(
            f"bad prefix {prefix[:64]!r}: use 1 to 64 characters of A-Z a-z 0-9 _ - ., "
            "beginning with a letter or a digit"
        )
    return prefix


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition's keys. What Redis holds under them is described in docs/protocol.md."""

    prefix: str = DEFAULT_PREFIX
    number: int = 0

    @property
    def tag(self) -> str:
        return f"{{{self.prefix}:{self.number}}}"

    @property
    def meta(self) -> str:
        """Hash: the partition's clock, epoch and breaks."""
        return f"{self.tag}:meta"

    def stream(self, channel: Channel) -> str:
        """Stream: the channel's retained events."""
        return f"{self.tag}:stream:{channel}"

    def tail(self, channel: Channel) -> str:
        """String: the id of the channel's last event, and whether that was its end."""
        return f"{self.tag}:tail:{channel}"

    def live(self, channel: Channel) -> str:
        """Pub/sub channel that carries the channel's events."""
        return f"{self.tag}:live:{channel}"

    def idempotency(self, channel: Channel, key: str) -> str:
        """String: the id that a publish with this idempotency key was given. `#` is in no name."""
        return f"{self.tag}:once:{channel}#{key}"

    def probe(self, node: str) -> str:
        """Pub/sub channel on which a gateway node probes its own subscription."""
        return f"{self.tag}:probe:{node}"

    def inspect(self, name: str) -> str:
        """Pub/sub channel on which gateway nodes ask each other how they are, or one on which they answer."""
        return f"{self.tag}:inspect:{name}"
