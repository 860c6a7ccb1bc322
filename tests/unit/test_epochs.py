from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.epochs import Break, History, Path
from publisher.ids import Epoch, EventId, Position

A, B, C = Epoch("aaaaaa"), Epoch("bbbbbb"), Epoch("cccccc")
FIRST, SECOND = Break(A, Position(100, 0)), Break(B, Position(200, 5))
HISTORY = History(C, (SECOND, FIRST))


def test_meta_is_read_as_the_script_writes_it() -> None:
    assert History.parse("cccccc", "bbbbbb:200-5 aaaaaa:100-0 ") == HISTORY
    assert History.parse("cccccc", "") == History(C)


@pytest.mark.parametrize(
    ("epoch", "breaks"),
    [
        ("", ""),
        ("ccccc", ""),
        ("cccccccc", ""),
        ("cccccc", "bbbbbb"),
        ("cccccc", "bbbbbb:"),
        ("cccccc", "bbbbbb:1"),
        ("cccccc", "bbbbbb:x-1 aaaaaa:1-1"),
    ],
)
def test_what_is_not_ours_is_refused(epoch: str, breaks: str) -> None:
    with pytest.raises(ValueError):
        History.parse(epoch, breaks)


@pytest.mark.parametrize(
    ("cursor", "start", "crossing"),
    [
        pytest.param("250-0-cccccc", (250, 0), (), id="current"),
        pytest.param("900-0-cccccc", (900, 0), (), id="current, in the future"),
        pytest.param("150-0-bbbbbb", (150, 0), (SECOND,), id="of the last epoch"),
        pytest.param("200-5-bbbbbb", (200, 5), (SECOND,), id="at its end"),
        # It holds events that did not survive: back to what did, and told so.
        pytest.param("200-6-bbbbbb", (200, 5), (SECOND,), id="above its end"),
        pytest.param("50-0-aaaaaa", (50, 0), (FIRST, SECOND), id="two epochs back"),
        pytest.param("170-0-aaaaaa", (100, 0), (FIRST, SECOND), id="two epochs back, above its end"),
    ],
)
def test_how_a_cursor_gets_to_the_present(
    cursor: str, start: tuple[int, int], crossing: tuple[Break, ...]
) -> None:
    assert HISTORY.path(EventId.parse(cursor)) == Path(Position(*start), crossing)


def test_a_cursor_of_an_unknown_epoch_has_no_path() -> None:
    assert HISTORY.path(EventId.parse("150-0-dddddd")) is None


@pytest.mark.parametrize(
    ("position", "epoch"),
    [((1, 0), A), ((100, 0), A), ((100, 1), B), ((200, 5), B), ((200, 6), C), ((900, 0), C)],
)
def test_an_id_has_the_epoch_that_gave_it_out(position: tuple[int, int], epoch: Epoch) -> None:
    assert HISTORY.at(Position(*position)) == EventId(Position(*position), epoch)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6, unique=True), st.integers(0, 60))
def test_each_id_leads_back_to_its_position(ends: list[int], ms: int) -> None:
    """Whatever the history, an id that `at` names resumes exactly there, over all later breaks."""
    oldest_first = [Break(Epoch(f"{end:06x}"), Position(end, 0)) for end in sorted(ends)]
    history = History(Epoch("ffffff"), tuple(reversed(oldest_first)))
    position = Position(ms, 0)
    later = tuple(past for past in oldest_first if past.last >= position)
    assert history.path(history.at(position)) == Path(position, later)
