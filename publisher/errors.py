"""What can go wrong with a publish.

    PublishError
     +-- InvalidEvent (also a ValueError)   refused before anything is sent
     |    +-- InvalidChannel
     |    +-- InvalidType
     |    +-- InvalidData
     |    |    +-- DataTooLarge
     |    +-- InvalidIdempotencyKey
     |    +-- InvalidRetention
     |    +-- InvalidTraceparent
     +-- InvalidRevocation (also a ValueError)   whom it is about, or for how long; nothing was sent
     +-- RevocationsFull                    as many revocations count as may
     +-- ChannelClosed                      the channel was ended with close()
     +-- RedisUnreachable                   no answer within the deadline; it may have been published
     +-- RedisRefused                       Redis answered, and will not write
     +-- BatchFailed                        some of a batch; says which

An invalid event is never repaired and never sent in part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from publisher.events import Published


class PublishError(Exception):
    """Base of everything that the publisher raises on its own account."""


class InvalidEvent(PublishError, ValueError):
    """The event can't be published as it is. Nothing was sent."""


class InvalidChannel(InvalidEvent):
    """The channel's name breaks the rules of `publisher.channels`."""


class InvalidType(InvalidEvent):
    """The event type is too long, reserved, or holds a line break or NUL."""


class InvalidData(InvalidEvent):
    """The data is not UTF-8, not JSON-serialisable, or holds NUL."""


class DataTooLarge(InvalidData):
    """The data has more bytes than `max_event_bytes`."""


class InvalidIdempotencyKey(InvalidEvent):
    """The idempotency key is empty, too long, or not visible ASCII."""


class InvalidRetention(InvalidEvent):
    """The retention is not positive, or above the contract's largest."""


class InvalidTraceparent(InvalidEvent):
    """The traceparent is not what W3C Trace Context calls one."""


class InvalidRevocation(PublishError, ValueError):
    """It names nobody, or several, or counts for too long. Nothing was sent."""


class RevocationsFull(PublishError):
    """`max_revocations` of them count by now, and none is dropped for another. Nothing was revoked."""


class ChannelClosed(PublishError):
    """The channel was ended by `close`; nothing may follow `fanlight.end`."""


class RedisUnreachable(PublishError):
    """Redis gave no answer within the deadline, for all retries.

    The event may or may not have been published: the answer is what is missing. To publish it
    again without appending twice, give the same idempotency key.
    """


class RedisRefused(PublishError):
    """Redis answered with an error that a retry won't mend (rights, wrong type, out of memory)."""


class BatchFailed(PublishError):
    """Some events of a `publish_many` were refused; the others are published.

    `results` has one item for each event, in order: a `Published`, or the `PublishError` that
    this event met.
    """

    def __init__(self, results: Sequence[Published | PublishError]) -> None:
        self.results = tuple(results)
        failed = [item for item in self.results if isinstance(item, PublishError)]
        super().__init__(
            f"{len(failed)} of {len(self.results)} events were not published; the first: {failed[0]}"
        )
