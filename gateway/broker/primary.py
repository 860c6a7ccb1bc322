"""Which server is the primary: the one in the URL, or the one that its sentinels name now."""

from __future__ import annotations

from publisher.sentinel.aio import AsyncSentinels
from publisher.sentinel.url import SentinelUrl, is_sentinel_url


class Primary:
    """Of one partition, for its link and its probe, which share what they know of the sentinels."""

    def __init__(self, url: str, *, deadline_seconds: float) -> None:
        self._url = url
        self._parsed = SentinelUrl.parse(url) if is_sentinel_url(url) else None
        self._sentinels: AsyncSentinels | None = None
        if self._parsed is not None:
            self._sentinels = AsyncSentinels(self._parsed, deadline_seconds=deadline_seconds)
        self.unknown_total = 0
        """How often nobody named it."""

    @property
    def named(self) -> bool:
        """Whether sentinels name it."""
        return self._sentinels is not None

    async def url(self) -> str:
        """For redis-py: redis://, rediss:// or unix://. A secret. Sentinels are asked each time; raises
        `publisher.sentinel.answers.PrimaryUnknown`, an OSError, where none of them knows."""
        if self._sentinels is None or self._parsed is None:
            return self._url
        try:
            address = await self._sentinels.primary()
        except OSError:
            self.unknown_total += 1
            raise
        return self._parsed.server_url(address)
