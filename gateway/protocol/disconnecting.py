"""What a disconnect request asks for. Everything in it is untrusted."""

from __future__ import annotations

from typing import Final

from gateway.protocol import strict_json
from gateway.protocol.request import BadRequest
from publisher.control import By, Target
from publisher.errors import InvalidChannel, InvalidRevocation

_FIELDS: Final = tuple(by.value for by in By)


def parse(body: bytes) -> Target:
    """Whom the body, a JSON object with one field, is about. Raises `BadRequest`."""
    try:
        fields = strict_json.parse(body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise BadRequest('the body is no JSON object such as {"subject": "42"}')
    if unknown := sorted(fields.keys() - set(_FIELDS)):
        raise BadRequest(f"unknown field {unknown[0][:64]!r}; the fields are {', '.join(_FIELDS)}")
    if len(fields) > 1:  # with a null too: somebody would be cut off who was not meant
        raise BadRequest("name one of subject, token_id and channel, and leave out the others")
    try:
        return Target.of(**fields)
    except (InvalidRevocation, InvalidChannel) as error:
        raise BadRequest(str(error)) from None
