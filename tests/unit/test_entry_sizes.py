from __future__ import annotations

from gateway.broker.entry_sizes import EntrySizes
from publisher.channels import Channel

A, B = Channel("a"), Channel("b")


def test_of_an_unknown_channel_a_few_are_asked_for() -> None:
    asked = [EntrySizes().count(A, size) for size in (0, 1, 2048, 16_384, 10**9)]
    assert asked == [1, 1, 4, 16, 16], "fewer where many channels share a page"


def test_a_known_channel_is_asked_for_as_much_as_fits() -> None:
    sizes = EntrySizes()
    sizes.note(A, 100)
    assert [sizes.count(A, size) for size in (0, 1, 100, 199, 1000, 10**9)] == [1, 1, 1, 1, 10, 1000]


def test_an_estimate_grows_at_once_and_shrinks_slowly() -> None:
    sizes = EntrySizes()
    sizes.note(A, 100)
    sizes.note(A, 1000)
    assert sizes.count(A, 10_000) == 10
    sizes.note(A, 100)
    assert sizes.count(A, 10_000) == 11
    for _ in range(100):
        sizes.note(A, 100)
    assert sizes.count(A, 10_000) == 100


def test_one_channels_large_events_are_nothing_to_another() -> None:
    sizes = EntrySizes()
    sizes.note(A, 250_000)
    sizes.note(B, 100)
    assert (sizes.count(A, 262_144), sizes.count(B, 262_144)) == (1, 1000)


def test_what_was_read_long_ago_is_forgotten() -> None:
    sizes = EntrySizes()
    sizes.note(A, 1)
    for number in range(4096):
        sizes.note(Channel(f"n{number}"), 1)
    assert (sizes.count(A, 16_384), sizes.count(Channel("n0"), 10)) == (16, 10)
