"""The body of a request, which takes as long as its sender likes: but not for longer than a limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web


class BodyTooSlow(Exception):
    """It has not come in time. What is still to come of it is not waited for."""


async def read_body(request: web.Request, seconds: float) -> bytes:
    """All of it. Raises `BodyTooSlow`, and aiohttp's HTTPRequestEntityTooLarge."""
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise BodyTooSlow from None
