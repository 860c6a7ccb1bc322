from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ids import ORIGIN, Epoch, EventId, Position

U64 = 2**64 - 1
numbers = st.integers(0, U64)
positions = st.builds(Position, numbers, numbers)
epochs = st.from_regex(r"[0-9a-f]{6}", fullmatch=True).map(Epoch)
ids = st.builds(EventId, positions, epochs)


@given(positions)
def test_a_position_survives_its_text(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(ids)
def test_an_id_survives_its_text(id_: EventId) -> None:
    assert EventId.parse(str(id_)) == id_


@given(positions, positions)
def test_positions_are_ordered_as_redis_orders_entry_ids(a: Position, b: Position) -> None:
    assert (a < b) == (a.ms * 2**64 + a.seq < b.ms * 2**64 + b.seq)


@given(positions.filter(lambda position: position != ORIGIN))
def test_before_is_the_next_lower_position(position: Position) -> None:
    before = position.before()
    assert (before.ms * 2**64 + before.seq) + 1 == position.ms * 2**64 + position.seq


def test_nothing_is_before_the_origin() -> None:
    assert ORIGIN.before() == ORIGIN


@given(ids)
def test_an_id_is_safe_in_a_header(id_: EventId) -> None:
    assert len(str(id_)) <= 128
    assert set(str(id_)) <= set("0123456789abcdef-")


NOT_POSITIONS = [
    "",
    "1",
    "1-",
    "-1",
    "1-2-3",
    "01-2",
    "1-02",
    "+1-2",
    " 1-2",
    "1-2\n",
    "1_0-2",
    "1--2",
    "a-b",
]
TOO_LARGE = [f"{U64 + 1}-0", f"0-{U64 + 1}"]


@pytest.mark.parametrize("text", [*NOT_POSITIONS, *TOO_LARGE, "9" * 5000 + "-0"])
def test_refuses_what_is_no_position(text: str) -> None:
    with pytest.raises(ValueError):
        Position.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *(f"{text}-0a1b2c" for text in NOT_POSITIONS + TOO_LARGE),
        "1-2",
        "1-2-",
        "1-2-0A1B2C",
        "1-2-0a1b2",
        "1-2-0a1b2c3",
        "1-2-0a1b2c\n",
        "١-2-0a1b2c",
        "1-2-0a1b2g",
    ],
)
def test_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError):
        EventId.parse(text)


@given(st.text(alphabet="0123456789abcdefA-. _\n\0", max_size=40))
def test_an_id_has_one_spelling(text: str) -> None:
    try:
        parsed = EventId.parse(text)
    except ValueError:
        return
    assert str(parsed) == text
