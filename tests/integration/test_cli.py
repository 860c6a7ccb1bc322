"""`fanlight publish`, `tail` and `dev` as processes, against real servers and gateways.

Most are forked (`tests/support/fork_server.py`); each of the three is once started as a shell does it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis as redis_client

from gateway.dev.texts import SPEED, split_words
from publisher import Publisher
from publisher.channels import Partition, validate_channel
from publisher.payload import Kind, Payload, decode
from tests.support.fork_server import ROOT, run_fanlight, without_settings
from tests.support.processes import free_port, reap, spawn
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from tests.conftest import StartGateway
    from tests.support.processes import Process
    from tests.support.redis_server import RedisServer

    class Start(Protocol):
        def __call__(self, *words: str, forked: bool = True) -> Cli: ...


pytestmark = pytest.mark.once

PROGRAM = [sys.executable, "-m", "gateway.cli"]


def environment(runtime: Path) -> dict[str, str]:
    return without_settings() | {"XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}


class Cli:
    """`fanlight ...` in the background. What it prints on either stream is in `lines`."""

    def __init__(self, words: tuple[str, ...], directory: Path, number: int, *, forked: bool) -> None:
        self._log = directory / f"cli-{number}.log"
        env = environment(directory)
        self.process: Process = (
            run_fanlight(words, log=self._log, env=env)
            if forked
            else spawn([*PROGRAM, *words], log=self._log, cwd=ROOT, env=env)
        )

    @property
    def lines(self) -> list[str]:
        text = self._log.read_text(errors="replace")
        return text[: text.rfind("\n") + 1].splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait_for(self, *texts: str) -> None:
        """Until each of the texts is in a line."""
        eventually(
            lambda: all(any(text in line for line in self.lines) for text in texts),
            what=f"{texts} in what it prints",
        )

    def wait_end(self) -> int:
        eventually(lambda: self.process.poll() is not None, what="the end of the process")
        return reap(self.process, seconds=20)

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return reap(self.process, seconds=20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as started:
        count = 0

        def start_one(*words: str, forked: bool = True) -> Cli:
            nonlocal count
            count += 1
            cli = Cli(words, tmp_path, count, forked=forked)
            started.callback(cli.end, signal.SIGKILL)  # if it has not ended by itself
            return cli

        yield start_one


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def fanlight(directory: Path, *words: str, stdin: bytes = b"") -> Done:
    """Run it to its end, on the test's own runtime directory."""
    with tempfile.TemporaryDirectory(dir=directory) as said:
        output, errors = Path(said) / "output", Path(said) / "errors"
        process = run_fanlight(words, log=output, errors=errors, env=environment(directory), stdin=stdin)
        return Done(reap(process, seconds=60), output.read_text(), errors.read_text())


def started(directory: Path, *words: str) -> Done:
    """As `fanlight`, but as a shell starts it."""
    done = subprocess.run(
        [*PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env=environment(directory),
        timeout=60,
        check=False,
        text=True,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def stored(redis: redis_client.Redis, prefix: str, channel: str) -> list[Payload]:
    entries: Any = redis.xrange(Partition(prefix).stream(validate_channel(channel)))
    return [decode(fields[b"m"]) for _, fields in entries]


# --- publish


@pytest.fixture
def to(redis_server: RedisServer, prefix: str) -> list[str]:
    return [f"--redis-url={redis_server.url}", f"--prefix={prefix}"]


def test_publish_prints_the_id(tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str) -> None:
    done = started(tmp_path, "publish", "news", "Grüße\n🦊", "--type", "greeting", *to)
    assert (done.returncode, done.stderr) == (0, "")
    [payload] = stored(redis_server.client(), prefix, "news")
    assert done.stdout == f"{payload.id}\n"
    assert (payload.type.decode(), payload.data.decode()) == ("greeting", "Grüße\n🦊")


def test_publish_with_an_idempotency_key_appends_once(
    tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str
) -> None:
    first, second = (
        fanlight(tmp_path, "publish", "news", "x", "--idempotency-key", "k", *to) for _ in range(2)
    )
    assert first.stdout == second.stdout != ""
    assert "published before" in second.stderr
    assert len(stored(redis_server.client(), prefix, "news")) == 1


def test_publish_checks_json(tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str) -> None:
    assert fanlight(tmp_path, "publish", "news", ' {"a": 1} ', "--json", *to).returncode == 0
    done = fanlight(tmp_path, "publish", "news", "{a: 1}", "--json", *to)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "not JSON" in done.stderr
    assert [payload.data for payload in stored(redis_server.client(), prefix, "news")] == [b' {"a": 1} ']


def test_publish_ends_a_channel(
    tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str
) -> None:
    done = fanlight(tmp_path, "publish", "news", "last words", "--close", *to)
    payloads = stored(redis_server.client(), prefix, "news")
    assert done.stdout.split() == [str(payload.id) for payload in payloads]
    assert [payload.kind for payload in payloads] == [Kind.EVENT, Kind.END]
    again = fanlight(tmp_path, "publish", "news", "more", *to)
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (1, "", 1)
    assert "closed" in again.stderr


def test_publish_takes_a_line_of_standard_input_an_event(
    tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str
) -> None:
    done = fanlight(tmp_path, "publish", "news", *to, stdin=b"one\r\n\n three \nlast without an end")
    payloads = stored(redis_server.client(), prefix, "news")
    assert [payload.data for payload in payloads] == [b"one", b"", b" three ", b"last without an end"]
    assert done.stdout.split() == [str(payload.id) for payload in payloads]
    assert (done.returncode, done.stderr) == (0, "")


def test_publish_tells_bad_lines_and_keeps_the_good_ones(
    tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str
) -> None:
    lines = b'1\n{"a"}\n"' + b"x" * 300_000 + b'"\n\xff\n[2]\n'
    done = fanlight(tmp_path, "publish", "news", "-", "--json", *to, stdin=lines)
    assert done.returncode == 1
    assert [payload.data for payload in stored(redis_server.client(), prefix, "news")] == [b"1", b"[2]"]
    assert [re.findall(r"line \d", line) for line in done.stderr.splitlines()] == [
        ["line 2"],
        ["line 3"],
        ["line 4"],
    ]


def test_publish_sends_a_file_in_batches_and_again_without_repeating(
    tmp_path: Path, to: list[str], redis_server: RedisServer, prefix: str
) -> None:
    stdin = "".join(f"event {number}\n" for number in range(5000)).encode()
    first, second = (
        fanlight(tmp_path, "publish", "news", "--idempotency-key=import", *to, stdin=stdin) for _ in range(2)
    )
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    data = [payload.data.decode() for payload in stored(redis_server.client(), prefix, "news")]
    assert data == [f"event {number}" for number in range(5000)]


def test_publish_to_a_closed_channel_stops_at_once(tmp_path: Path, to: list[str]) -> None:
    assert fanlight(tmp_path, "publish", "news", "--close", *to).returncode == 0
    done = fanlight(tmp_path, "publish", "news", *to, stdin=b"a\nb\nc\n")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "stopped after 0 events" in done.stderr


# --- tail


def test_tail_survives_gateways_that_are_killed_and_ends_with_the_channels(
    start: Start, start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    gateway = start_gateway(retry_ms=100)
    tail = start("tail", "a", "b", "--json", "--url", gateway.url)
    tail.wait_for("connected")
    expected = []
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        for number in range(40):
            channel = "ab"[number % 2]
            published = publisher.publish(channel, f"{number}\n", type="t" if number % 3 else None)
            expected.append((published.id, channel, "t" if number % 3 else "message", f"{number}\n"))
            if number in (10, 20):
                gateway.kill()
            if number in (15, 25):
                gateway.start()
        eventually(lambda: len(tail.objects) == 40)
        publisher.close("a")
        publisher.close("b")
    assert tail.wait_end() == 0
    events, ends = tail.objects[:40], tail.objects[40:]
    assert [(event["id"], event["channel"], event["type"], event["data"]) for event in events] == expected
    assert [(end["type"], end["channel"]) for end in ends] == [("fanlight.end", "a"), ("fanlight.end", "b")]
    assert any(line.startswith(("the connection broke", "nobody answers")) for line in tail.lines)
    assert "connected, resumed" in tail.lines


def test_tail_begins_where_it_is_told(
    start: Start, start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    gateway = start_gateway()
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        ids = [publisher.publish("a", str(number)).id for number in range(5)]
        newest = start("tail", "a", "--url", gateway.url, "--last", "2")
        resumed = start("tail", "a", "--url", gateway.url, "--last-event-id", ids[1])
        newest.wait_for("connected")
        resumed.wait_for("connected, resumed")
        live = publisher.publish("a", "live").id
        newest.wait_for(live)
        resumed.wait_for(live)
    shown = [line.split("  ")[0] for line in newest.lines if "message" in line]
    assert shown == [*ids[3:], live]
    assert [line.split("  ")[0] for line in resumed.lines if "message" in line] == [*ids[2:], live]
    [last] = [line for line in newest.lines if line.startswith(live)]
    assert re.fullmatch(re.escape(live) + r"  message  live  \(-?[\d,]+ ms\)", last)
    assert f"{ids[3]}  message  3  (replayed)" in newest.lines


def test_tail_tells_a_gap(start: Start, start_gateway: StartGateway) -> None:
    tail = start("tail", "a", "--url", start_gateway().url, "--last-event-id", "1-0-abcdef")
    tail.wait_for("GAP in all channels: epoch")


def test_tail_ends_quietly_on_ctrl_c(start: Start, start_gateway: StartGateway) -> None:
    tail = start("tail", "a", "--url", start_gateway().url)
    tail.wait_for("connected")
    assert tail.end(signal.SIGINT) == 130
    assert tail.lines == ["connected"]


def test_tail_ends_quietly_when_its_reader_has_gone(
    tmp_path: Path, start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    gateway = start_gateway()
    command = [*PROGRAM, "tail", "a", "--last", "2", "--url", gateway.url]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        Publisher(redis_server.url, prefix=prefix) as publisher,
        subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), **pipes) as tail,
    ):
        try:
            publisher.publish("a", "1")
            assert tail.stdout is not None
            assert b"message  1" in tail.stdout.readline()
            tail.stdout.close()

            def ended() -> bool:
                publisher.publish("a", "more")
                return tail.poll() is not None

            eventually(ended)
            assert tail.stderr is not None
            assert tail.stderr.read() in (b"connected\n", b"")  # the replay may have had the pipe closed
        finally:
            tail.kill()
    assert tail.returncode == 141


def test_tail_gives_up_where_the_request_is_wrong(tmp_path: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(max_channels_per_stream=1)
    done = fanlight(tmp_path, "tail", "a", "b", "--url", gateway.url)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the gateway answered 4" in done.stderr
    done = fanlight(tmp_path, "tail", "a", "--url", f"{gateway.url}/elsewhere")
    assert (done.returncode, "answered 404" in done.stderr) == (1, True)


# --- dev


class Dev:
    """`fanlight dev` with an embedded server of this test's own, on one port over all its starts."""

    def __init__(self, start: Start, runtime: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._start = start
        self._runtime = runtime / "fanlight-dev"

    def start(self, *flags: str, keep_seconds: float = 20, wait: bool = True, forked: bool = True) -> Cli:
        words = [f"--port={self.port}", "--admin-port=0", f"--keep-seconds={keep_seconds}", *flags]
        dev = self._start("dev", *words, forked=forked)
        if wait:
            dev.wait_for("Fanlight is running.", "Inspect")
        return dev

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._runtime / "server.json").read_text())
        return found

    @property
    def redis(self) -> redis_client.Redis:
        return redis_client.Redis(port=self.state["port"])

    def get_json(self, path: str, body: object = None, **headers: str) -> Any:
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        with suppress(OSError, ValueError, ProcessLookupError):
            os.kill(self.state["keeper_pid"], signal.SIGTERM)
        eventually(lambda: not (self._runtime / "server.json").exists())


@pytest.fixture
def dev(start: Start, tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(start, tmp_path)
    yield dev
    dev.close()


def runs(pid: int) -> bool:
    """Whether the process is there, and not a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_dev_says_what_to_open_and_what_to_type(dev: Dev, start: Start, tmp_path: Path) -> None:
    running = dev.start(forked=False)
    config = dev.get_json("/demo/config.json")
    running.wait_for(f"{dev.url}/", "tail clock", "publish news", config["publish_token"])
    assert config["publish"] is config["dev"] is True
    with urllib.request.urlopen(dev.url, timeout=10) as page:
        assert b"<title>" in page.read()
    [inspector] = [line.split()[1] for line in running.lines if line.split()[:1] == ["Inspect"]]
    with urllib.request.urlopen(inspector, timeout=10) as page:
        assert b"Fanlight inspector" in page.read()
    # As it says: without a word about where the server is.
    tail = start("tail", "news", "clock", "--json", "--url", dev.url)
    tail.wait_for("connected")
    done = fanlight(tmp_path, "publish", "news", "Hello")
    assert done.returncode == 0
    tail.wait_for('"Hello"')
    eventually(lambda: sum(item["channel"] == "clock" for item in tail.objects) >= 2)
    ticks = [item["data"] for item in tail.objects if item["channel"] == "clock"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tick) for tick in ticks)
    token = {"Authorization": f"Bearer {config['publish_token']}"}
    assert dev.get_json("/publish", {"channel": "news", "data": "over HTTP"}, **token)["channel"] == "news"
    tail.wait_for("over HTTP")


def test_the_token_is_not_given_to_a_page_of_another_name(dev: Dev) -> None:
    dev.start()
    assert "publish_token" in dev.get_json("/demo/config.json", Host="localhost")
    assert "publish_token" not in dev.get_json("/demo/config.json", Host="rebound.example")


def test_a_page_resumes_when_dev_was_killed_and_started_again(dev: Dev, start: Start) -> None:
    running = dev.start("--retry-ms=100")
    before, token = dev.state, dev.get_json("/demo/config.json")["publish_token"]
    tail = start("tail", "clock", "--json", "--url", dev.url)
    eventually(lambda: len(tail.objects) >= 2)
    for how in (signal.SIGKILL, signal.SIGINT):
        running.end(how)
        seen = len(tail.objects)
        running = dev.start("--retry-ms=100")
        eventually(lambda seen=seen: len(tail.objects) >= seen + 2)  # type: ignore[misc]
    assert dev.state == before
    assert dev.get_json("/demo/config.json")["publish_token"] == token
    # Nothing missed, nothing twice, no gap: what tail has is what Redis has.
    shown = [item["id"] for item in tail.objects]
    in_redis = [str(payload.id) for payload in stored(dev.redis, "fanlight", "clock")]
    assert shown == in_redis[in_redis.index(shown[0]) :][: len(shown)]
    assert all(item["type"] == "message" for item in tail.objects)


def test_an_answer_goes_on_after_dev_was_killed(dev: Dev, start: Start) -> None:
    running = dev.start("--retry-ms=100")
    channel = dev.get_json("/demo/answer", {"prompt": "Is it fast?"})["channel"]
    tail = start("tail", channel, "--last=100", "--json", "--url", dev.url)
    eventually(lambda: len(tail.objects) >= 20)
    running.end(signal.SIGKILL)
    assert "fanlight.end" not in {item["type"] for item in tail.objects}
    dev.start("--retry-ms=100")
    assert tail.wait_end() == 0
    words = [item["data"] for item in tail.objects if item["type"] == "message"]
    assert words == split_words(SPEED)
    metadata = [json.loads(item["data"]) for item in tail.objects if item["type"] == "metadata"]
    assert metadata[0]["words"] == len(words) > 80
    assert metadata[-1] == {"finish_reason": "stop"}
    assert tail.objects[-1]["type"] == "fanlight.end"
    assert dev.redis.hgetall("{fanlight:0}:dev:answers") == {}


def test_two_share_the_server_and_the_clock_ticks_once(dev: Dev, start: Start, tmp_path: Path) -> None:
    other = Dev(start, tmp_path)
    dev.start()
    other.start()
    tails = [start("tail", "clock", "--json", "--url", gateway.url) for gateway in (dev, other)]
    for tail in tails:
        eventually(lambda tail=tail: len(tail.objects) >= 3)  # type: ignore[misc]
    seconds = [payload.data[:19] for payload in stored(dev.redis, "fanlight", "clock")]
    assert len(seconds) == len(set(seconds)) >= 3


def test_the_server_ends_after_the_last_one_who_used_it(dev: Dev) -> None:
    running = dev.start(keep_seconds=0)
    pids = dev.state["keeper_pid"], dev.state["server_pid"]
    assert all(runs(pid) for pid in pids)
    assert running.end(signal.SIGINT) == 0
    eventually(lambda: not any(runs(pid) for pid in pids))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux'")
def test_the_server_dies_with_its_keeper(dev: Dev) -> None:
    running = dev.start()
    before = dev.state
    os.kill(before["keeper_pid"], signal.SIGKILL)
    eventually(lambda: not runs(before["server_pid"]))
    running.end(signal.SIGKILL)
    dev.start()
    assert dev.state["server_pid"] != before["server_pid"]


def test_a_port_that_is_taken(dev: Dev) -> None:
    with socket.create_server(("127.0.0.1", dev.port)):
        running = dev.start(wait=False)
        assert running.wait_end() == 1
    [line] = running.lines
    assert line == (
        f"fanlight dev: port {dev.port} on 127.0.0.1 is taken, perhaps by another fanlight dev; stop that "
        f"one, or take another port: fanlight dev --port {dev.port + 1}"
    )


def test_dev_with_a_server_that_was_named(dev: Dev, tmp_path: Path, to: list[str], prefix: str) -> None:
    running = dev.start(*to)
    assert not (tmp_path / "fanlight-dev" / "server.json").exists()
    running.wait_for("--redis-url", f"--prefix {prefix}")


# --- tokens


def test_a_token_of_dev_mode_is_made_shown_and_used(start: Start, tmp_path: Path) -> None:
    """Everybody may follow everything there; but who shows a token is asked for a good one."""
    port, admin_port = free_port(), free_port()
    dev = start("dev", f"--port={port}", f"--admin-port={admin_port}", "--keep-seconds=0")
    dev.wait_for("Fanlight is running")
    made = fanlight(tmp_path, "token", "--subscribe", "clock", "--seconds", "15")  # three commands use it
    assert (made.returncode, made.stderr) == (0, "")
    assert fanlight(tmp_path, "token", "--explain", "-", stdin=made.stdout.encode()).returncode == 0
    file = tmp_path / "token"
    file.write_text(made.stdout)
    url = f"--url=http://127.0.0.1:{port}"
    tail = start("tail", "clock", url, "--json", f"--token-file={file}")
    eventually(lambda: tail.objects)
    # At its end the stream ends, and the next request is refused.
    tail.wait_for("the token is over (expired)", "the gateway answered 401: The token has expired")
    assert tail.wait_end() == 1
    file.write_text("nonsense")
    other = start("tail", "clock", url, f"--token-file={file}")
    other.wait_for("the gateway answered 401: The token is not a JWT")
    missing = fanlight(tmp_path, "tail", "clock", url, "--token-file=/nowhere/token")
    assert (missing.returncode, "cannot read a token" in missing.stderr) == (1, True)
    assert dev.end(signal.SIGINT) == 0
    secret = tmp_path / "fanlight-dev" / "jwt-secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() not in "\n".join(dev.lines)
