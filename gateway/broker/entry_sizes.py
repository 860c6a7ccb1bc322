"""How many entries to ask of a stream, to get about so many bytes: XRANGE counts entries.

Each channel has an estimate of its own, or one with large events would make a crawl of all others.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from publisher.channels import Channel

_FIRST_COUNT: Final = 16
"""The most to ask for where nothing is known of a channel's events: sixteen of the largest are 4 MiB."""
_FIRST_MEAN_BYTES: Final = 512
"""What is expected of them: who reads many channels asks for few of each."""
_MAX_COUNT: Final = 1000
_CHANNELS: Final = 4096


class EntrySizes:
    """The mean size of an entry of the channels that were read last."""

    def __init__(self) -> None:
        self._mean_bytes: OrderedDict[Channel, float] = OrderedDict()

    def count(self, channel: Channel, most_bytes: int) -> int:
        """How many entries of the channel to ask for; at least one."""
        mean_bytes = self._mean_bytes.get(channel)
        if mean_bytes is None:
            return max(1, min(_FIRST_COUNT, most_bytes // _FIRST_MEAN_BYTES))
        return max(1, min(_MAX_COUNT, int(most_bytes / mean_bytes)))

    def note(self, channel: Channel, mean_bytes: float) -> None:
        """A page was read. Grows at once, shrinks slowly: too large a page is worse than one too small."""
        known = self._mean_bytes.pop(channel, 1.0)
        self._mean_bytes[channel] = max(mean_bytes, 0.9 * known)
        if len(self._mean_bytes) > _CHANNELS:
            self._mean_bytes.popitem(last=False)
