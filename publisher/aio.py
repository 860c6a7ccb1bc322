"""The publisher for asyncio: `publisher.exchange` decides, this sends and waits."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Self, cast, overload

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from publisher.async_client import AsyncClient
from publisher.channels import DEFAULT_PREFIX
from publisher.commands import Command, Options, each_command, event_commands
from publisher.connections import MAX_CONNECTIONS, attempt_seconds, check_database, trusting
from publisher.control import MAX_COUNTED_SECONDS, MAX_REVOCATIONS, Revoked, Target
from publisher.events import Event, Published
from publisher.exchange import Batch, Exchange
from publisher.tracing import publishing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from publisher.errors import PublishError


class AsyncPublisher:
    """Publishes events into Fanlight. Safe to share between the tasks of one event loop.

    `redis` is a URL, or an existing `redis.asyncio.Redis` client, which is used as it is and never
    closed. All settings are those of `Publisher`; here the deadline is exact, also with an existing
    client. A publish that is cancelled may or may not have been published, and costs no more than its
    connection: the next one makes another.

    ValueError for a setting that is out of range, or a package that is missing.
    """

    def __init__(
        self,
        redis: str | Redis = "redis://127.0.0.1:6379/0",
        *,
        prefix: str = DEFAULT_PREFIX,
        retention_events: int = 10_000,
        retention_seconds: float = 3600,
        idempotency_seconds: float = 600,
        max_event_bytes: int = 262_144,
        deadline_seconds: float = 10.0,
        ca_file: str | None = None,
        max_revocations: int = MAX_REVOCATIONS,
        tracing: bool = False,
    ) -> None:
        self._publishing = publishing(traced=tracing)
        self._options = Options(
            prefix,
            retention_events,
            retention_seconds,
            idempotency_seconds,
            max_event_bytes,
            deadline_seconds,
            max_revocations,
        )
        self._own = isinstance(redis, str)
        if isinstance(redis, str):
            self._client = AsyncClient.from_url(
                trusting(redis, ca_file),
                most_calls=MAX_CONNECTIONS,
                deadline_seconds=attempt_seconds(deadline_seconds),
            )
        elif isinstance(redis, Redis):
            self._client = AsyncClient(redis, most_calls=MAX_CONNECTIONS, deadline_seconds=None)
        else:
            raise TypeError(
                f"AsyncPublisher takes a URL or a redis.asyncio.Redis, not {type(redis).__qualname__}"
            )
        check_database(self._client.redis.connection_pool.connection_kwargs)

    @overload
    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        type: str | None = ...,
        idempotency_key: str | None = ...,
        traceparent: str | None = ...,
        retention_events: int | None = ...,
        retention_seconds: float | None = ...,
    ) -> Published: ...

    @overload
    async def publish(
        self,
        channel: Iterable[str],
        data: Any,
        *,
        type: str | None = ...,
        idempotency_key: str | None = ...,
        traceparent: str | None = ...,
        retention_events: int | None = ...,
        retention_seconds: float | None = ...,
    ) -> list[Published]: ...

    async def publish(
        self,
        channel: str | Iterable[str],
        data: Any,
        *,
        type: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        retention_events: int | None = None,
        retention_seconds: float | None = None,
    ) -> Published | list[Published]:
        """`Publisher.publish`, awaited: one event to a channel, or to each of several."""
        channels = [channel] if isinstance(channel, str) else channel
        events = (
            Event(
                channel=name,
                data=data,
                type=type,
                idempotency_key=idempotency_key,
                traceparent=traceparent,
            )
            for name in channels
        )
        with self._publishing(channel if isinstance(channel, str) else None) as current:
            commands = event_commands(self._options, events, retention_events, retention_seconds, current)
            if isinstance(channel, str):
                return await self._publish_one(commands[0])
            return await self._publish_all(commands)

    async def publish_many(
        self,
        events: Iterable[Event],
        *,
        retention_events: int | None = None,
        retention_seconds: float | None = None,
    ) -> list[Published]:
        """`Publisher.publish_many`, awaited. Cancelled, it has published the first so many events."""
        with self._publishing(None) as current:
            commands = event_commands(
                self._options, events, retention_events, retention_seconds, current, numbered=True
            )
            return await self._publish_all(commands)

    async def publish_each(self, events: Iterable[Event]) -> list[Published | PublishError]:
        """`Publisher.publish_each`, awaited."""
        with self._publishing(None) as current:
            checked = each_command(self._options, events, current)
            batch = Batch([command for command in checked if isinstance(command, Command)])
            for exchange in batch:
                await self._run(exchange)
        results = iter(batch.each())
        return [next(results) if isinstance(command, Command) else command for command in checked]

    async def close(self, channel: str) -> Published:
        """`Publisher.close`, awaited: end a channel for good."""
        return await self._publish_one(self._options.end(channel))

    async def revoke(
        self,
        *,
        subject: str | None = None,
        token_id: str | None = None,
        channel: str | None = None,
        seconds: float = MAX_COUNTED_SECONDS,
    ) -> Revoked:
        """`Publisher.revoke`, awaited: end what is open, and keep it closed."""
        target = Target.of(subject=subject, token_id=token_id, channel=channel)
        published = await self._publish_one(self._options.revoke(target, seconds))
        return Revoked.counted(published.id, seconds)

    async def disconnect(self) -> None:
        """Close the connections that the publisher made. An existing client's are left alone."""
        if self._own:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def _publish_one(self, command: Command) -> Published:
        exchange = Exchange([command])
        await self._run(exchange)
        return exchange.result()

    async def _publish_all(self, commands: Sequence[Command]) -> list[Published]:
        batch = Batch(commands)
        for exchange in batch:
            await self._run(exchange)
        return batch.results()

    async def _run(self, exchange: Exchange) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._options.deadline_seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    exchange.answered(await self._client.run(lambda redis: _send(redis, exchange)))
            except (RedisError, OSError) as error:  # the deadline's TimeoutError is an OSError
                exchange.failed(error)
            if exchange.done:
                return
            delay_seconds = exchange.delay_seconds(deadline - clock(), random.random())  # noqa: S311 - jitter
            if delay_seconds is None:
                exchange.give_up(self._options.deadline_seconds)
                return
            await asyncio.sleep(delay_seconds)


async def _send(redis: Redis, exchange: Exchange) -> list[object]:
    if exchange.reconnect:
        await redis.connection_pool.disconnect(inuse_connections=False)
    request = exchange.request()
    if len(request) == 1:
        execute: Callable[..., Any] = redis.execute_command
        try:
            return [await execute(*request[0])]
        except ResponseError as error:
            return [error]
    async with redis.pipeline(transaction=False) as pipeline:
        for call in request:
            pipeline.execute_command(*call)
        return cast("list[object]", await pipeline.execute(raise_on_error=False))
