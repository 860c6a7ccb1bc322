"""Things by name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.index import Index

NAMES = st.sampled_from([None, "a", "b"])
STEPS = st.lists(st.tuples(st.booleans(), NAMES, st.integers(0, 4)), max_size=12)


@given(STEPS)
def test_it_finds_what_a_plain_set_would(steps: list[tuple[bool, str | None, int]]) -> None:
    index: Index[int] = Index()
    plain: set[tuple[str, int]] = set()
    for adds, name, thing in steps:
        if adds:
            index.add(name, thing)
        else:
            index.discard(name, thing)
        if name is not None:
            plain = plain | {(name, thing)} if adds else plain - {(name, thing)}
        for known in ("a", "b", "c"):
            assert sorted(index.find(known)) == sorted(thing for name, thing in plain if name == known)
        assert len(index) == len({name for name, _ in plain})
