"""Pages that are kept for a moment: whom they serve, and what bounds them."""

from __future__ import annotations

import pytest

from gateway.broker.pages import KEPT_SECONDS, Pages
from gateway.protocol.merge import Page
from gateway.protocol.publication import Publication
from publisher.channels import Channel
from publisher.ids import ORIGIN, Epoch, EventId, Position
from publisher.payload import Kind, Payload

A, B = Channel("a"), Channel("b")


def at(ms: int) -> Position:
    return Position(ms, 0)


def page(end: int, size: int = 0) -> Page:
    """One event, at the end of the page."""
    payload = Payload(EventId(at(end), Epoch("000000")), ORIGIN, 0, Kind.EVENT, b"", b"x" * size)
    return Page((Publication(A, payload),), at(end))


def test_a_page_serves_whoever_stands_within_it() -> None:
    pages = Pages()
    kept = page(20)
    pages.keep(A, at(10), kept, 0.0)
    found = {ms: pages.find(A, at(ms)) for ms in (9, 10, 15, 19, 20, 21)}
    assert found == {9: None, 10: kept, 15: kept, 19: kept, 20: None, 21: None}
    assert pages.find(B, at(15)) is None


def test_an_older_page_serves_those_at_its_beginning_only() -> None:
    pages = Pages()
    older, newer = page(20), page(40)
    pages.keep(A, at(10), older, 0.0)
    pages.keep(A, at(30), newer, 0.0)
    assert pages.find(A, at(10)) is older
    assert pages.find(A, at(15)) is None
    assert pages.find(A, at(35)) is newer


def test_pages_are_forgotten_after_their_time() -> None:
    pages = Pages()
    pages.keep(A, at(10), page(20), 0.0)
    pages.keep(B, at(10), page(20), 1.0)
    pages.forget_old(KEPT_SECONDS + 0.5)
    assert pages.find(A, at(10)) is None
    assert pages.find(A, at(15)) is None
    assert pages.find(B, at(15)) is not None
    pages.forget_old(KEPT_SECONDS + 1.5)
    assert (pages.find(B, at(10)), pages.bytes) == (None, 0)


def test_their_bytes_are_bounded() -> None:
    one = page(2, 1000).publications[0].size_bytes
    pages = Pages(most_bytes=3 * one)
    for ms in range(1, 100):
        pages.keep(A, at(ms), page(ms + 1, 1000), 0.0)
        assert pages.bytes <= 3 * one
    assert [ms for ms in range(1, 100) if pages.find(A, at(ms))] == [97, 98, 99]
    pages.keep(A, at(200), page(300, 10_000), 0.0)
    assert pages.find(A, at(200)) is None
    assert pages.bytes == 0


@pytest.mark.parametrize("lower", [10, 11])
def test_a_page_that_is_read_again_counts_once(lower: int) -> None:
    pages = Pages()
    pages.keep(A, at(10), page(20, 1000), 0.0)
    pages.keep(A, at(10), page(30, 1000), 1.0)
    assert pages.bytes == page(30, 1000).publications[0].size_bytes
    found = pages.find(A, at(lower))
    assert found is not None
    assert found.complete_to == at(30)
    pages.clear()
    assert (pages.find(A, at(lower)), pages.bytes) == (None, 0)
