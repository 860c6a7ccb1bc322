"""JSON from outside is JSON, wherever it comes in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth import keys
from gateway.auth.claims import Rules, grant_of
from gateway.auth.grants import Grant
from gateway.auth.refusals import Refused
from gateway.auth.revocations import Revocation
from gateway.auth.tokens import read_header
from gateway.cli.publish_lines import check_json
from gateway.cli.tail import _unwrap
from gateway.protocol import disconnecting, strict_json
from gateway.protocol.publishing import BadItem, Item, PublishRequest
from gateway.protocol.request import BadRequest
from publisher.errors import InvalidData
from publisher.events import encode_data

NOW = 1_800_000_000.0
NO_VALUES = ("NaN", "Infinity", "-Infinity", "[" * 100_000, "nan", "0x1", "1_000", "01", "'a'", "\ufeff1")


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: value[:12])
@pytest.mark.parametrize("around", ["%s", "[%s]", '{"a": %s}'])
def test_what_is_no_json_is_refused(value: str, around: str) -> None:
    for text in (around % value, (around % value).encode()):
        with pytest.raises(ValueError):
            strict_json.parse(text)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_bytes_are_utf_8(encoding: str) -> None:
    with pytest.raises(ValueError):
        strict_json.parse('{"a": 1}'.encode(encoding))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_json_is_what_it_says(value: object) -> None:
    text = json.dumps(value)
    assert strict_json.parse(text) == strict_json.parse(text.encode()) == value


def header(text: str) -> None:
    read_header(f"{base64.urlsafe_b64encode(text.encode()).rstrip(b'=').decode()}.e30.AAAA", 1_000_000)


def claims(text: str) -> None:
    grant_of(text.encode(), Rules(), NOW)


def ticket(text: str) -> None:
    Grant.load(text.encode(), NOW)


def published(text: str) -> None:
    PublishRequest.parse(text.encode(), lines=False, max_items=9)


def line(text: str) -> None:
    """Which costs the other lines nothing."""
    [item] = PublishRequest.parse(text.encode(), lines=True, max_items=9).items
    if isinstance(item, BadItem):
        raise BadRequest(item.detail)


def revocation(text: str) -> None:
    Revocation.parse(text.encode(), NOW, 60.0)


def key(text: str) -> None:
    keys.from_jwks(text.encode())


def disconnect(text: str) -> None:
    disconnecting.parse(text.encode())


Parser = Callable[[str], None]
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
WAYS_IN: list[tuple[Parser, str, type[Exception]]] = [
    (header, '{"alg": "HS256", "x": %s}', Refused),
    (claims, '{"exp": 1800000060, "x": %s}', Refused),
    (ticket, '[["a"], [], 1800000060, "s", "t", %s]', Refused),
    (published, '{"channel": "a", "data": %s}', BadRequest),
    (line, '{"channel": "a", "data": %s}', BadRequest),
    (revocation, '{"subject": "s", "seconds": 60, "x": %s}', ValueError),
    (key, f'{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "x": "{X}", "y": %s}}]}}', keys.BadKeys),
    (check_json, '{"x": %s}', InvalidData),
]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: value[:12])
@pytest.mark.parametrize(("parse", "around", "refused"), WAYS_IN, ids=lambda x: getattr(x, "__name__", None))
def test_no_way_in_takes_it(parse: Parser, around: str, refused: type[Exception], value: str) -> None:
    with pytest.raises(refused):
        parse(around % value)


@pytest.mark.parametrize(("parse", "around", "refused"), WAYS_IN, ids=lambda x: getattr(x, "__name__", None))
def test_each_way_in_takes_a_number_there(parse: Parser, around: str, refused: type[Exception]) -> None:
    """It is the value that was refused."""
    parse(around % 0)


def test_a_request_to_disconnect_has_no_room_for_numbers() -> None:
    for value in NO_VALUES:
        with pytest.raises(BadRequest, match="JSON object"):
            disconnect(f'{{"subject": {value}}}')


TOO_LARGE = "1e400"
"""Is JSON, and infinite once it is read."""


@pytest.mark.parametrize(
    ("parse", "text", "refused"),
    [
        (claims, f'{{"exp": {TOO_LARGE}}}', Refused),
        (claims, f'{{"exp": 1800000060, "nbf": -{TOO_LARGE}}}', Refused),
        (ticket, f'[["a"], [], {TOO_LARGE}, null, null, null]', Refused),
        (ticket, f'[["a"], [], 1800000060, null, null, {TOO_LARGE}]', Refused),
        (revocation, f'{{"subject": "s", "seconds": {TOO_LARGE}}}', ValueError),
    ],
)
def test_a_time_is_never_infinite(parse: Parser, text: str, refused: type[Exception]) -> None:
    with pytest.raises(refused):
        parse(text)


def test_data_is_never_infinite() -> None:
    """It would go out as `Infinity`, which no browser reads."""
    [item] = PublishRequest.parse(
        b'{"channel": "a", "data": [%b]}' % TOO_LARGE.encode(), lines=False, max_items=1
    ).items
    assert isinstance(item, Item)
    with pytest.raises(InvalidData):
        encode_data(item.data, 100)


def test_an_event_that_is_nested_deeply_is_shown_as_it_is() -> None:
    """By `fanlight tail`, which looks whether it is an envelope."""
    assert _unwrap("[" * 100_000) == (None, "[" * 100_000)
