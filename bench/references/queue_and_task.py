"""An aiohttp server with a queue and a handler's task for each connection: what one writes first, done well.

One pub/sub connection for the process; an event is encoded once; a slow client's queue is bounded. There are
no ids, so nothing can be resumed. Environment: REDIS_URL, PORT.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from typing import TYPE_CHECKING

import redis.asyncio as redis
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUEUE_EVENTS = 1000


class Feed:
    """Subscribes to a channel when its first listener comes, and hands each message to all queues."""

    def __init__(self) -> None:
        self._pubsub = redis.from_url(os.environ["REDIS_URL"]).pubsub(ignore_subscribe_messages=True)
        self._queues: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)
        self._subscribed: set[str] = set()
        self._one_at_a_time = asyncio.Lock()  # redis-py's PubSub is not made for concurrent subscribers

    async def join(self, channel: str, queue: asyncio.Queue[bytes]) -> None:
        async with self._one_at_a_time:
            if channel not in self._subscribed:
                await self._pubsub.subscribe(channel)
                self._subscribed.add(channel)
        self._queues[channel].add(queue)

    def leave(self, channel: str, queue: asyncio.Queue[bytes]) -> None:
        self._queues[channel].discard(queue)

    async def connect(self) -> None:
        await self._pubsub.subscribe("keepalive")  # listen() ends where there is no subscription

    async def run(self) -> None:
        async for message in self._pubsub.listen():
            event = b"data: %b\n\n" % message["data"]
            for queue in self._queues[message["channel"].decode()]:
                if not queue.full():
                    queue.put_nowait(event)


async def events(request: web.Request) -> web.StreamResponse:
    feed = request.app[FEED]
    queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_EVENTS)
    channels = request.query.getall("channel")
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    )
    try:
        for channel in channels:
            await feed.join(channel, queue)
        await response.prepare(request)
        await response.write(b": hello\n")
        while True:
            await response.write(await queue.get())
    except ConnectionResetError:
        return response
    finally:
        for channel in channels:
            feed.leave(channel, queue)


FEED = web.AppKey("feed", Feed)


async def feeding(app: web.Application) -> AsyncIterator[None]:
    await app[FEED].connect()
    task = asyncio.create_task(app[FEED].run())
    task.add_done_callback(lambda ended: ended.cancelled() or os.abort())  # deaf, it is of no use
    yield
    task.cancel()


async def application() -> web.Application:
    app = web.Application()
    app[FEED] = Feed()
    app.router.add_get("/events", events)
    app.cleanup_ctx.append(feeding)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, backlog=4096)
