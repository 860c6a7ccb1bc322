"""Streamed answers: what a language model's would look like, out of canned text.

A word is an event in the answer's own channel, `metadata` events come between, and the channel is
closed at the end. What an answer is going to say depends on its prompt alone, and every event has an
idempotency key made of its place. So an answer that was cut off with the process goes on after the
next start: it is written again from its first word, and what is there already is not appended twice.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from gateway.dev.texts import choose, split_words
from gateway.logs import get_logger
from publisher import AsyncPublisher, ChannelClosed, PublishError
from publisher.channels import Partition

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.settings import Settings

MAX_ANSWERS: Final = 16
WORD_SECONDS: Final = (0.06, 0.09)
METADATA_EVERY: Final = 25
_LIFE_SECONDS: Final = 300
"""An answer older than this is not taken up again. Below the life of the idempotency keys (600 s)."""

_log = get_logger("fanlight.dev")


class TooManyAnswers(Exception):
    """As many answers as may be are being written."""


class NotReady(Exception):
    """The answers' background task is not running, or Redis does not answer."""


class Answers:
    """The answers of this process. `run` must be running for `begin` to work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pending_key = f"{Partition(settings.prefix).tag}:dev:answers"
        self._writing: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._redis: redis.asyncio.Redis | None = None
        self._publisher: AsyncPublisher | None = None

    async def run(self) -> None:
        """Until cancelled. First takes up the answers that an earlier process left unfinished."""
        client = redis.asyncio.Redis.from_url(self._settings.redis)
        async with (
            client,
            AsyncPublisher(
                self._settings.redis,
                prefix=self._settings.prefix,
                retention_events=self._settings.retention_events,
                retention_seconds=self._settings.retention_seconds,
            ) as self._publisher,
            asyncio.TaskGroup() as group,
        ):
            self._redis, self._group = client, group
            try:
                await self._take_up()
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                self._group = None

    async def begin(self, prompt: str) -> str:
        """Begin to answer; return the answer's channel. Raises `TooManyAnswers`, `NotReady`."""
        if self._group is None or self._redis is None:
            raise NotReady
        if len(self._writing) >= MAX_ANSWERS:
            raise TooManyAnswers
        channel = f"answer.{secrets.token_hex(8)}"
        self._writing.add(channel)
        try:
            entry = json.dumps({"prompt": prompt, "begun": time.time()})
            await _sent(self._redis.hset(self._pending_key, channel, entry))
            await _sent(self._redis.expire(self._pending_key, _LIFE_SECONDS))
        except RedisError as error:
            self._writing.discard(channel)
            raise NotReady from error
        except BaseException:
            self._writing.discard(channel)
            raise
        self._start(channel, prompt)
        return channel

    def _start(self, channel: str, prompt: str) -> None:
        if self._group is None:
            raise NotReady
        self._writing.add(channel)
        self._group.create_task(self._write(channel, prompt), name=channel)

    async def _take_up(self) -> None:
        if self._redis is None:
            raise NotReady
        try:
            pending: dict[bytes, bytes] = await _sent(self._redis.hgetall(self._pending_key))
        except RedisError as error:
            _log.warning("unfinished answers are not taken up", error=str(error))
            return
        for name, entry in list(pending.items())[:MAX_ANSWERS]:
            try:
                fields = json.loads(entry)
                if time.time() - fields["begun"] < _LIFE_SECONDS:
                    self._start(name.decode(), str(fields["prompt"]))
            except (ValueError, KeyError, TypeError):
                _log.warning("an unfinished answer is not readable", channel=name.decode(errors="replace"))

    async def _write(self, channel: str, prompt: str) -> None:
        try:
            await self._write_until_done(channel, prompt)
        except Exception:
            _log.exception("an answer failed", channel=channel)
        finally:
            self._writing.discard(channel)
        await self._forget(channel)  # but not when cancelled: the next process takes the answer up

    async def _write_until_done(self, channel: str, prompt: str) -> None:
        deadline = time.monotonic() + _LIFE_SECONDS
        while time.monotonic() < deadline:
            try:
                await self._write_all(channel, prompt)
                return
            except ChannelClosed:  # another `fanlight dev` on this Redis was faster
                return
            except PublishError as error:
                _log.warning("an answer is held up", channel=channel, error=str(error))
                await asyncio.sleep(1)  # then again from the first word; see the module's docstring

    async def _write_all(self, channel: str, prompt: str) -> None:
        words = split_words(choose(prompt))
        started = time.monotonic()
        await self._publish(channel, {"model": "canned", "words": len(words)}, "begin", type="metadata")
        for number, word in enumerate(words, 1):
            new = await self._publish(channel, word, f"word-{number}")
            if new:
                await asyncio.sleep(random.uniform(*WORD_SECONDS))  # noqa: S311 - as a model that hesitates
            if number % METADATA_EVERY == 0 and number < len(words):
                seconds = round(time.monotonic() - started, 2)
                facts = {"written": number, "seconds": seconds}
                await self._publish(channel, facts, f"metadata-{number}", type="metadata")
        await self._publish(channel, {"finish_reason": "stop"}, "finish", type="metadata")
        if self._publisher is not None:
            await self._publisher.close(channel)

    async def _publish(self, channel: str, data: object, key: str, *, type: str | None = None) -> bool:
        """Publish the event of this place. False if it was there already."""
        if self._publisher is None:
            raise NotReady
        published = await self._publisher.publish(channel, data, type=type, idempotency_key=key)
        return not published.duplicate

    async def _forget(self, channel: str) -> None:
        if self._redis is None:
            return
        try:
            await _sent(self._redis.hdel(self._pending_key, channel))
        except RedisError as error:
            _log.warning("an answer is done, but stays listed", channel=channel, error=str(error))


async def _sent(command: Awaitable[Any] | Any) -> Any:
    """redis-py types its commands for both its clients; the asyncio one's are awaitable."""
    return await command
