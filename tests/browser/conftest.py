"""Chromium, driven through playwright's async API, and pages for it to be on.

Everything asynchronous here lives on the session's event loop: the browser outlasts a test. Playwright's
sync API would leave a running loop behind in this thread, in which no other async test could run.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest_asyncio
from playwright.async_api import async_playwright

from tests.browser.requirements import CHROMIUM_ARGUMENTS, installed_chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Protocol

    from playwright.async_api import Browser, Page

    class ServePage(Protocol):
        async def __call__(self) -> str: ...


_EMPTY_PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    b"<!doctype html>"
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for the whole run."""
    executable = installed_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page in a context of its own (cookies, cache). The test fails on an error in its scripts."""
    errors: list[str] = []
    async with await browser.new_context() as context:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def serve_page() -> AsyncIterator[ServePage]:
    """`await serve_page()`: a new origin on the loopback interface, with an empty page at every path."""
    async with AsyncExitStack() as servers:

        async def serve() -> str:
            server = await asyncio.start_server(_answer, "127.0.0.1", 0)
            await servers.enter_async_context(server)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield serve


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # a browser connects ahead of need
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_EMPTY_PAGE)
        await writer.drain()
    writer.close()
