"""Wait for a condition, with a deadline: tests never sleep and hope."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 30.0
"""For what takes a moment on a machine of one's own. A test that passes never waits for it."""


def eventually(predicate: Callable[[], T], *, seconds: float = PATIENCE_SECONDS, what: str = "") -> T:
    """Call `predicate` until its answer is true, and return that answer.

    AssertionError after `seconds`, with the last answer; what the predicate raises passes through.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + seconds
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(_message(predicate, value, seconds, what))
        time.sleep(POLL_SECONDS)
    return value


@overload
async def aeventually(
    predicate: Callable[[], Awaitable[T]], *, seconds: float = PATIENCE_SECONDS, what: str = ""
) -> T: ...
@overload
async def aeventually(
    predicate: Callable[[], T], *, seconds: float = PATIENCE_SECONDS, what: str = ""
) -> T: ...
async def aeventually(
    predicate: Callable[[], T | Awaitable[T]], *, seconds: float = PATIENCE_SECONDS, what: str = ""
) -> T:
    """`eventually` for a coroutine: the predicate may be a plain or an async function.

    The deadline also bounds a single call of an async predicate that hangs.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + seconds
    last: object = "no answer yet"
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            try:
                async with asyncio.timeout_at(_loop_time(deadline)) as scope:
                    value: T = await answer
            except TimeoutError:
                if not scope.expired():
                    raise
                raise AssertionError(_message(predicate, last, seconds, what)) from None
        else:
            value = answer
        if value:
            return value
        last = value
        if time.monotonic() >= deadline:
            raise AssertionError(_message(predicate, last, seconds, what))
        await asyncio.sleep(POLL_SECONDS)


def _loop_time(monotonic: float) -> float:
    """A `time.monotonic` instant on the running loop's clock (uvloop has its own)."""
    return asyncio.get_running_loop().time() + (monotonic - time.monotonic())


def _message(predicate: object, value: object, seconds: float, what: str) -> str:
    name = what or getattr(predicate, "__qualname__", repr(predicate))
    shown = repr(value)
    if len(shown) > 2000:
        shown = f"{shown[:1000]} ... {shown[-1000:]}"
    return f"not true after {seconds:g} s: {name}; the last value was {shown}"
