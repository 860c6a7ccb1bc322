"""From publish to socket, by a clock that is not ours."""

from __future__ import annotations

import pytest

from gateway.broker.latency import Latency
from gateway.protocol.clock_offset import ClockOffset


def test_the_narrowest_of_the_last_questions_decides() -> None:
    offset = ClockOffset()
    offset.note(sent=100.0, received=101.0, theirs=107.9)  # the way back was long
    assert offset.seconds == pytest.approx(7.4)
    offset.note(sent=110.0, received=110.02, theirs=117.01)
    assert offset.seconds == pytest.approx(7.0)
    offset.note(sent=120.0, received=122.0, theirs=127.2)
    assert offset.seconds == pytest.approx(7.0)


def test_what_was_known_is_void_when_a_clock_was_set() -> None:
    offset = ClockOffset()
    offset.note(sent=100.0, received=100.001, theirs=100.0)
    offset.note(sent=101.0, received=101.5, theirs=131.2)
    assert offset.seconds == pytest.approx(29.95)
    offset.note(sent=200.0, received=199.0, theirs=230.0)  # ours, in the midst of a question
    assert offset.seconds == pytest.approx(29.95)


def test_a_good_question_does_not_count_for_ever() -> None:
    """Clocks drift, by less than a round trip."""
    offset = ClockOffset()
    offset.note(sent=0.0, received=0.02, theirs=0.01)
    for second in range(1, 40):
        offset.note(sent=second, received=second + 0.1, theirs=second + 0.055)
    assert offset.seconds == pytest.approx(0.005)


def test_latency_is_measured_by_redis_clock() -> None:
    offset = ClockOffset()
    latency = Latency(offset, clock=lambda: 1000.0)
    latency.written([990_000])  # nothing is known of Redis' clock
    assert latency.seconds.count == 0
    offset.note(sent=500.0, received=500.0, theirs=490.0)
    latency.written([989_900, 989_900, 988_000])
    latency.written([990_001])  # below what the clocks can tell
    assert latency.seconds.count == 4
    assert latency.seconds.sum == pytest.approx(2.2)
    offset.reset()
    latency.written([990_000])
    assert latency.seconds.count == 4
