"""The publisher for threads: `publisher.exchange` decides, this sends and waits."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Self, cast, overload

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from publisher.channels import DEFAULT_PREFIX
from publisher.commands import Command, Options, each_command, event_commands
from publisher.connections import (
    MAX_CONNECTIONS,
    attempt_seconds,
    check_database,
    connection_options,
    trusting,
)
from publisher.control import MAX_COUNTED_SECONDS, MAX_REVOCATIONS, Revoked, Target
from publisher.events import Event, Published
from publisher.exchange import Batch, Exchange
from publisher.sentinel.sync import pool as sentinel_pool
from publisher.sentinel.url import is_sentinel_url
from publisher.tracing import publishing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from publisher.errors import PublishError
    from publisher.exchange import Request


class Publisher:
    """Publishes events into Fanlight. Safe to share between threads.

    `redis` is a URL, or an existing `redis.Redis` client, which is used as it is (also its timeouts)
    and never closed. For a URL the publisher makes up to 50 connections. `redis+sentinel://` and
    `rediss+sentinel://` name sentinels (`publisher.sentinel.url`): the primary is asked for at each connect,
    and each second in which something is published.

    - `prefix`: of all keys; the gateway's must be the same.
    - `retention_events`, `retention_seconds` (at most 43,200): how much of a channel can be replayed.
    - `idempotency_seconds`: how long a caller's idempotency key is remembered.
    - `max_event_bytes`: the largest data of an event.
    - `deadline_seconds`: how long one publish, or each 1,000 events of a batch, is retried when Redis
      is away, starting up or failing over. An attempt that is under way when it passes is waited for:
      for another quarter of it at most where the server is silent (with an existing client: for as
      long as its timeouts say). Retries never append twice.
    - `ca_file`: a PEM file with authorities that a rediss:// server's certificate may be of (and the
      sentinels'), beside the system's. Certificate and name are always checked.
    - `max_revocations`: how many revocations may count at a time; see `revoke`.
    - `tracing`: make a span of each call that publishes, with OpenTelemetry, wherever one is current; events
      that name no `traceparent` of their own belong to it. Needs `fanlight[otel]`, or OpenTelemetry's API.

    ValueError for a setting that is out of range, a file that can't be used, or a package that is missing.
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
            self._redis = _connect(trusting(redis, ca_file), deadline_seconds)
        elif isinstance(redis, Redis):
            self._redis = redis
        else:
            raise TypeError(f"Publisher takes a URL or a redis.Redis, not {type(redis).__qualname__}")
        check_database(self._redis.connection_pool.connection_kwargs)

    @overload
    def publish(
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
    def publish(
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

    def publish(
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
        """Publish one event to a channel, or to each of several in one round trip.

        `data`: str and bytes (UTF-8) go verbatim, anything else as JSON. `type`: the SSE event type,
        at most 128 bytes. `traceparent`: see `Event`. The retention holds for this channel from now on,
        until its next publish.

        Raises `InvalidEvent` before anything is sent, `ChannelClosed`, `RedisRefused`,
        `RedisUnreachable`; for several channels as `publish_many` does.
        """
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
            return self._publish_one(commands[0]) if isinstance(channel, str) else self._publish_all(commands)

    def publish_many(
        self,
        events: Iterable[Event],
        *,
        retention_events: int | None = None,
        retention_seconds: float | None = None,
    ) -> list[Published]:
        """Publish events, in order, with a round trip for each 1,000 of them (or 4 MiB of data).

        All are checked first: `InvalidEvent` (its message has the event's index) means that nothing
        was sent. `BatchFailed` if some were refused; its `results` say which, the others are published.
        `RedisUnreachable` or `RedisRefused` if that befell the call as a whole.
        """
        with self._publishing(None) as current:
            commands = event_commands(
                self._options, events, retention_events, retention_seconds, current, numbered=True
            )
            return self._publish_all(commands)

    def publish_each(self, events: Iterable[Event]) -> list[Published | PublishError]:
        """Publish events, each on its own: nothing is raised for an event that can't be published.

        For each event, in order, its `Published` or the `PublishError` that it met; an event that is
        invalid does not keep the others from being sent.
        """
        with self._publishing(None) as current:
            checked = each_command(self._options, events, current)
            batch = Batch([command for command in checked if isinstance(command, Command)])
            for exchange in batch:
                self._run(exchange)
        results = iter(batch.each())
        return [next(results) if isinstance(command, Command) else command for command in checked]

    def close(self, channel: str) -> Published:
        """End a channel for good: subscribers get what is left, then `fanlight.end`, and browsers stop.

        Closing it again is no error: the answer is the id of the end, as a duplicate. Publishing to it
        afterwards raises `ChannelClosed`, until its tail has expired, a day after the close. Raises as
        `publish` does.
        """
        return self._publish_one(self._options.end(channel))

    def revoke(
        self,
        *,
        subject: str | None = None,
        token_id: str | None = None,
        channel: str | None = None,
        seconds: float = MAX_COUNTED_SECONDS,
    ) -> Revoked:
        """End what is open, and keep it closed: of a subject, of one token (`jti`), or of a channel.

        Streams end within a second on every node that hears of it, else as soon as it does. Tokens with an
        `iat` up to now, or without one, are refused until they have expired; those issued later are good.
        It counts for `seconds`, by default for as long as any token can live: to give less, know how long
        the gateways let tokens live (`max_token_life_seconds`). Revoking again is no error.

        Raises `InvalidRevocation` or `InvalidChannel` before anything is sent, `RevocationsFull`,
        `RedisRefused`, `RedisUnreachable` (it may have been revoked).
        """
        target = Target.of(subject=subject, token_id=token_id, channel=channel)
        published = self._publish_one(self._options.revoke(target, seconds))
        return Revoked.counted(published.id, seconds)

    def disconnect(self) -> None:
        """Close the connections that the publisher made. An existing client's are left alone."""
        if self._own:
            self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def _publish_one(self, command: Command) -> Published:
        exchange = Exchange([command])
        self._run(exchange)
        return exchange.result()

    def _publish_all(self, commands: Sequence[Command]) -> list[Published]:
        batch = Batch(commands)
        for exchange in batch:
            self._run(exchange)
        return batch.results()

    def _run(self, exchange: Exchange) -> None:
        deadline = time.monotonic() + self._options.deadline_seconds
        while True:
            try:
                if exchange.reconnect:
                    self._redis.connection_pool.disconnect(inuse_connections=False)
                exchange.answered(self._send(exchange.request()))
            except (RedisError, OSError) as error:
                exchange.failed(error)
            if exchange.done:
                return
            delay_seconds = exchange.delay_seconds(deadline - time.monotonic(), random.random())  # noqa: S311 - jitter
            if delay_seconds is None:
                exchange.give_up(self._options.deadline_seconds)
                return
            time.sleep(delay_seconds)

    def _send(self, request: Request) -> list[object]:
        if len(request) == 1:
            execute: Callable[..., Any] = self._redis.execute_command
            try:
                return [execute(*request[0])]
            except ResponseError as error:
                return [error]
        pipeline = self._redis.pipeline(transaction=False)
        queue: Callable[..., Any] = pipeline.execute_command
        for call in request:
            queue(*call)
        return cast("list[object]", pipeline.execute(raise_on_error=False))


def _connect(url: str, deadline_seconds: float) -> Redis:
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": deadline_seconds,
        "retry": Retry(NoBackoff(), 0),  # the exchange retries
        "socket_timeout": attempt_seconds(deadline_seconds),
        "socket_connect_timeout": attempt_seconds(deadline_seconds),
        **connection_options(url),
    }
    if is_sentinel_url(url):
        seconds = attempt_seconds(deadline_seconds)
        return Redis.from_pool(sentinel_pool(url, deadline_seconds=seconds, **options))
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))
