"""HTTP/2 from Chromium to the shipped proxies: more streams of an origin than HTTP/1.1 has connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publisher import AsyncPublisher
from tests.browser.page_source import PageSource
from tests.support.certificates import Authority
from tests.support.proxies import Backend
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

    from tests.conftest import StartGateway
    from tests.support.proxies import ReverseProxy
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAMS = 12
"""Over HTTP/1.1 a browser has six connections to an origin."""


async def test_many_streams_of_one_origin(
    proxy_kind: type[ReverseProxy],
    browser: Browser,
    start_gateway: StartGateway,
    redis_server: RedisServer,
    prefix: str,
    tmp_path: Path,
) -> None:
    Authority(tmp_path / "ca.pem").issue(tmp_path / "server.pem", "127.0.0.1")
    gateway = start_gateway(demo=True)
    backends = [Backend(gateway.port, gateway.admin_port)] * 2
    with proxy_kind(backends, certificate=tmp_path / "server.pem") as proxy:
        async with await browser.new_context(ignore_https_errors=True) as context:
            page = await context.new_page()
            await page.goto(f"{proxy.tls_url}/demo/demo.css")
            sources = [
                await PageSource.follow(page, f"{proxy.tls_url}/events?channel=c{number}")
                for number in range(STREAMS)
            ]
            for source in sources:
                await source.live()
            async with AsyncPublisher(redis_server.url, prefix=prefix) as publisher:
                published = [await publisher.publish(f"c{number}", str(number)) for number in range(STREAMS)]
            for number, source in enumerate(sources):
                await source.until(lambda: source.messages)  # noqa: B023
                assert [(e.id, e.data) for e in source.messages] == [(published[number].id, str(number))]
            protocols = await page.evaluate(
                "performance.getEntriesByType('navigation').map((entry) => entry.nextHopProtocol)"
            )
            assert protocols == ["h2"]
        await aeventually(lambda: b"fanlight_streams_open 0.0" in gateway.admin_get("/metrics")[1])
