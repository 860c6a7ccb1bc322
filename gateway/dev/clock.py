"""The server's time on the channel `clock`, so that the demo page lives from its first second."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.logs import get_logger
from publisher import AsyncPublisher, PublishError

if TYPE_CHECKING:
    from gateway.settings import Settings

CHANNEL: Final = "clock"
_DEADLINE_SECONDS: Final = 0.9
"""A tick that can't be published within its second is not worth publishing."""

_log = get_logger("fanlight.dev")


async def tick(settings: Settings) -> None:
    """Publish the time (ISO 8601, UTC, with milliseconds) every full second, until cancelled."""
    failing = False
    async with AsyncPublisher(
        settings.redis,
        prefix=settings.prefix,
        retention_events=settings.retention_events,
        retention_seconds=settings.retention_seconds,
        deadline_seconds=_DEADLINE_SECONDS,
    ) as publisher:
        while True:
            second = int(time.time()) + 1
            await asyncio.sleep(second - time.time())
            try:
                # Several `fanlight dev` may share one Redis: by the key, the clock ticks once.
                await publisher.publish(CHANNEL, timestamp(second), idempotency_key=f"tick-{second}")
            except PublishError as error:
                if not failing:
                    _log.warning("the clock stands still", error=str(error))
                failing = True
            else:
                failing = False


def timestamp(not_before: float) -> str:
    """The time, at least `not_before` (seconds since 1970): a timer may fire a little early."""
    now = datetime.fromtimestamp(max(time.time(), not_before), UTC)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
