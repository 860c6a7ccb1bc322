"""Popular clients that are not ours decode real streams of the gateway, cut into the worst of pieces.

Each runs in a process and a test of its own, behind a proxy that keeps what it passed on. What a client must
report is what a parser by the letter of the standard makes of these very bytes.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import sys
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from publisher import AsyncPublisher
from publisher import Event as Publication
from tests.browser.adversarial import BOM, DATA, TYPES, received
from tests.browser.requirements import require
from tests.browser.tcp_proxy import TcpProxy, as_it_comes, at_random_places, byte_by_byte
from tests.support.gateway_process import GatewayProcess
from tests.support.sse import SseConnection
from tests.support.sse_parser import Event
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.browser.tcp_proxy import Passage, Splitter
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FROM_PYPI = ["httpx-sse", "sseclient-py"]
FROM_NPM = ["eventsource", "fetch-event-source"]
CLIENTS = [*FROM_PYPI, *FROM_NPM]
SYSTEM_TYPES = ["fanlight.open", "fanlight.gap", "fanlight.end"]

SEED = 20_260
DELIVERIES: Mapping[str, tuple[Callable[[], Splitter], str]] = {
    "as it comes": (lambda: as_it_comes, ""),
    "byte by byte": (lambda: byte_by_byte, ""),
    "at random places": (lambda: at_random_places(random.Random(SEED)), ""),
    "enveloped, byte by byte": (lambda: byte_by_byte, "&envelope=json"),
    "compressed": (lambda: as_it_comes, ""),
    "compressed, byte by byte": (lambda: byte_by_byte, ""),
    "compressed, at random places": (lambda: at_random_places(random.Random(SEED)), ""),
}
"""How the answer is cut, and what is added to the query. The name says which gateway it comes from: all
these clients ask for gzip by themselves."""


def seen_by_fetch_event_source(event: Event) -> Event:
    """Its deviations from the standard, all in `getMessages` of its src/parse.ts (2.0.1, the last one).

    - Leading empty lines of data are lost: a line is joined to those before it by a newline only where
      these are not the empty string, which is also what an empty first line leaves.
    - A byte order mark at the start of a value is lost: every value is decoded by a TextDecoder of its
      own message, and that strips one at the start of each call.

    No other encoding of such an event exists, so the gateway can't avoid it; with `envelope=json` the
    data never begins with either, and arrives whole. (A type would still lose its mark.)
    """
    data = ""
    for line in event.data.split("\n"):
        line = line.removeprefix(BOM)
        data = f"{data}\n{line}" if data else line
    return Event(event.type.removeprefix(BOM), data, event.id)


def as_dispatched(event: Event) -> Event:
    return event


DEVIATIONS: Mapping[str, Callable[[Event], Event]] = {"fetch-event-source": seen_by_fetch_event_source}
"""What a client makes of an event where that is not what the standard says. The others have none."""


def is_installed(name: str) -> bool:
    return name in FROM_PYPI or (shutil.which("node") is not None and (HERE / "node_modules").exists())


def need(name: str) -> None:
    found = "it is" if is_installed(name) else None
    require(found, f"{name}: node and npm (Debian, Ubuntu: apt install nodejs npm), then make node-clients")


def command(name: str, url: str) -> list[str]:
    if name in FROM_PYPI:
        return [sys.executable, "-m", "tests.browser.clients", name, url]
    return ["node", str(HERE / "clients.mjs"), name, url, json.dumps([*SYSTEM_TYPES, *TYPES])]


class Client:
    """A client's process, for an `async with`. It ends by itself when the gateway answers 204."""

    def __init__(self, name: str, url: str) -> None:
        self._command = command(name, url)

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        self._reading = asyncio.create_task(self._process.communicate())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._reading

    async def reported(self, *, seconds: float = 60) -> list[Event]:
        """Wait for its end; all that it reported."""
        async with asyncio.timeout(seconds):
            output, errors = await asyncio.shield(self._reading)
        assert self._process.returncode == 0, errors.decode(errors="replace")
        return [Event(*json.loads(line)) for line in output.splitlines()]


@pytest.fixture(scope="module")
def foreign_prefix() -> str:
    """The module's own: side by side with others, its fixtures may be made more than once in a process."""
    return f"foreign{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def gateways(redis_server: RedisServer, foreign_prefix: str) -> Iterator[Mapping[bool, GatewayProcess]]:
    """One that compresses, and one that does not."""
    with ExitStack() as started:
        yield {
            compressed: started.enter_context(
                GatewayProcess(
                    redis_url=redis_server.url,
                    prefix=foreign_prefix,
                    retry_ms=1,
                    heartbeat_seconds=0.05,
                    compression="gzip" if compressed else "off",
                )
            )
            for compressed in (False, True)
        }


@pytest.fixture(scope="module")
def gateway(gateways: Mapping[bool, GatewayProcess]) -> GatewayProcess:
    return gateways[False]


@dataclass(frozen=True, slots=True)
class Run:
    """One client behind one proxy: what was passed on, and what it made of it."""

    passages: list[Passage]
    reported: list[Event]


class Follow:
    """Has a client follow a channel of adversarial events, in one delivery, until the channel is closed."""

    def __init__(self, redis_url: str, prefix: str, gateways: Mapping[bool, GatewayProcess]) -> None:
        self._redis_url = redis_url
        self._prefix = prefix
        self._gateways = gateways

    async def __call__(self, name: str, delivery: str) -> Run:
        need(name)
        split, query = DELIVERIES[delivery]
        gateway = self._gateways["compressed" in delivery]
        channel = channel_of(name, delivery)
        async with (
            AsyncPublisher(self._redis_url, prefix=self._prefix) as publisher,
            TcpProxy(gateway.port, split()) as proxy,
        ):
            await publisher.publish(channel, "before")
            url = f"{proxy.url}/events?channel={channel}&last_event_id=malformed{query}"
            async with Client(name, url) as client:

                async def heartbeat() -> None:
                    """Until the stream has had one more."""
                    comments = proxy.passages[0].parser.comments
                    before = len(comments)
                    await aeventually(lambda: len(comments) > before)

                await aeventually(
                    lambda: proxy.passages and proxy.passages[0].events[1:], what="it has got fanlight.open"
                )
                await heartbeat()
                for number, data in enumerate(DATA):
                    await publisher.publish(channel, data)
                    if number % 10 == 0:
                        await heartbeat()
                await publisher.publish_many(
                    Publication(channel=channel, data=type_, type=type_) for type_ in TYPES
                )
                await heartbeat()
                await publisher.close(channel)
                reported = await client.reported()
        return Run(proxy.passages, reported)


@pytest.fixture
def follow(redis_server: RedisServer, foreign_prefix: str, gateways: Mapping[bool, GatewayProcess]) -> Follow:
    return Follow(redis_server.url, foreign_prefix, gateways)


def channel_of(name: str, delivery: str) -> str:
    return f"{name}-{re.sub('[^a-z]+', '-', delivery)}"


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("name", CLIENTS)
async def test_reports_what_the_standard_says(name: str, delivery: str, follow: Follow) -> None:
    run = await follow(name, delivery)
    stream, *others = run.passages
    assert (stream.status, [other.status for other in others]) == (200, [204])
    assert (stream.gzip is not None) is ("compressed" in delivery)
    assert stream.gzip is None or stream.gzip.ended
    seen = DEVIATIONS.get(name, as_dispatched)
    assert run.reported == [seen(event) for event in stream.events]
    expect_adversarial(stream, channel_of(name, delivery) if "enveloped" in delivery else None)
    if "enveloped" in delivery:  # data that a careless client would damage reaches it whole
        messages = [event for event in run.reported if event.type == "message"]
        assert [json.loads(event.data)["data"] for event in messages[: len(DATA)]] == DATA


def expect_adversarial(stream: Passage, enveloped_from: str | None) -> None:
    """What the strict parser saw, which the clients are measured by, is what was published."""
    types = [event.type for event in stream.events]
    assert types == ["fanlight.gap", "fanlight.open", *["message"] * len(DATA), *TYPES, "fanlight.end"]
    data = [event.data for event in stream.events[2:-1]]
    if enveloped_from is not None:
        envelopes = [{"channel": enveloped_from, "data": each} for each in [*DATA, *TYPES]]
        assert [json.loads(each) for each in data] == envelopes
    else:
        assert data == [received(each) for each in [*DATA, *TYPES]]
    parser = stream.parser
    assert len(parser.comments) > len(DATA) / 10
    assert (parser.retry_ms, parser.blocks_without_data, parser.carriage_returns) == (1, 0, 0)
    assert parser.unknown_fields == []


async def test_there_is_data_that_a_careless_client_damages() -> None:
    damaged = [each for each in DATA if seen_by_fetch_event_source(Event("", each, "")).data != each]
    assert len(damaged) >= 5


EVENTS = 60
_FIRST = {
    False: b"9\r\nretry: 1\n\r\n",
    True: b"a\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff\r\ne\r\n\0\x09\0\xf6\xffretry: 1\n\r\n",
}
"""What a stream begins with: the header of gzip if it is compressed, and the reconnection time."""
_COMMITTED_ONLY = re.compile(rb"\nid: (\S+)\n\Z")


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_cut_behind_any_byte_loses_and_repeats_nothing(
    name: str,
    compressed: bool,
    gateways: Mapping[bool, GatewayProcess],
    redis_server: RedisServer,
    foreign_prefix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every connection is cut a byte later than the one before: behind every byte of a stream's first
    block, of its second, ... Only `retry:` is left whole: clients have seconds of their own until then.

    One deviation: fetch-event-source takes an event's id when it has parsed the line, not when it
    dispatches the event. Where the cut comes between that line and the blank line behind it, it resumes
    from an event that it has not reported. The id is the last line of the block, so that this is one
    byte of the stream and no more; no order of the fields avoids it.

    Compressed, a cut may come within a unit: the client has the events before it, and resumes from there.
    """
    need(name)
    channel = f"cut-{name}-{compressed}"
    async with AsyncPublisher(redis_server.url, prefix=foreign_prefix) as publisher:
        start = await publisher.publish(channel, "start")
        published = await publisher.publish_many(
            Publication(channel=channel, data=f"event {number}\nof {EVENTS}") for number in range(EVENTS)
        )
        await publisher.close(channel)
    async with TcpProxy(gateways[compressed].port, cut_from_bytes=len(_FIRST[compressed])) as proxy:
        url = f"{proxy.url}/events?channel={channel}&last_event_id={start.id}"
        async with Client(name, url) as client:
            reported = await client.reported()

    assert all(passage.wire.startswith(_FIRST[compressed]) for passage in proxy.passages[:-1])
    assert all((passage.gzip is not None) is compressed for passage in proxy.passages[:-1])
    messages = [(event.data, event.id) for event in reported if event.type == "message"]
    expected = [(f"event {number}\nof {EVENTS}", each.id) for number, each in enumerate(published)]
    lost = [each for each in expected if each not in messages]
    assert messages == [each for each in expected if each not in lost]
    assert {event.type for event in reported} <= {"message", "fanlight.open", "fanlight.end"}
    may_lose = {
        match[1].decode() for passage in proxy.passages if (match := _COMMITTED_ONLY.search(passage.body))
    }
    assert may_lose or compressed, "no cut came where it is worst"
    assert {id_ for _, id_ in lost} <= (may_lose if name == "fetch-event-source" else set())
    assert proxy.passages[-1].status == 204
    with capsys.disabled():
        print(f"\n  {name}: {len(proxy.passages)} connections, {len(lost)} of {EVENTS} events lost")


async def test_the_stream_says_that_its_connection_ends_with_it(gateway: GatewayProcess) -> None:
    """Clients with a pool, and proxies, must not send their next request on it (RFC 9112, section 9.6)."""
    async with await SseConnection.open(f"{gateway.events_url}?channel=any") as connection:
        assert connection.headers["connection"] == "close"
        assert connection.chunked is not None


async def test_the_lock_file_names_no_registry() -> None:
    lock = (HERE / "package-lock.json").read_text()
    assert "://" not in lock
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')
