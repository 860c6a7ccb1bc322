"""Back-off with full jitter: nodes that lost the same Redis must not come back in step."""

from __future__ import annotations

import random
from typing import Final

_FIRST_SECONDS: Final = 0.05


def backoff_seconds(attempt: int, most_seconds: float) -> float:
    """How long to wait before attempt number `attempt` (0 is the first one after a loss)."""
    ceiling = min(most_seconds, _FIRST_SECONDS * 2 ** min(attempt, 16))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter
