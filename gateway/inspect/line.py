"""The line: the connection on which this process hears questions and answers, and sends its own.

It is not the link. What is said here can be late, too much, or forbidden (a user of Redis without the right),
and must not touch the way of the events. It is made when the link is there, to the same server, and anew with
each generation of it. At rest nothing is sent on it: that it is dead shows when it is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis.asyncio.connection import parse_url

from gateway.broker.backoff import backoff_seconds
from gateway.broker.dial import dial, say_hello
from gateway.logs import get_logger

if TYPE_CHECKING:
    from gateway.broker.connection import Connection, Reply
    from gateway.broker.link import Link

_LOOK_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_ADVICE: Final = "give the user of Redis the rights that docs/security.md lists"
Heard = Callable[[bytes], None]
Command = tuple[str | bytes | int, ...]


class Away(Exception):
    """There is no line at the moment, or it was lost before an answer came."""


class Line:
    """One process's connection to all others, over all its lives."""

    def __init__(self, link: Link, heard: Mapping[str, Heard], *, deadline_seconds: float) -> None:
        """`heard` are the pub/sub channels, and who is told what comes on each."""
        self._link = link
        self._heard = {channel.encode(): tell for channel, tell in heard.items()}
        self._deadline_seconds = deadline_seconds
        self._connection: Connection | None = None
        self._lost: asyncio.Future[Exception | None] | None = None
        self._waiting: set[asyncio.Future[Reply]] = set()
        self._log = get_logger("inspect")

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def run(self) -> None:
        """Be there while the link is, for as long as the node lives."""
        loop = asyncio.get_running_loop()
        attempt, told = 0, ""
        await self._link.up.wait()
        while True:
            begun = loop.time()
            try:
                error = await self._listen()
            except (OSError, hiredis.HiredisError, ValueError) as failed:
                error = failed
            if loop.time() - begun > self._deadline_seconds:
                attempt = 0
            # Of a Redis that can't be reached the link tells.
            if isinstance(error, hiredis.ReplyError) and str(error) != told:
                told = str(error)
                self._log.warning("inspection_off", error=told, advice=_ADVICE)
            await asyncio.sleep(backoff_seconds(attempt, _LONGEST_PAUSE_SECONDS))
            attempt += 1

    async def _listen(self) -> Exception | None:
        """One connection, until it is lost, or the link has another than at its beginning."""
        generation, options = self._link.state.generation, parse_url(self._link.url)
        lost = self._lost = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(self._deadline_seconds):
            connection = await dial(
                options, self, user_timeout_seconds=self._deadline_seconds, turn_seconds=0.0
            )
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._begin(connection, options)
            while not lost.done() and self._link.state.generation == generation:
                await asyncio.wait({lost}, timeout=_LOOK_SECONDS)
        finally:
            self._connection = None
            connection.abort(ConnectionResetError("given up"))
        error: Exception | None = lost.result()
        return error

    async def _begin(self, connection: Connection, options: Mapping[str, Any]) -> None:
        await say_hello(connection, options, "fanlight-inspect")
        # From SUBSCRIBE on, who asks counts on an answer, also to what comes before SUBSCRIBE is confirmed.
        self._connection = connection
        connection.send((("SUBSCRIBE", *self._heard), None))
        # A refusal of SUBSCRIBE is a reply, and meets this command, which needs no right.
        await connection.ask("HELLO", 3)

    # What is said.

    async def run_commands(self, *commands: Command) -> list[Reply]:
        """Send them together; the replies, errors among them as instances. Raises `Away`."""
        connection = self._connection
        if connection is None:
            raise Away
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Reply]] = [loop.create_future() for _ in commands]
        self._waiting.update(futures)
        connection.send(
            *((command, _into(future)) for command, future in zip(commands, futures, strict=True))
        )
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return [await future for future in futures]
        except TimeoutError:
            connection.abort(TimeoutError("Redis did not answer"))
            raise Away from None
        finally:
            self._waiting.difference_update(futures)
            for future in futures:
                future.cancel()

    async def publish(self, channel: str, raw: bytes) -> int:
        """How many connections have heard it. Raises `Away`."""
        [reply] = await self.run_commands(("PUBLISH", channel, raw))
        self._published(reply)
        if not isinstance(reply, int):
            raise Away
        return reply

    def say(self, channel: str, raw: bytes) -> None:
        """Publish it, and don't wait for what comes of it."""
        if self._connection is not None:
            self._connection.send((("PUBLISH", channel, raw), self._published))

    def _published(self, reply: Reply) -> None:
        """A user of Redis who may not publish here is told of as one who may not subscribe."""
        if isinstance(reply, hiredis.ReplyError) and self._connection is not None:
            self._connection.abort(reply)

    # From the connection.

    def push(self, push: list[Any]) -> None:
        if push[0] == b"message" and (heard := self._heard.get(push[1])) is not None:
            heard(push[2])

    def end_of_batch(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_exception(Away())
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(error)


def _into(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    def then(reply: Any) -> None:
        if not future.done():
            future.set_result(reply)

    return then
