"""Publish events into Fanlight.

    from publisher import Event, Publisher

    with Publisher("redis://127.0.0.1:6379/0") as publisher:
        publisher.publish("news", "Hello")                                   # text, as it is
        publisher.publish("news", {"title": "Hello"}, type="article")        # anything else: as JSON
        publisher.publish(["news", "sports"], "to both, in one round trip")
        publisher.publish("orders", order, idempotency_key="order-17-paid")  # appended once
        publisher.publish_many(Event(channel="ticks", data=n) for n in range(10_000))
        publisher.close("answer.1")                                          # subscribers are done
        publisher.revoke(subject="42")       # ends that user's streams; tokens issued so far are refused

and the same for asyncio:

    async with AsyncPublisher() as publisher:
        published = await publisher.publish("news", "Hello")
        print(published.id)

Both retry by themselves while Redis is away, up to a deadline, and never append an event twice.
The errors are in `publisher.errors`, all of them `PublishError`s.
"""

from publisher.aio import AsyncPublisher
from publisher.client import Publisher
from publisher.control import Revoked
from publisher.errors import (
    BatchFailed,
    ChannelClosed,
    DataTooLarge,
    InvalidChannel,
    InvalidData,
    InvalidEvent,
    InvalidIdempotencyKey,
    InvalidRetention,
    InvalidRevocation,
    InvalidTraceparent,
    InvalidType,
    PublishError,
    RedisRefused,
    RedisUnreachable,
    RevocationsFull,
)
from publisher.events import Event, Published

__all__ = [
    "AsyncPublisher",
    "BatchFailed",
    "ChannelClosed",
    "DataTooLarge",
    "Event",
    "InvalidChannel",
    "InvalidData",
    "InvalidEvent",
    "InvalidIdempotencyKey",
    "InvalidRetention",
    "InvalidRevocation",
    "InvalidTraceparent",
    "InvalidType",
    "PublishError",
    "Published",
    "Publisher",
    "RedisRefused",
    "RedisUnreachable",
    "RevocationsFull",
    "Revoked",
]
