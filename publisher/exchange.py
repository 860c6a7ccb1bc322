"""The state of a request to Redis over all its attempts, without the I/O.

A client sends `request()`, hands over what came back (`answered`) or the exception that came instead
(`failed`), waits for `delay_seconds()` and sends again, until `done`. What is sent again has the same
idempotency keys, so it does not matter which attempts got through.

Order: Redis runs a request's commands in order, and what a cut connection lost is sent again in order.
Only where Redis refused an event for a passing reason and took later ones of the same request (which
needs, say, a SCRIPT FLUSH in its midst) does that event come after them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from publisher.commands import SCRIPT, SCRIPT_SHA, Again, interpret, interpret_error
from publisher.errors import BatchFailed, PublishError, RedisUnreachable
from publisher.events import Published
from publisher.retry import BACKOFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from publisher.commands import Command

MAX_REQUEST_EVENTS: Final = 1_000
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""A request ends with the event that reaches one of the two: it is packed in memory as a whole."""

Request: TypeAlias = "list[tuple[str | int | bytes, ...]]"


class Exchange:
    """One request: a single event, or one part of a batch."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self._commands = commands
        self._results: list[Published | PublishError | None] = [None] * len(commands)
        self._pending = list(range(len(commands)))
        self._load = False
        self._attempts = 0
        self._failures = 0
        self._last: Exception | None = None
        self._at_once = False
        self.reconnect = False
        """Whether idle connections must be dropped before the next attempt."""
        self.error: PublishError | None = None
        """What befell the request as a whole, if it was not answered event by event."""

    @property
    def done(self) -> bool:
        return not self._pending

    @property
    def results(self) -> list[Published | PublishError]:
        """One for each command, in order, once `done`."""
        return [result for result in self._results if result is not None]

    def result(self) -> Published:
        """The one result of a single event's exchange; raises it if it is an error."""
        (result,) = self.results
        if isinstance(result, PublishError):
            raise result
        return result

    def request(self) -> Request:
        """What to send now, in one go.

        A batch brings the script along (6 KB for up to 1,000 events), so that it is missing only after
        a SCRIPT FLUSH in mid-request. A single event brings it only when Redis said that it is missing.
        """
        commands = [self._commands[index] for index in self._pending]
        if len(commands) == 1:
            head = ("EVAL", SCRIPT) if self._load else ("EVALSHA", SCRIPT_SHA)
            return [(*head, *commands[0].arguments)]
        calls: Request = [("EVALSHA", SCRIPT_SHA, *command.arguments) for command in commands]
        return [("SCRIPT LOAD", SCRIPT), *calls]

    def answered(self, replies: Sequence[object]) -> None:
        """Take the replies to `request()`, an exception in place of each error reply."""
        self._attempts += 1
        load_reply: object = None
        if len(replies) > len(self._pending):
            load_reply, *replies = replies
        again: list[Again] = []
        pending: list[int] = []
        for index, reply in zip(self._pending, replies, strict=True):
            meaning = interpret(self._commands[index], reply)
            if isinstance(meaning, Again) and meaning.load and isinstance(load_reply, Exception):
                meaning = interpret_error(load_reply)  # the server won't take the script: say why
            if isinstance(meaning, Again):
                again.append(meaning)
                pending.append(index)
            else:
                self._results[index] = meaning
        self._pending = pending
        if again:
            self._retry(again)

    def failed(self, error: Exception) -> None:
        """Take the exception that came in place of replies."""
        self._attempts += 1
        meaning = interpret_error(error)
        if isinstance(meaning, Again):
            self._retry([meaning])
        else:
            self._fail(meaning)

    def delay_seconds(self, remaining_seconds: float, jitter: float) -> float | None:
        """How long to wait before the next attempt; None to give up. See `Backoff.delay_seconds`."""
        if self._at_once:
            return 0.0 if remaining_seconds > 0 else None
        return BACKOFF.delay_seconds(self._failures, remaining_seconds, jitter)

    def give_up(self, deadline_seconds: float) -> None:
        """The deadline has passed: what is pending fails."""
        error = RedisUnreachable(
            f"no success within {deadline_seconds:g} s, in {self._attempts} attempts; "
            f"the last error: {str(self._last) or 'no answer'}"
        )
        error.__cause__ = self._last
        self._fail(error)

    def _retry(self, again: list[Again]) -> None:
        self._last = again[-1].error
        self.reconnect = any(item.reconnect for item in again)
        # The first NOSCRIPT is no failure: Redis restarted since the script was loaded.
        self._at_once = not self._load and all(item.load for item in again)
        self._load = any(item.load for item in again)
        if not self._at_once:
            self._failures += 1

    def _fail(self, error: PublishError) -> None:
        self.error = error
        for index in self._pending:
            self._results[index] = error
        self._pending = []


class Batch:
    """The exchanges of one call, one after the other."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self._commands = commands
        self._results: list[Published | PublishError] = []
        self._error: PublishError | None = None

    def __iter__(self) -> Iterator[Exchange]:
        """Each exchange is to be done before the next is asked for. When one failed as a whole, no more
        are begun: Redis is away, or refuses this client."""
        for part in _parts(self._commands):
            exchange = Exchange(part)
            yield exchange
            self._results += exchange.results
            self._error = exchange.error
            if self._error is not None:
                return

    def each(self) -> list[Published | PublishError]:
        """What befell each event, in order."""
        unsent = len(self._commands) - len(self._results)
        if self._error is None or not unsent:
            return list(self._results)
        error = type(self._error)(f"not sent, because of the events before: {self._error}")
        return self._results + [error] * unsent

    def results(self) -> list[Published]:
        """All results, in order. When nothing at all was answered, raises what befell the call
        (`RedisUnreachable`, `RedisRefused`), else `BatchFailed` if any of the events failed."""
        if self._error is not None and all(result is self._error for result in self._results):
            raise self._error
        results = self.each()
        published = [result for result in results if isinstance(result, Published)]
        if len(published) < len(results):
            raise BatchFailed(results) from self._error
        return published


def _parts(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    start = size_bytes = 0
    for index, command in enumerate(commands):
        size_bytes += command.size_bytes
        if index + 1 - start == MAX_REQUEST_EVENTS or size_bytes >= MAX_REQUEST_BYTES:
            yield commands[start : index + 1]
            start, size_bytes = index + 1, 0
    if start < len(commands):
        yield commands[start:]
