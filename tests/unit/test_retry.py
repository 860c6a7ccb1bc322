from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.retry import BACKOFF, Backoff

backoff = Backoff(first_seconds=0.1, max_seconds=1.0)


@pytest.mark.parametrize(
    ("failures", "ceiling_seconds"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (10_000, 1.0)]
)
def test_the_ceiling_doubles_up_to_the_largest(failures: int, ceiling_seconds: float) -> None:
    assert backoff.ceiling_seconds(failures) == pytest.approx(ceiling_seconds)


@pytest.mark.parametrize(("jitter", "delay_seconds"), [(0.0, 0.0), (0.5, 0.2), (0.999, 0.3996)])
def test_the_jitter_is_full(jitter: float, delay_seconds: float) -> None:
    assert backoff.delay_seconds(3, 60, jitter) == pytest.approx(delay_seconds)


@pytest.mark.parametrize(
    ("remaining_seconds", "gives_up"), [(0.41, False), (0.4, True), (0.39, True), (0, True), (-1, True)]
)
def test_no_attempt_begins_after_the_deadline(remaining_seconds: float, gives_up: bool) -> None:
    assert (backoff.delay_seconds(4, remaining_seconds, 0.5) is None) == gives_up


@given(
    failures=st.integers(1, 10**6),
    remaining_seconds=st.floats(-10, 100),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_within_its_ceiling_and_the_deadline(
    failures: int, remaining_seconds: float, jitter: float
) -> None:
    delay = BACKOFF.delay_seconds(failures, remaining_seconds, jitter)
    if delay is not None:
        assert 0 <= delay <= BACKOFF.max_seconds
        assert delay < remaining_seconds
