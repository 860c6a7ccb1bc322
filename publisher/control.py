"""The control channel: revocations, as publishers write and gateways read them.

Its name is reserved, so no client can follow it, and none can publish to it but by the script's operation
`revoke`. An event of it is one revocation: whom it is about, and for how long it counts from its id's time.

    event: revoke
    data: {"subject":"42","seconds":43500}
    id: 1795448896226-0-15afb2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from publisher.channels import Channel, validate_channel
from publisher.errors import InvalidRevocation
from publisher.ids import EventId

CONTROL: Final = Channel("fanlight.control")
REVOKE_TYPE: Final = "revoke"
MAX_NAME_CHARACTERS: Final = 256
"""Of a subject and of a token's id."""
MAX_TOKEN_LIFE_SECONDS: Final = 43_200
"""The longest life of a token that a gateway may be told to take."""
MAX_COUNTED_SECONDS: Final = MAX_TOKEN_LIFE_SECONDS + 300
"""With the most that an issuer's clock may be ahead."""
KEPT_SECONDS: Final = 46_800
"""How long the stream keeps an entry: for longer than it counts, by more than clocks should differ."""
MAX_REVOCATIONS: Final = 100_000


class By(Enum):
    """What a revocation names; the value is the field's name."""

    SUBJECT = "subject"
    TOKEN = "token_id"  # noqa: S105 - what it is called
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a revocation is about. Made by `of`, which checks."""

    by: By
    value: str

    @classmethod
    def of(
        cls, *, subject: str | None = None, token_id: str | None = None, channel: str | None = None
    ) -> Target:
        """Exactly one of the three. Raises `InvalidRevocation`, `InvalidChannel`."""
        given = {By.SUBJECT: subject, By.TOKEN: token_id, By.CHANNEL: channel}
        named = [(by, value) for by, value in given.items() if value is not None]
        if len(named) != 1:
            raise InvalidRevocation("name one of subject, token_id and channel")
        [(by, value)] = named
        if by is By.CHANNEL:
            return cls(by, validate_channel(value))
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_CHARACTERS:
            raise InvalidRevocation(f"{by.value} is a string of 1 to {MAX_NAME_CHARACTERS} characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRevocation(f"{by.value} holds half of a surrogate pair") from None
        return cls(by, value)


@dataclass(frozen=True, slots=True)
class Revoked:
    """Redis has the revocation, under this id. It counts until `until`, in Unix seconds."""

    id: str
    until: int

    @classmethod
    def counted(cls, id_: str, seconds: float) -> Revoked:
        return cls(id_, math.ceil(EventId.parse(id_).position.ms / 1000 + seconds))
