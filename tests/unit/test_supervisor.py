"""One worker's part of a node."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.settings import Settings
from gateway.workers.supervisor import share

LIMITS = (
    "max_streams",
    "max_connections",
    "max_new_streams_per_second",
    "max_spans_per_second",
    "hot_tails_bytes",
)
TABLE = [
    (1, (1000, 500, 200.0, 60.0, 64_000_000)),
    (2, (500, 250, 100.0, 30.0, 32_000_000)),
    (3, (334, 167, 200 / 3, 20.0, 21_333_333)),
    # None is without a place, or without room for the hot tail of one channel.
    (2000, (1, 1, 0.1, 0.03, 100_000)),
]


@pytest.mark.parametrize(("workers", "part"), TABLE)
def test_limits_of_the_node_are_divided(workers: int, part: tuple[float, ...]) -> None:
    values: dict[str, Any] = dict(zip(LIMITS, TABLE[0][1], strict=True))
    node = Settings.model_construct(**values, hot_tail_bytes=100_000)
    own = share(node.model_copy(update={"workers": workers}), 8080)
    assert tuple(getattr(own, name) for name in LIMITS) == part
    assert own.port == 8080


def test_what_is_of_a_client_is_not_divided() -> None:
    """A client's connections may all be dealt to one worker."""
    node = Settings(workers=4, max_new_streams_per_second=100)
    changed = {name for name in Settings.model_fields if getattr(node, name) != getattr(share(node, 0), name)}
    assert changed == {*LIMITS, "port"}
