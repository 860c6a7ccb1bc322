"""The native EventSource of Chromium against a gateway that is killed under it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from publisher import AsyncPublisher
from publisher.ids import EventId
from tests.browser.adversarial import DATA, TYPES, received
from tests.browser.page_source import CLOSED, OPEN, PageSource
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.browser.conftest import ServePage
    from tests.conftest import StartGateway
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

RETRY_MS = 40
KILLS = 10
EVENTS_PER_SECOND = 200


def events_url(gateway: GatewayProcess, *channels: str, **parameters: str) -> str:
    query = [*(("channel", channel) for channel in channels), *parameters.items()]
    return f"{gateway.events_url}?{urlencode(query)}"


def data_of(source: PageSource) -> list[str]:
    return [event.data for event in source.messages]


async def more_messages(source: PageSource, count: int) -> None:
    """Until `count` more events than now have arrived."""
    await source.refresh()
    wanted = len(source.messages) + count
    await source.until(lambda: len(source.messages) >= wanted)


async def kill_and_restart(gateway: GatewayProcess) -> None:
    """SIGKILL, then a new process on the same ports; this loop goes on in the meantime."""
    await asyncio.to_thread(gateway.restart, crash=True)


@pytest.fixture
def gateway(request: pytest.FixtureRequest, start_gateway: StartGateway) -> GatewayProcess:
    return start_gateway(retry_ms=RETRY_MS, compression=getattr(request, "param", "off"))


@pytest.fixture
def publisher(redis_server: RedisServer, prefix: str) -> AsyncPublisher:
    """For `async with publisher`, on the loop of the test."""
    return AsyncPublisher(redis_server.url, prefix=prefix)


@pytest.mark.parametrize("gateway", ["off", "gzip"], indirect=True)
async def test_data_of_every_kind_arrives_as_the_standard_says(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a"))
    await source.live()
    assert source.of_type("fanlight.open")[0].data == '{"resumed":false}'
    async with publisher:
        published = [await publisher.publish("a", data) for data in DATA]
    await source.until(lambda: len(source.messages) >= len(DATA))
    assert data_of(source) == [received(data) for data in DATA]
    assert [event.id for event in source.messages] == [each.id for each in published]
    assert {event.type for event in source.messages} == {"message"}
    assert source.errors == 0


async def test_named_types(page: Page, gateway: GatewayProcess, publisher: AsyncPublisher) -> None:
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a"), types=TYPES)
    await source.live()
    async with publisher:
        for number, type_ in enumerate(TYPES):
            await publisher.publish("a", {"number": number}, type=type_)
    await source.until(lambda: len(source.messages) >= len(TYPES))
    seen = [(event.type, json.loads(event.data)["number"]) for event in source.messages]
    assert seen == [(type_, number) for number, type_ in enumerate(TYPES)]


async def test_an_event_of_a_type_that_nobody_asked_for_disturbs_nothing(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a"))
    await source.live()
    async with publisher:
        await publisher.publish("a", "unheard", type="other")
        after = await publisher.publish("a", "heard")
    await source.until(lambda: source.messages)
    assert [(event.data, event.id) for event in source.messages] == [("heard", after.id)]


@pytest.mark.parametrize("gateway", ["off", "gzip"], indirect=True)
async def test_resumes_after_a_kill_without_a_hole(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a", "b"))
    await source.live()
    async with publisher:
        await publisher.publish("a", "before")
        await source.until(lambda: source.messages)
        gateway.kill()
        for number in range(50):
            await publisher.publish("ab"[number % 2], f"while it was down {number}")
        await asyncio.to_thread(gateway.start)
        await source.live(times=2)
        await publisher.publish("b", "after")
    await source.until(lambda: data_of(source)[-1:] == ["after"])
    assert data_of(source) == ["before", *(f"while it was down {number}" for number in range(50)), "after"]
    assert source.of_type("fanlight.open")[1].data == '{"resumed":true}'
    assert source.of_type("fanlight.gap") == []


async def test_resumes_after_a_kill_before_its_first_event(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    """`fanlight.open` has an id: it alone is enough to resume from."""
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a"))
    await source.live()
    gateway.kill()
    async with publisher:
        await publisher.publish("a", "while it was down")
    await asyncio.to_thread(gateway.start)
    await source.live(times=2)
    assert data_of(source) == ["while it was down"]
    assert source.of_type("fanlight.gap") == []


async def test_a_malformed_cursor_is_told_as_a_gap_once(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a", last_event_id="no id of ours"))
    await source.live()
    gap = json.loads(source.of_type("fanlight.gap")[0].data)
    position = source.of_type("fanlight.open")[0].id
    assert gap == {"channel": None, "reason": "unknown_cursor", "from": None, "to": position}
    assert [event.type for event in source.events] == ["fanlight.gap", "fanlight.open"]

    # The browser reconnects with the same query; its header wins, so the gap is not told again.
    await kill_and_restart(gateway)
    await source.live(times=2)
    async with publisher:
        await publisher.publish("a", "after")
    await source.until(lambda: data_of(source) == ["after"])
    assert len(source.of_type("fanlight.gap")) == 1
    assert source.of_type("fanlight.open")[1].data == '{"resumed":true}'


async def test_a_trimmed_stream_is_told_as_a_gap(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher, redis_server: RedisServer, prefix: str
) -> None:
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, "a", "quiet"))
    await source.live()
    async with publisher:
        await publisher.publish("a", "seen")
        await source.until(lambda: source.messages)
        cursor = source.messages[-1].id
        gateway.kill()
        published = [await publisher.publish("a", str(number), retention_events=10) for number in range(500)]
    await asyncio.to_thread(gateway.start)
    await source.live(times=2)

    gap, *others = source.of_type("fanlight.gap")
    assert others == []
    assert gap.id == cursor, "a cut after it must tell it again"
    told = json.loads(gap.data)
    assert (told["channel"], told["reason"], told["from"]) == ("a", "trimmed", cursor)
    order = [event.type for event in source.events]
    assert order.index("fanlight.gap") == 2, "it stands before the events behind it"

    # What it says is exact: everything up to `to` is missing, everything after it is there.
    ids = [each.id for each in published]
    kept = [event.id for event in source.messages[1:]]
    first_kept = ids.index(kept[0])
    assert 0 < first_kept < len(ids)
    assert kept == ids[first_kept:]
    assert told["to"] == ids[first_kept - 1]


@pytest.mark.parametrize("gateway", ["off", "gzip"], indirect=True)
async def test_a_streamed_answer_that_is_cut_completes_and_stops_the_browser(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    words = [f"word{number} " for number in range(60)]
    url = events_url(gateway, "answer.1")
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status) if response.url == url else None)
    await page.goto(gateway.url)
    source = await PageSource.follow(page, url, types=["metadata"])
    await source.live()
    async with publisher:
        for number, word in enumerate(words):
            if number == 20:
                await source.until(lambda: source.of_type("message"), what="the answer has begun")
                gateway.kill()
            if number == 40:
                await asyncio.to_thread(gateway.start)
            await publisher.publish("answer.1", word)
            if number % 10 == 0:
                await publisher.publish("answer.1", {"words": number}, type="metadata")
        end = await publisher.close("answer.1")
    await source.until(lambda: source.ready_state == CLOSED, what="readyState is CLOSED")

    assert [event.data for event in source.of_type("message")] == words
    assert [json.loads(event.data)["words"] for event in source.of_type("metadata")] == list(range(0, 60, 10))
    [ended] = source.of_type("fanlight.end")
    assert (json.loads(ended.data), ended.id) == ({"channel": "answer.1"}, end.id)
    assert source.of_type("fanlight.gap") == []
    # CLOSED is final: an EventSource that would try again is CONNECTING.
    assert statuses[-1] == 204
    assert set(statuses[:-1]) == {200}


async def test_six_channels_on_one_connection(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher
) -> None:
    channels = [f"channel-{number}" for number in range(6)]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, *channels))
    await source.live()
    async with publisher:
        published = [await publisher.publish(channels[number % 6], number) for number in range(120)]
    await source.until(lambda: len(source.messages) >= 120)
    assert [(event.data, event.id) for event in source.messages] == [
        (str(number), each.id) for number, each in enumerate(published)
    ]
    assert len(asked) == 1
    assert b"\nfanlight_streams_open 1.0\n" in gateway.admin_get("/metrics")[1]


async def test_a_compressed_stream_arrives_as_it_is_written_and_may_end(
    page: Page, serve_page: ServePage, start_gateway: StartGateway, publisher: AsyncPublisher
) -> None:
    """Each event is awaited before the next is published, over streams that end at their age."""
    origin = await serve_page()
    gateway = start_gateway(
        retry_ms=RETRY_MS,
        compression="gzip",
        max_stream_age_seconds=0.5,
        heartbeat_seconds=0.1,
        allowed_origins=[origin],
    )
    url = events_url(gateway, "a")
    await page.goto(origin)
    async with page.expect_response(url) as response:
        source = await PageSource.follow(page, url)
    headers = await (await response.value).all_headers()
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Origin, Accept-Encoding"
    await source.live()
    published: list[str] = []
    async with publisher:
        while len(source.of_type("fanlight.open")) < 4:
            published.append((await publisher.publish("a", f"{len(published)} " * 50)).id)
            await source.until(lambda: len(source.messages) == len(published))
    assert [event.id for event in source.messages] == published
    assert source.of_type("fanlight.gap") == []
    assert b'fanlight_streams_closed_total{reason="max_age"}' in gateway.admin_get("/metrics")[1]


async def test_cors_with_credentials(
    page: Page, serve_page: ServePage, start_gateway: StartGateway, publisher: AsyncPublisher
) -> None:
    """From the one origin that is allowed, cookies included, over a resume."""
    origin = await serve_page()
    gateway = start_gateway(retry_ms=RETRY_MS, allowed_origins=["https://app.example.com", origin])
    await page.context.add_cookies([{"name": "session", "value": "secret", "url": gateway.url}])
    url = events_url(gateway, "a")
    cookies: list[str] = []

    async with publisher:
        await page.goto(origin)
        async with page.expect_response(url) as response:
            source = await PageSource.follow(page, url, with_credentials=True)
        headers = await (await response.value).all_headers()
        cookies.append((await (await response.value).request.all_headers()).get("cookie", ""))
        await source.live()
        await publisher.publish("a", "before")
        await source.until(lambda: source.messages)
        gateway.kill()
        await publisher.publish("a", "while it was down")
        await asyncio.to_thread(gateway.start)
        await source.live(times=2)

    assert headers["access-control-allow-origin"] == origin
    assert headers["access-control-allow-credentials"] == "true"
    assert "Origin" in headers["vary"]
    assert cookies == ["session=secret"]
    assert data_of(source) == ["before", "while it was down"]
    assert source.of_type("fanlight.open")[1].data == '{"resumed":true}'


@pytest.mark.parametrize("with_credentials", [True, False])
async def test_another_origin_is_refused(
    page: Page, serve_page: ServePage, start_gateway: StartGateway, with_credentials: bool
) -> None:
    """It sees nothing, and its EventSource gives up."""
    allowed, other = await serve_page(), await serve_page()
    gateway = start_gateway(retry_ms=RETRY_MS, allowed_origins=[allowed])
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await page.goto(other)
    source = await PageSource.follow(page, events_url(gateway, "a"), with_credentials=with_credentials)
    await source.until(lambda: source.ready_state == CLOSED)
    assert (source.events, source.opens, source.errors) == ([], 0, 1)
    await aeventually(lambda: any("CORS policy" in text for text in said), what="the reason in the console")


async def test_fetch_may_send_the_last_event_id_across_origins(
    page: Page, serve_page: ServePage, start_gateway: StartGateway, publisher: AsyncPublisher
) -> None:
    """An EventSource sends its cursor without asking; for clients built on fetch it takes a preflight."""
    origin = await serve_page()
    gateway = start_gateway(allowed_origins=[origin])
    async with publisher:
        first = await publisher.publish("a", "first")
        await publisher.publish("a", "second")
        await publisher.close("a")
    await page.goto(origin)
    ask = """
    ([url, cursor]) => fetch(url, { headers: { "Last-Event-ID": cursor }, credentials: "include" })
      .then((response) => response.text(), (error) => String(error))
    """
    url = events_url(gateway, "a")
    body: str = await page.evaluate(ask, [url, first.id])
    assert "data: second\n" in body
    assert "data: first\n" not in body

    await page.goto(await serve_page())
    assert "Failed to fetch" in await page.evaluate(ask, [url, first.id])


class NumberedEvents:
    """Publishes 1, 2, 3, ... to each of several channels in turn, at a rate, until it is stopped."""

    def __init__(self, publisher: AsyncPublisher, channels: list[str], events_per_second: int) -> None:
        self._publisher = publisher
        self._channels = channels
        self._interval_seconds = 1 / events_per_second
        self._stopping = False
        self.published = 0
        self.seconds = 0.0

    async def run(self) -> None:
        """A publish that is late is made up for: the rate holds over the whole run."""
        started = time.monotonic()
        while not self._stopping:
            due = started + self.published * self._interval_seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.publish()
        self.seconds = time.monotonic() - started

    async def publish(self) -> None:
        number, which = divmod(self.published, len(self._channels))
        channel = self._channels[which]
        await self._publisher.publish(channel, f"{channel} {number + 1}")
        self.published += 1

    def stop(self) -> None:
        self._stopping = True


async def test_three_channels_miss_and_repeat_nothing_over_ten_kills(
    page: Page, gateway: GatewayProcess, publisher: AsyncPublisher, capsys: pytest.CaptureFixture[str]
) -> None:
    channels = ["prices", "orders", "news"]
    await page.goto(gateway.url)
    source = await PageSource.follow(page, events_url(gateway, *channels))
    await source.live()
    async with publisher:
        events = NumberedEvents(publisher, channels, EVENTS_PER_SECOND)
        publishing = asyncio.create_task(events.run())
        await more_messages(source, 1)
        for kill in range(KILLS):
            await kill_and_restart(gateway)
            # Every other kill comes as soon as anything has arrived, be it in the middle of the replay.
            await more_messages(source, 1 if kill % 2 else EVENTS_PER_SECOND)
            assert not publishing.done()
        events.stop()
        await publishing
        # Order is total over the channels: once the last event is there, nothing older is on its way.
        while events.published % len(channels):
            await events.publish()
        last = f"{channels[-1]} {events.published // len(channels)}"
        await source.until(lambda: data_of(source)[-1:] == [last])
        await publisher.publish(channels, "the end")
        await source.until(lambda: data_of(source)[-len(channels) :] == ["the end"] * len(channels))

    numbers: dict[str, list[int]] = defaultdict(list)
    for event in source.messages[: -len(channels)]:
        channel, number = event.data.split(" ")
        numbers[channel].append(int(number))
    each = events.published // len(channels)
    assert numbers == {channel: list(range(1, each + 1)) for channel in channels}
    positions = [EventId.parse(event.id).position for event in source.messages]
    assert all(before < after for before, after in itertools.pairwise(positions))
    assert source.of_type("fanlight.gap") == []
    assert source.ready_state == OPEN
    assert source.opens >= KILLS + 1
    assert events.published > KILLS // 2 * EVENTS_PER_SECOND  # the kills that waited for so many
    rate = events.published / events.seconds
    with capsys.disabled():
        print(
            f"\n  {KILLS} kills in {events.seconds:.1f} s: {events.published} events on {len(channels)} "
            f"channels ({rate:.0f}/s), {source.opens - 1} reconnects, {source.errors} failed or broken "
            "connections; nothing missed, repeated or out of order"
        )
