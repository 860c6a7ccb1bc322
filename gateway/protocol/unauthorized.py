"""`fanlight.unauthorized`: why a stream ends whose client may read no more.

It has no id, so that the client keeps the one that it holds: a live subscription is told of no position, and
an older id would take the client back to before what it has seen.
"""

from __future__ import annotations

from typing import Final

from gateway.protocol import sse
from gateway.protocol.closing import CloseReason

UNAUTHORIZED_TYPE: Final = b"fanlight.unauthorized"


def unauthorized(encoding: sse.Encoding, reason: CloseReason) -> bytes:
    """The event's bytes on a connection of this encoding."""
    data = b'{"reason":"%b"}' % reason.value.encode()
    return encoding.framed(sse.event(UNAUTHORIZED_TYPE, data, None))
