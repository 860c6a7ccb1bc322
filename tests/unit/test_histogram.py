"""A histogram, and how it is told."""

from __future__ import annotations

import math

import pytest

from gateway.metrics import histogram
from gateway.protocol.histogram import Histogram


def test_a_value_counts_at_its_bound_and_above() -> None:
    values = Histogram((0.1, 1, 10))
    assert list(values.cumulative()) == [(0.1, 0), (1, 0), (10, 0), (math.inf, 0)]
    for value in (0.0, 0.1, 0.5, 10, 10.001, 500):
        values.observe(value)
    assert list(values.cumulative()) == [(0.1, 2), (1, 3), (10, 4), (math.inf, 6)]
    assert values.count == 6
    assert values.sum == pytest.approx(520.601)


def test_its_samples_are_those_that_prometheus_takes() -> None:
    values = Histogram((0.5, 2))
    values.observe(1)
    samples = [
        (sample.name, sample.labels, sample.value) for sample in histogram("x_seconds", "X.", values).samples
    ]
    assert samples == [
        ("fanlight_x_seconds_bucket", {"le": "0.5"}, 0),
        ("fanlight_x_seconds_bucket", {"le": "2.0"}, 1),
        ("fanlight_x_seconds_bucket", {"le": "+Inf"}, 1),
        ("fanlight_x_seconds_count", {}, 1),
        ("fanlight_x_seconds_sum", {}, 1),
    ]
