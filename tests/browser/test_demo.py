"""The demo page and the examples, driven in Chromium against a real `fanlight dev`.

The page says a lot about itself ("all replayed, in order"), so each claim is checked against what
Redis holds, not against another claim of the page.
"""

from __future__ import annotations

import functools
import re
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gateway.dev.texts import choose, split_words
from publisher import Publisher
from publisher.channels import Partition, validate_channel
from tests.browser.requirements import CHROMIUM_ARGUMENTS, installed_chromium
from tests.support.fork_server import ROOT, run_fanlight
from tests.support.processes import free_port, reap
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Process
    from tests.support.redis_server import RedisServer

ID = re.compile(r"\d+-\d+-[0-9a-f]{6}")
LINE_MS = 30_000
expect.set_options(timeout=LINE_MS)


class DevGateway:
    """`fanlight dev` on free ports and a Redis of the test's own."""

    def __init__(self, redis: RedisServer, *flags: str) -> None:
        self.redis = redis
        self._client = redis.client()
        self.url = f"http://127.0.0.1:{free_port()}"
        self._admin_port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="fanlight-dev-")
        self._log = Path(self._directory.name) / "dev.log"
        self._flags = [
            f"--port={self.url.rpartition(':')[2]}",
            f"--admin-port={self._admin_port}",
            "--host=127.0.0.1",
            f"--redis-url={redis.url}",
            *flags,
        ]
        self._process: Process | None = None

    def start(self) -> None:
        process = self._process = run_fanlight(["dev", *self._flags], log=self._log)
        eventually(lambda: process.poll() is not None or self._ready(), what="fanlight dev")
        assert process.poll() is None, self._log.read_text(errors="replace")

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            reap(self._process, seconds=20)

    def close(self) -> None:
        self.kill()
        self._directory.cleanup()

    def stored(self, channel: str) -> list[str]:
        """The ids of the channel's events, as Redis has them: `<ms>-<seq>`, in order."""
        reply: Any = self._client.xrange(Partition().stream(validate_channel(channel)))
        return [id_.decode() for id_, _ in reply]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


@contextmanager
def running(redis: RedisServer, *flags: str) -> Iterator[DevGateway]:
    gateway = DevGateway(redis, *flags)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()


@pytest.fixture
def dev(own_redis: RedisServer) -> Iterator[DevGateway]:
    with running(own_redis) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed_chromium(), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in a context of its own. The test fails on an error in its scripts."""
    errors: list[str] = []
    with chromium.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        page = context.new_page()
        page.set_default_timeout(LINE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert errors == []


@pytest.fixture
def demo(page: Page, dev: DevGateway) -> Page:
    """The demo page, live and allowed to publish."""
    page.goto(dev.url)
    live(page)
    expect(page.locator("#publish button[type=submit]")).to_be_enabled()
    return page


def live(page: Page) -> None:
    """Until an event has arrived that was not replayed."""
    page.locator("#events tr[data-channel=clock]:not([data-replayed])").first.wait_for()


def shown(page: Page, channel: str) -> list[str]:
    """The ids in the page's list for a channel, the oldest first, without their epochs."""
    ids: list[str] = page.eval_on_selector_all(
        f"#events tr[data-channel='{channel}']", "rows => rows.map((row) => row.dataset.id).reverse()"
    )
    return [id_.rpartition("-")[0] for id_ in ids]


def test_the_clock_arrives_with_id_and_latency(demo: Page, dev: DevGateway) -> None:
    row = demo.locator("#events tr[data-channel=clock]:not([data-replayed])").first
    expect(row.locator(".data")).to_have_text(re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"))
    expect(row.locator(".id .whole")).to_have_text(ID)
    expect(row.locator(".delay")).to_have_text(re.compile(r"^<?\d[\d.]* (ms|s)$"))
    expect(demo.locator("html")).to_have_attribute("data-state", "connected")
    position = shown(demo, "clock")[-1]
    assert position in dev.stored("clock")


def test_what_is_published_comes_back(demo: Page, dev: DevGateway) -> None:
    text = 'two lines,\n{"and": "ünïcödé 🚪"}'
    demo.fill("#publish [name=data]", text)
    demo.fill("#publish [name=type]", "order.paid")
    demo.click("#publish button[type=submit]")
    row = demo.locator("#events tr[data-channel=demo]")
    expect(row.locator(".data div")).to_have_text(text, use_inner_text=True)
    expect(row.locator(".type")).to_have_text("order.paid")
    expect(demo.locator("#publish output")).to_contain_text("back in this page")
    assert shown(demo, "demo") == dev.stored("demo")


def test_an_event_from_elsewhere_on_a_channel_that_is_added(demo: Page, dev: DevGateway) -> None:
    demo.fill("#add-channel input", "orders/eu")
    demo.press("#add-channel input", "Enter")
    expect(demo.locator("#channels [data-name='orders/eu']")).to_be_visible()
    with Publisher(dev.redis.url) as publisher:
        published = publisher.publish("orders/eu", {"order": 1871})
    row = demo.locator("#events tr[data-channel='orders/eu']")
    expect(row.locator(".data div")).to_have_text('{"order":1871}')
    expect(row.locator(".id .whole")).to_have_text(published.id)


def test_a_bad_channel_name_is_refused_with_words(demo: Page) -> None:
    demo.fill("#add-channel input", "no spaces")
    demo.press("#add-channel input", "Enter")
    expect(demo.locator("#channel-problem")).to_contain_text("beginning with a letter")
    expect(demo.locator("#channels li")).to_have_count(3)


def test_cut_and_resume_leave_no_hole(demo: Page, dev: DevGateway) -> None:
    demo.click("#cut")
    expect(demo.locator("html")).to_have_attribute("data-state", "disconnected")
    result = demo.locator("#cut-result")
    expect(result).to_have_attribute("data-kind", "good")
    expect(demo.locator("html")).to_have_attribute("data-state", "resumed")

    published = int(result.get_attribute("data-published") or 0)
    assert published >= 4
    assert shown(demo, "demo") == dev.stored("demo")
    assert len(shown(demo, "demo")) == published
    expect(demo.locator("#events tr[data-channel=demo][data-replayed]")).to_have_count(published)
    clock = shown(demo, "clock")
    stored = dev.stored("clock")
    first = stored.index(clock[0])
    assert clock == stored[first : first + len(clock)]
    expect(demo.locator("[data-figure=repeated]")).to_have_text("0")


def test_the_page_resumes_by_itself_when_the_gateway_is_killed(demo: Page, dev: DevGateway) -> None:
    dev.kill()
    expect(demo.locator("html")).to_have_attribute("data-state", "connecting")
    with Publisher(dev.redis.url) as publisher:
        for number in range(20):
            publisher.publish("demo", f"while the gateway was down: {number}")
    dev.start()
    expect(demo.locator("html")).to_have_attribute("data-state", "resumed")
    rows = demo.locator("#events tr[data-channel=demo]")
    expect(rows).to_have_count(20)
    assert shown(demo, "demo") == dev.stored("demo")
    clock = shown(demo, "clock")
    stored = dev.stored("clock")
    first = stored.index(clock[0])
    assert clock == stored[first : first + len(clock)]


@pytest.mark.parametrize(
    ("button", "reason", "words"),
    [
        ("malformed", "unknown_cursor", "no id of this gateway"),
        ("foreign", "epoch", "a history that this Redis doesn’t know"),
        ("future", "future", "ahead of everything"),
    ],
)
def test_a_gap_is_explained(demo: Page, button: str, reason: str, words: str) -> None:
    demo.click(f"[data-bad-cursor={button}]")
    gap = demo.locator(f".gap[data-reason={reason}]")
    expect(gap).to_contain_text(words)
    expect(gap.locator("dd").nth(0)).to_contain_text("all of this connection")
    sent = demo.locator("#gap-sent").text_content()
    expect(gap.locator("dd").nth(1)).to_have_text(
        "null: not known" if button == "malformed" else sent or "nothing was sent"
    )
    expect(gap.locator("dd").nth(2)).to_have_text(ID)
    expect(demo.locator("[data-figure=gaps]")).to_have_text("1")
    expect(demo.locator("html")).to_have_attribute("data-state", "connected")
    before = len(shown(demo, "clock"))
    eventually(lambda: len(shown(demo, "clock")) > before, what="live again after the gap")


def test_every_reason_of_the_gateway_has_words(demo: Page) -> None:
    from gateway.protocol.gaps import GapReason

    demo.click("summary")
    explained = demo.locator("#reasons dt").all_text_contents()
    assert set(explained) == {reason.value for reason in GapReason}


def test_an_answer_is_cut_and_completes_with_all_words(demo: Page, dev: DevGateway) -> None:
    prompt = "How does it resume?"
    text = choose(prompt)
    demo.fill("#ask input", prompt)
    demo.click("#ask button")
    eventually(lambda: int(demo.inner_text("#words-received")) >= 8, what="some words")
    demo.click("#answer-cut")
    status = demo.locator("#answer-status")
    expect(status).to_have_attribute("data-kind", "cut")
    expect(status).to_have_attribute("data-kind", "complete", timeout=60_000)

    assert demo.text_content("#answer") == text
    words = len(split_words(text))
    assert demo.inner_text("#words-received") == str(words)
    assert demo.inner_text("#words-announced") == str(words)
    assert demo.inner_text("#answer-cuts") == "1"
    replayed = demo.locator("#answer [data-replayed]")
    assert replayed.count() == int(demo.inner_text("#words-replayed")) > 0
    expect(demo.locator("#answer-notes")).to_contain_text("204 No Content")


def test_a_burst_leaves_the_newest_200_rows(demo: Page, dev: DevGateway) -> None:
    def arrived(count: int) -> bool:
        return len(dev.stored("demo")) == count

    for _ in range(3):
        before = len(dev.stored("demo"))
        demo.click("#publish [name=burst]")
        eventually(functools.partial(arrived, before + 200), what="the burst in Redis")
    last = dev.stored("demo")[-1]
    eventually(lambda: shown(demo, "demo")[-1:] == [last], what="the last of the burst")
    assert demo.locator("#events tr").count() == 200
    demo_rows = shown(demo, "demo")
    assert demo_rows == dev.stored("demo")[-len(demo_rows) :]


def test_the_code_to_copy_names_the_chosen_channels(demo: Page, dev: DevGateway) -> None:
    demo.click("#channels [data-name=news] button")
    demo.click("#copy-subscribe")
    expect(demo.locator("#copy-subscribe")).to_have_text("Copied")
    code: str = demo.evaluate("navigator.clipboard.readText()")
    assert f'"{dev.url}/events?channel=clock&channel=demo"' in code

    # It works as it is, in a page that has nothing else.
    bare = demo.context.new_page()
    bare.goto(f"{dev.url}/demo/config.json")
    with bare.expect_console_message(lambda message: ID.match(message.text) is not None):
        bare.evaluate(code)
    bare.close()


def test_the_page_asks_nobody_but_its_gateway(page: Page, dev: DevGateway) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(dev.url)
    live(page)
    assert asked
    assert [url for url in asked if not url.startswith(f"{dev.url}/")] == []
    assert said == []  # a breach of the content security policy is told here, too


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(page: Page, dev: DevGateway, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(dev.url)
    live(page)
    page.fill("#publish [name=data]", "w" * 500)
    page.click("#publish button[type=submit]")
    page.locator("#events tr[data-channel=demo]").wait_for()
    page.click("[data-bad-cursor=foreign]")
    page.locator(".gap").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def example(name: str, dev: DevGateway, directory: Path) -> str:
    """An example as a file on disk: its address, with the test's gateway in place of the usual one."""
    text = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
    usual = "http://127.0.0.1:8080"
    assert text.count(usual) == 1
    file = directory / name
    file.write_text(text.replace(usual, dev.url), encoding="utf-8")
    return file.as_uri()


def test_the_clock_example(page: Page, dev: DevGateway, tmp_path: Path) -> None:
    page.goto(example("clock.html", dev, tmp_path))
    expect(page.locator("#status")).to_have_text("connected")
    expect(page.locator("#latest")).to_have_text(re.compile(r"^\d{4}-\d\d-\d\dT"))
    dev.kill()
    expect(page.locator("#status")).to_have_text("connecting")
    last = page.inner_text("#latest")
    dev.start()
    expect(page.locator("#status")).to_have_text("connected")
    eventually(lambda: page.inner_text("#latest") > last, what="a later time")


def test_the_answer_example_goes_on_after_the_gateway_was_killed(
    page: Page, dev: DevGateway, tmp_path: Path
) -> None:
    page.goto(example("answer.html", dev, tmp_path))
    text = choose(page.input_value("input"))
    page.click("button")
    eventually(lambda: len(page.inner_text("#answer").split()) >= 8, what="some words")
    dev.kill()
    expect(page.locator("#status")).to_have_text("connecting")
    dev.start()
    complete = re.compile(rf"^complete: {len(split_words(text))} words$")
    expect(page.locator("#status")).to_have_text(complete, timeout=60_000)
    assert page.text_content("#answer") == text
