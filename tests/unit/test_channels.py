from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.channels import Channel, Partition, validate_channel, validate_prefix
from publisher.errors import InvalidChannel


@pytest.mark.parametrize(
    "name", ["a", "7", "A-b_c.d:e/f@g~h", "orders/2026:eu@shop", "x" * 128, "fanlight", "fanlightly.a"]
)
def test_accepts(name: str) -> None:
    assert validate_channel(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 129,
        "_a",
        ".a",
        "-a",
        "a b",
        "a\n",
        "a\0",
        "a#b",
        "a{b}",
        "a*",
        "a?b",
        "a&b",
        "a%20",
        "a+b",
        "é",
        "٣",
        "fanlight.",
        "fanlight.probe",
    ],
)
def test_refuses(name: str) -> None:
    with pytest.raises(InvalidChannel):
        validate_channel(name)


@pytest.mark.parametrize("name", [None, 7, b"a", ["a"]])
def test_refuses_what_is_no_str(name: object) -> None:
    with pytest.raises(InvalidChannel, match="is a str"):
        validate_channel(cast("Any", name))


def test_a_long_bad_name_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidChannel) as caught:
        validate_channel("?" * 100_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("prefix", ["fanlight", "a", "shop-1_x.y", "x" * 64])
def test_accepts_prefix(prefix: str) -> None:
    assert validate_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", "x" * 65, "a:b", "a{b", "a}", "-a", "a b", "é"])
def test_refuses_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="bad prefix"):
        validate_prefix(prefix)


def test_keys_are_the_contracts() -> None:
    partition, channel = Partition("shop", 3), Channel("a/b")
    assert partition.meta == "{shop:3}:meta"
    assert partition.stream(channel) == "{shop:3}:stream:a/b"
    assert partition.tail(channel) == "{shop:3}:tail:a/b"
    assert partition.live(channel) == "{shop:3}:live:a/b"
    assert partition.idempotency(channel, "k#1") == "{shop:3}:once:a/b#k#1"
    assert partition.probe("n1") == "{shop:3}:probe:n1"


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:/@~-]{0,20}", fullmatch=True)
idempotency_keys = st.from_regex(r"[!-~]{1,20}", fullmatch=True)


@given(st.lists(st.tuples(names, idempotency_keys), min_size=2, max_size=2, unique=True))
def test_no_two_channels_and_idempotency_keys_share_a_redis_key(pairs: list[tuple[str, str]]) -> None:
    keys = {Partition().idempotency(Channel(name), key) for name, key in pairs}
    assert len(keys) == 2
