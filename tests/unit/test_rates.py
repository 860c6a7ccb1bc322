"""Token buckets and shares, at their edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.rates import Rates, Shares


def taken(rates: Rates[str], key: str, now: float, tries: int) -> int:
    """How many of so many tries found a token, and took it."""
    count = 0
    for _ in range(tries):
        if not rates.wait_seconds(key, now):
            rates.take(key, now)
            count += 1
    return count


def test_a_bucket_begins_full_and_refills() -> None:
    rates: Rates[str] = Rates(lambda: 10)
    assert taken(rates, "a", 0.0, 100) == 10
    assert rates.wait_seconds("a", 0.0) == pytest.approx(0.1)
    assert taken(rates, "a", 0.05, 100) == 0
    assert taken(rates, "a", 0.1, 100) == 1
    assert taken(rates, "a", 0.6, 100) == 5
    assert taken(rates, "a", 1000.0, 100) == 10, "it is never fuller than full"


def test_a_slow_bucket_has_one_token_at_least() -> None:
    rates: Rates[str] = Rates(lambda: 0.1)
    assert taken(rates, "a", 0.0, 100) == 1
    assert taken(rates, "a", 9.9, 100) == 0
    assert taken(rates, "a", 10.0, 100) == 1


def test_keys_do_not_share() -> None:
    rates: Rates[str] = Rates(lambda: 2)
    assert [taken(rates, key, 0.0, 5) for key in "aab"] == [2, 0, 2]


def test_whoever_takes_more_than_there_is_waits_until_it_is_paid_off() -> None:
    rates: Rates[str] = Rates(lambda: 10)
    rates.take("a", 0.0, 1000)
    assert rates.wait_seconds("a", 0.0) == pytest.approx(99.1)
    assert rates.wait_seconds("a", 99.0) > 0
    assert rates.wait_seconds("a", 99.1) == 0
    assert rates.wait_seconds("b", 0.0) == 0


def test_a_rate_of_0_bounds_nothing_and_keeps_nothing() -> None:
    rates: Rates[str] = Rates(lambda: 0)
    assert taken(rates, "a", 0.0, 1000) == 1000
    assert len(rates) == 0


def test_the_rate_is_asked_each_time_and_a_change_forgives_what_is_owed() -> None:
    per_second = 0.1
    rates: Rates[str] = Rates(lambda: per_second)
    rates.take("a", 0.0, 1000)
    assert rates.wait_seconds("a", 0.0) > 9000
    per_second = 10
    assert taken(rates, "a", 0.0, 100) == 10
    per_second = 2
    assert taken(rates, "a", 0.0, 100) == 2
    per_second = 0
    assert taken(rates, "a", 0.0, 100) == 100


def test_the_key_that_was_idle_for_longest_is_forgotten() -> None:
    rates: Rates[str] = Rates(lambda: 1, most_keys=2)
    for now, key in enumerate("abac"):
        rates.take(key, now / 10, 100)
    assert len(rates) == 2
    assert rates.wait_seconds("a", 1.0) > 0
    assert rates.wait_seconds("b", 1.0) == 0, "forgotten"
    assert rates.wait_seconds("c", 1.0) > 0


@given(
    st.floats(0.01, 1000),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 50)), max_size=50),
)
def test_the_mean_holds_whatever_is_taken(per_second: float, steps: list[tuple[float, float]]) -> None:
    rates: Rates[str] = Rates(lambda: per_second)
    now = total = largest = 0.0
    for pause, tokens in steps:
        now += pause
        if not rates.wait_seconds("a", now):
            rates.take("a", now, tokens)
            total += tokens
            largest = max(largest, tokens)
    assert total <= (max(1.0, per_second) + per_second * now + largest) * 1.001


def test_shares_end_at_their_number_and_are_given_back() -> None:
    shares: Shares[str] = Shares(lambda: 2)
    assert [shares.take("a") for _ in range(3)] == [True, True, False]
    assert shares.take("b")
    shares.give_back("a")
    assert [shares.take("a") for _ in range(2)] == [True, False]
    for _ in range(2):
        shares.give_back("a")
    shares.give_back("b")
    assert len(shares) == 0


def test_a_lower_number_of_shares_takes_none_away() -> None:
    most = 2
    shares: Shares[str] = Shares(lambda: most)
    assert [shares.take("a") for _ in range(3)] == [True, True, False]
    most = 3
    assert [shares.take("a") for _ in range(2)] == [True, False]
    most = 1
    for _ in range(2):
        shares.give_back("a")
    assert not shares.take("a")
    shares.give_back("a")
    assert shares.take("a")


def test_shares_of_0_are_not_bounded() -> None:
    shares: Shares[str] = Shares(lambda: 0)
    assert all(shares.take("a") for _ in range(1000))
