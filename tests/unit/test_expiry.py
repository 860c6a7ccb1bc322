"""What is due when, against a clock that is played."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.expiry import Expiries


def test_things_are_due_in_their_second_and_once() -> None:
    expiries: Expiries[str] = Expiries()
    for name, at in (("a", 100.0), ("b", 100.4), ("c", 101.0), ("d", 105.0)):
        expiries.add(name, at)
    expiries.discard("d", 105.0)
    expiries.discard("x", 7.0)
    assert expiries.due(99.99) == []
    assert expiries.due(100.0) == ["a"]
    assert expiries.due(100.9) == []
    assert sorted(expiries.due(101.0)) == ["b", "c"]
    assert expiries.due(1e9) == []


def test_a_clock_that_was_set_forward_makes_all_due_that_it_has_passed() -> None:
    expiries: Expiries[int] = Expiries()
    for at in range(1000, 2000):
        expiries.add(at, at)
    assert expiries.due(1500) == list(range(1000, 1501))
    assert expiries.due(1000) == []
    assert len(expiries) == 499


def test_what_came_and_went_leaves_nothing() -> None:
    expiries: Expiries[int] = Expiries()
    for number in range(100_000):
        at = 1000 + number % 5000
        expiries.add(number, at)
        expiries.discard(number, at)
    assert len(expiries) == 0
    assert len(expiries._by_second) == 0
    assert len(expiries._seconds) < 200


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "discard", "due"]), st.integers(0, 5), st.floats(0, 400)), max_size=300
)


@given(OPERATIONS)
def test_it_does_as_a_list_of_all_things_would(operations: list[tuple[str, int, float]]) -> None:
    expiries: Expiries[tuple[int, float]] = Expiries()
    model: dict[tuple[int, float], int] = {}
    for operation, number, at in operations:
        thing = (number, at)
        if operation == "add":
            expiries.add(thing, at)
            model[thing] = math.ceil(at)
        elif operation == "discard" and model:
            found = sorted(model)[number % len(model)]
            expiries.discard(found, found[1])
            del model[found]
        else:
            due = {thing for thing, second in model.items() if second <= at}
            assert set(expiries.due(at)) == due
            model = {thing: second for thing, second in model.items() if thing not in due}
        assert len(expiries) == len(model)
