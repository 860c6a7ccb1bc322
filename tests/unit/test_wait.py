"""Waiting must end: with the answer, or at the deadline with what was seen last."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.support.wait import aeventually, eventually


def test_the_first_true_answer_is_returned() -> None:
    numbers = itertools.count()
    assert eventually(lambda: next(numbers) // 3) == 1
    assert next(numbers) == 4


def test_the_deadline_shows_the_last_value() -> None:
    with pytest.raises(AssertionError, match=r"0\.05 s: the answer.*\[\]"):
        eventually(list[int], seconds=0.05, what="the answer")


def test_what_the_predicate_raises_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0)


async def test_predicates_may_be_plain_or_async() -> None:
    numbers = itertools.count()

    async def third() -> int:
        return next(numbers) // 3

    assert await aeventually(third) == 1
    assert await aeventually(lambda: next(numbers) // 6) == 1


async def test_an_async_predicate_that_hangs_meets_the_deadline() -> None:
    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(AssertionError, match="hang"):
        await aeventually(hang, seconds=0.05)


async def test_a_timeout_of_the_predicate_is_its_own() -> None:
    async def fail() -> bool:
        raise TimeoutError("the predicate's")

    with pytest.raises(TimeoutError, match="the predicate's"):
        await aeventually(fail)
