"""Redis pub/sub behind sse-starlette, as the documentation of both would have one write it.

One `PubSub` for each request. There are no ids: pub/sub keeps nothing that a client could resume from.
The settings that are not defaults are in its favour: health checks each second, TCP keepalive.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import redis.asyncio as redis
from sse_starlette import EventSourceResponse  # type: ignore[import-not-found, unused-ignore]
from starlette.applications import Starlette  # type: ignore[import-not-found, unused-ignore]
from starlette.routing import Route  # type: ignore[import-not-found, unused-ignore]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request  # type: ignore[import-not-found, unused-ignore]

client = redis.from_url(
    os.environ["REDIS_URL"],
    decode_responses=True,
    health_check_interval=1,
    socket_keepalive=True,
    max_connections=20_000,  # redis-py's 100 would be the most requests
)


async def events(request: Request) -> EventSourceResponse:
    channels = request.query_params.getlist("channel")

    async def messages() -> AsyncIterator[dict[str, str]]:
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(*channels)
            while True:
                message = await pubsub.get_message(timeout=1.0)
                if message is not None:
                    yield {"data": message["data"]}

    return EventSourceResponse(messages(), sep="\n")


app = Starlette(routes=[Route("/events", events)])
