"""No parser of what comes from outside does anything with any bytes but take them or refuse them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.parsers import EXAMPLES, PARSERS

ParserOfBytes = Callable[[bytes], None]


@st.composite
def mutated(draw: st.DrawFn, examples: tuple[bytes, ...]) -> bytes:
    """A good input with something cut out of it, and something put in its place."""
    raw = draw(st.sampled_from(examples))
    start = draw(st.integers(0, len(raw)))
    end = draw(st.integers(start, min(len(raw), start + 8)))
    between = draw(st.binary(max_size=4) | st.sampled_from([b"", b"\n", b'"', b"0", b"\0", b"\xff", raw]))
    return raw[:start] + between + raw[end:]


@pytest.mark.parametrize("name", PARSERS)
def test_a_good_input_is_gone_through(name: str) -> None:
    for raw in EXAMPLES[PARSERS[name]]:
        PARSERS[name](raw)


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_taken_or_refused(name: str) -> None:
    parse = PARSERS[name]

    @settings(max_examples=30)
    @given(mutated(EXAMPLES[parse]) | st.binary(max_size=60))
    def ask(raw: bytes) -> None:
        parse(raw)

    ask()
