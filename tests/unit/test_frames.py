"""Our own frames, read again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import sse
from gateway.protocol.frames import Told, read

LINE = st.binary(max_size=20).filter(lambda line: not {10, 13} & set(line))
EVENTS = st.lists(st.tuples(LINE, LINE, st.sampled_from([None, "1-0-abcdef"])), max_size=5)


@given(EVENTS)
def test_what_was_encoded_is_read(events: list[tuple[bytes, bytes, str | None]]) -> None:
    frames = b"".join(sse.event(*event) for event in events)
    assert list(read(frames)) == [Told(type_, data, (id_ or "").encode()) for type_, data, id_ in events]


def test_lines_of_data_stay_one_event() -> None:
    frames = sse.event(b"", b"one\n\nevent: x\nid: 2-0-abcdef\n", "1-0-abcdef")
    [told] = read(frames)
    assert (told.type, told.id) == (b"", b"1-0-abcdef")
