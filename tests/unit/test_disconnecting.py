"""What a disconnect request asks for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.disconnecting import parse
from gateway.protocol.request import BadRequest
from publisher.control import By, Target

GOOD = [
    ({"subject": "42"}, Target(By.SUBJECT, "42")),
    ({"subject": "auth0|a b\n\u20ac"}, Target(By.SUBJECT, "auth0|a b\n\u20ac")),
    ({"subject": "x" * 256}, Target(By.SUBJECT, "x" * 256)),
    ({"token_id": "9f3c"}, Target(By.TOKEN, "9f3c")),
    ({"channel": "orders.42"}, Target(By.CHANNEL, "orders.42")),
]


@pytest.mark.parametrize(("fields", "target"), GOOD, ids=lambda fields: str(fields)[:60])
def test_whom_it_is_about(fields: object, target: Target) -> None:
    assert parse(json.dumps(fields).encode()) == target


ONE_OF = "name one of subject, token_id and channel"
BAD = [
    (b"", "JSON object"),
    (b"{", "JSON object"),
    (b"[]", "JSON object"),
    (b'"42"', "JSON object"),
    (b"\xff", "JSON object"),
    (b"[" * 100_000, "JSON object"),
    (b"{}", ONE_OF),
    (b'{"subject": null}', ONE_OF),
    (b'{"subject": "42", "token_id": "t"}', ONE_OF),
    (b'{"subject": "42", "channel": "a"}', ONE_OF),
    (b'{"subject": null, "channel": "a"}', ONE_OF),
    (b'{"sub": "42"}', "unknown field 'sub'; the fields are subject, token_id, channel"),
    (b'{"subject": "42", "seconds": 5}', "unknown field 'seconds'"),
    (b'{"subject": 42}', "subject is a string of 1 to 256 characters"),
    (b'{"subject": ""}', "subject is a string of 1 to 256 characters"),
    (b'{"token_id": ["t"]}', "token_id is a string of 1 to 256 characters"),
    (b'{"token_id": "%b"}' % (b"x" * 257), "token_id is a string of 1 to 256 characters"),
    (rb'{"subject": "\ud800"}', "surrogate"),
    (b'{"channel": "a b"}', "bad channel name"),
    (b'{"channel": "*"}', "bad channel name"),
    (b'{"channel": "fanlight.control"}', "reserved"),
    (b'{"channel": 7}', "str"),
]


@pytest.mark.parametrize(("body", "told"), BAD, ids=lambda value: str(value)[:50])
def test_what_is_wrong_is_told(body: bytes, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    assert told in str(caught.value)


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["subject", "token_id", "channel"]), st.text()).map(
        lambda fields: json.dumps(fields).encode()
    )
)
def test_any_body_is_about_somebody_or_refused(body: bytes) -> None:
    try:
        target = parse(body)
    except BadRequest:
        return
    assert target.value
