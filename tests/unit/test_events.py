from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

from publisher import (
    DataTooLarge,
    Event,
    InvalidData,
    InvalidIdempotencyKey,
    InvalidRetention,
    InvalidType,
    Published,
)
from publisher.events import (
    MAX_RETENTION_SECONDS,
    Retention,
    encode_data,
    encode_type,
    validate_idempotency_key,
)

LARGE = 1_000_000


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        ("", b""),
        ("a\r\nb\rc\n", b"a\r\nb\rc\n"),
        ('{"as": "it is"}', b'{"as": "it is"}'),
        ("Grüße 🎉", "Grüße 🎉".encode()),
        (b"bytes", b"bytes"),
        ("é".encode(), "é".encode()),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (None, b"null"),
        (True, b"true"),
        (7, b"7"),
        (1.5, b"1.5"),
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'.encode()),
        (["\0\n"], b'["\\u0000\\n"]'),
    ],
)
def test_data(data: object, encoded: bytes) -> None:
    assert encode_data(data, LARGE) == encoded


circular: list[Any] = []
circular.append(circular)


@pytest.mark.parametrize(
    "data",
    [
        "a\0b",
        b"a\0b",
        b"\xff",
        b"\xed\xa0\x80",
        "\ud83d",
        {"half": "\ude00"},
        float("nan"),
        [float("inf")],
        object,
        {1, 2},
        {"bytes": b"x"},
        {(1, 2): 3},
        circular,
    ],
    ids=repr,
)
def test_refuses_data(data: object) -> None:
    with pytest.raises(InvalidData) as caught:
        encode_data(data, LARGE)
    assert not isinstance(caught.value, DataTooLarge)


def test_refuses_data_that_is_nested_too_deep() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidData):
        encode_data(deep, LARGE)


@pytest.mark.parametrize("data", ["é" * 5, b"x" * 10, [1234, 123]])
def test_the_largest_data_is_counted_in_bytes(data: object) -> None:
    assert len(encode_data(data, 10)) == 10
    with pytest.raises(DataTooLarge, match="10 bytes, the largest is 9"):
        encode_data(data, 9)


@pytest.mark.parametrize(
    ("type_", "encoded"),
    [
        (None, b""),
        ("", b""),
        ("message", b"message"),
        ("order paid", b"order paid"),
        ("é" * 64, "é".encode() * 64),
        ("fanlight", b"fanlight"),
        ("x.fanlight.", b"x.fanlight."),
    ],
)
def test_type(type_: str | None, encoded: bytes) -> None:
    assert encode_type(type_) == encoded


@pytest.mark.parametrize(
    "type_", ["a\nb", "a\r", "\0", "x" * 129, "é" * 65, "fanlight.", "fanlight.end", "\ud83d", b"a", 7]
)
def test_refuses_type(type_: object) -> None:
    with pytest.raises(InvalidType):
        encode_type(cast("Any", type_))


@pytest.mark.parametrize("key", ["a", "x" * 128, "order-17#paid/{1}", "!~"])
def test_idempotency_key(key: str) -> None:
    assert validate_idempotency_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * 129, "a b", "a\n", "a\x7f", "é", "\0", 7, b"a"])
def test_refuses_idempotency_key(key: object) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        validate_idempotency_key(cast("Any", key))


@pytest.mark.parametrize(
    ("events", "seconds"), [(1, 0.001), (10_000, 3600), (2**31 - 1, MAX_RETENTION_SECONDS)]
)
def test_retention(events: int, seconds: float) -> None:
    assert Retention(events, seconds) == Retention(events=events, seconds=seconds)


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        (0, 60),
        (-1, 60),
        (2**31, 60),
        (1.5, 60),
        (True, 60),
        ("5", 60),
        (5, 0),
        (5, -1),
        (5, MAX_RETENTION_SECONDS + 1),
        (5, float("nan")),
        (5, float("inf")),
        (5, 10**400),
        (5, True),
        (5, "60"),
    ],
)
def test_refuses_retention(events: object, seconds: object) -> None:
    with pytest.raises(InvalidRetention):
        Retention(cast("Any", events), cast("Any", seconds))


@pytest.mark.parametrize("value", [Event(channel="a", data=1), Published("a", "1-0-0a1b2c", False)])
def test_values_are_frozen(value: Event | Published) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.channel = "b"  # type: ignore[misc]
