"""Publisher and AsyncPublisher against a real server. Most tests run once for each of the two."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from publisher import (
    AsyncPublisher,
    BatchFailed,
    ChannelClosed,
    DataTooLarge,
    Event,
    InvalidChannel,
    InvalidEvent,
    InvalidType,
    Published,
    Publisher,
    PublishError,
    RedisRefused,
    RedisUnreachable,
)
from publisher.channels import Channel, Partition
from publisher.payload import FIELD, Kind, Payload, decode
from tests.support.processes import free_port
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.redis_server import RedisServer


class Blocking:
    """AsyncPublisher behind the calls of Publisher, so that one test can drive both."""

    def __init__(self, redis: Any, **settings: Any) -> None:
        self._runner = asyncio.Runner()
        self._publisher = AsyncPublisher(redis, **settings)

    def publish(self, channel: Any, data: Any, **options: Any) -> Any:
        return self._runner.run(self._publisher.publish(channel, data, **options))

    def publish_many(self, events: Iterable[Event], **options: Any) -> list[Published]:
        return self._runner.run(self._publisher.publish_many(events, **options))

    def publish_each(self, events: Iterable[Event]) -> list[Published | PublishError]:
        return self._runner.run(self._publisher.publish_each(events))

    def close(self, channel: str) -> Published:
        return self._runner.run(self._publisher.close(channel))

    def disconnect(self) -> None:
        self._runner.run(self._publisher.disconnect())
        self._runner.close()


AnyPublisher: TypeAlias = Any  # Publisher | Blocking; publish() answers by the type of `channel`


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, prefix: str) -> Iterator[Callable[..., AnyPublisher]]:
    """`make(url, **settings)`: a publisher with this test's prefix, disconnected after the test."""
    with ExitStack() as made:

        def start(url: str, **settings: Any) -> AnyPublisher:
            kind = Publisher if request.param == "sync" else Blocking
            publisher: AnyPublisher = kind(url, **{"prefix": prefix} | settings)
            made.callback(publisher.disconnect)
            return publisher

        yield start


@pytest.fixture
def publisher(make: Callable[..., AnyPublisher], redis_server: RedisServer) -> AnyPublisher:
    return make(redis_server.url)


class Log:
    """What the channels of this test's prefix hold."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client
        self.partition = Partition(prefix)

    def __call__(self, channel: str) -> list[Payload]:
        entries = self.client.xrange(self.partition.stream(Channel(channel)))
        return [decode(fields[FIELD]) for _, fields in entries]

    def data(self, channel: str) -> list[str]:
        return [payload.data.decode() for payload in self(channel)]

    def all_keys(self) -> list[bytes]:
        found: list[bytes] = self.client.keys(f"{self.partition.tag}:*")
        return found


@pytest.fixture
def log(redis_server: RedisServer, prefix: str) -> Log:
    return Log(redis_server.client(), prefix)


@pytest.fixture
def own_log(own_redis: RedisServer, prefix: str) -> Log:
    return Log(own_redis.client(), prefix)


def numbered(channel: str, count: int) -> list[Event]:
    return [Event(channel=channel, data=number) for number in range(count)]


# Publishing


@pytest.mark.parametrize(
    ("data", "stored"),
    [("text\n", b"text\n"), ("é".encode(), "é".encode()), ({"n": [1, None]}, b'{"n":[1,null]}'), ("", b"")],
)
def test_publish(publisher: AnyPublisher, log: Log, data: object, stored: bytes) -> None:
    published = publisher.publish("a", data, type="tick")
    (payload,) = log("a")
    assert published == Published("a", str(payload.id), duplicate=False)
    assert (payload.type, payload.data) == (b"tick", stored)


def test_publish_to_several_channels(publisher: AnyPublisher, log: Log) -> None:
    results = publisher.publish((name for name in ("a", "b", "c")), "x", idempotency_key="k")
    assert [result.channel for result in results] == ["a", "b", "c"]
    assert [result.id for result in results] == [str(log(name)[0].id) for name in ("a", "b", "c")]
    assert publisher.publish([], "x") == []
    again = publisher.publish(["c"], "x", idempotency_key="k")
    assert again == [Published("c", results[2].id, duplicate=True)]


def test_publish_many_keeps_the_order(publisher: AnyPublisher, log: Log) -> None:
    results = publisher.publish_many((event for event in numbered("a", 2_500)), retention_events=10_000)
    assert log.data("a") == [str(number) for number in range(2_500)]
    assert [result.id for result in results] == [str(payload.id) for payload in log("a")]
    assert not any(result.duplicate for result in results)
    assert publisher.publish_many([]) == []


def test_the_callers_key_publishes_once(publisher: AnyPublisher, log: Log) -> None:
    first = publisher.publish("a", 1, idempotency_key="k")
    second = publisher.publish("a", 2, idempotency_key="k")
    (third,) = publisher.publish_many([Event(channel="a", data=3, idempotency_key="k")])
    assert second == third == Published("a", first.id, duplicate=True)
    assert log.data("a") == ["1"]


def test_the_same_data_twice_is_two_events(publisher: AnyPublisher, log: Log) -> None:
    assert publisher.publish("a", 1).id != publisher.publish("a", 1).id
    assert log.data("a") == ["1", "1"]


def test_lifetimes(make: Callable[..., AnyPublisher], redis_server: RedisServer, log: Log) -> None:
    publisher = make(
        redis_server.url,
        idempotency_seconds=300,
        deadline_seconds=5,
        retention_events=100,
        retention_seconds=60,
    )
    stream = log.partition.stream(Channel("a"))
    publisher.publish("a", 1, idempotency_key="k")
    assert 290_000 < log.client.pttl(log.partition.idempotency(Channel("a"), "k")) <= 300_000
    assert 50_000 < log.client.pttl(stream) <= 60_000
    publisher.publish("a", 1, retention_seconds=90)
    assert 80_000 < log.client.pttl(stream) <= 90_000
    made = [key for key in log.all_keys() if b":once:" in key and not key.endswith(b"#k")]
    assert len(made) == 1
    assert 10_000 < log.client.pttl(made[0]) <= 15_000
    publisher.publish_many(numbered("a", 1_000))
    assert log.client.xlen(stream) < 300
    publisher.publish_many(numbered("a", 1_000), retention_events=1_000)
    assert log.client.xlen(stream) >= 1_000


def test_close(publisher: AnyPublisher, log: Log) -> None:
    publisher.publish("a", 1)
    end = publisher.close("a")
    assert not end.duplicate
    assert [payload.kind for payload in log("a")] == [Kind.EVENT, Kind.END]
    assert end.id == str(log("a")[1].id)
    assert publisher.close("a") == Published("a", end.id, duplicate=True)
    with pytest.raises(ChannelClosed, match=end.id):
        publisher.publish("a", 2)


def test_a_closed_channel_fails_its_own_events_only(publisher: AnyPublisher, log: Log) -> None:
    publisher.close("closed")
    channels = ["a", "closed", "b", "closed", "a"]
    with pytest.raises(BatchFailed, match="2 of 5 events") as caught:
        publisher.publish_many(Event(channel=name, data="x") for name in channels)
    results = caught.value.results
    assert [type(result) for result in results] == [
        Published,
        ChannelClosed,
        Published,
        ChannelClosed,
        Published,
    ]
    assert (len(log("a")), len(log("b")), len(log("closed"))) == (2, 1, 1)
    with pytest.raises(BatchFailed):
        publisher.publish(["a", "closed"], "y")
    assert len(log("a")) == 3


def test_publish_each_tells_each_events_fate(publisher: AnyPublisher, log: Log) -> None:
    publisher.close("closed")
    events = [Event(channel=name, data="x") for name in ("a", "a b", "closed", "fanlight.x", "a")]
    results = publisher.publish_each(events)
    kinds = [Published, InvalidChannel, ChannelClosed, InvalidChannel, Published]
    assert [type(result) for result in results] == kinds
    assert [result.id for result in (results[0], results[4])] == [str(payload.id) for payload in log("a")]
    assert publisher.publish_each([]) == []


def test_publish_each_raises_nothing_when_redis_is_away(make: Callable[..., AnyPublisher]) -> None:
    publisher = make(f"redis://127.0.0.1:{free_port()}/0", deadline_seconds=0.1)
    results = publisher.publish_each([Event(channel="a b", data=""), *numbered("a", 1_200)])
    assert [type(result) for result in results] == [InvalidChannel, *[RedisUnreachable] * 1_200]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Event(channel="a b", data="x"), InvalidChannel),
        (Event(channel="a", data="x", type="fanlight.end"), InvalidType),
        (Event(channel="a", data="x" * 1001), DataTooLarge),
    ],
)
def test_the_invalid_is_refused_before_anything_is_sent(
    make: Callable[..., AnyPublisher],
    redis_server: RedisServer,
    log: Log,
    event: Event,
    error: type[InvalidEvent],
) -> None:
    publisher = make(redis_server.url, max_event_bytes=1000)
    with pytest.raises(error):
        publisher.publish(event.channel, event.data, type=event.type)
    with pytest.raises(error, match="1500"):
        publisher.publish_many([*numbered("a", 1_500), event, *numbered("a", 10)])
    with pytest.raises(error):
        publisher.publish(["good", event.channel], event.data, type=event.type)
    assert log.all_keys() == []


# The cost of a batch


def test_a_batch_costs_a_round_trip_for_a_thousand_events(own_redis: RedisServer, prefix: str) -> None:
    sent = 0

    class Counting(redis.Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            nonlocal sent
            sent += 1
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    pool = redis.ConnectionPool(connection_class=Counting, host=own_redis.host, port=own_redis.port)
    with redis.Redis(connection_pool=pool) as client, Publisher(client, prefix=prefix) as publisher:
        publisher.publish("a", "connects, and loads the script")
        client.config_resetstat()
        sent = 0
        assert len(publisher.publish_many(numbered("a", 10_000))) == 10_000
        assert sent == 10
        stats: Any = client.info("commandstats")
        assert stats["cmdstat_evalsha"]["calls"] == 10_000
        assert stats["cmdstat_script|load"]["calls"] == 10
        sent = 0
        publisher.publish([f"c{number}" for number in range(100)], "x")
        assert sent == 1
        sent = 0
        publisher.publish("a", "x")
        assert sent == 1
    pool.disconnect()


# Redis goes wrong


class Proxy:
    """A TCP proxy that can lose answers: it passes a request on, waits for Redis to answer, and cuts the
    client's connection instead of passing the answer back."""

    def __init__(self, server: RedisServer) -> None:
        self._server = (server.host, server.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.to_lose = 0
        self.pass_bytes = 0
        """How much of an answer to let through before it is lost."""
        self.lost = 0
        self.answers: list[bytes] = []
        """The beginnings of all that the server has sent."""
        self._start(self._accept)

    def lose(self, answers: int, *, after_bytes: int = 0) -> None:
        self.to_lose, self.pass_bytes, self.lost = answers, after_bytes, 0

    def close(self) -> None:
        # shutdown wakes a thread that is blocked on the socket, close alone does not
        for connection in (self._listener, *self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open |= {client, server}
            publishes = threading.Event()
            self._start(self._requests, client, server, publishes)
            self._start(self._answers, client, server, publishes)

    def _requests(self, client: socket.socket, server: socket.socket, publishes: threading.Event) -> None:
        with suppress(OSError):
            while chunk := client.recv(65_536):
                if b"EVAL" in chunk:
                    publishes.set()
                server.sendall(chunk)
        _cut(server)

    def _answers(self, client: socket.socket, server: socket.socket, publishes: threading.Event) -> None:
        passed = 0
        with suppress(OSError):
            while chunk := server.recv(65_536):
                self.answers.append(chunk[:64])
                if publishes.is_set() and self.to_lose > 0:
                    part = chunk[: self.pass_bytes - passed]
                    client.sendall(part)
                    passed += len(part)
                    if len(part) == len(chunk):
                        continue
                    self.to_lose -= 1
                    self.lost += 1
                    break
                client.sendall(chunk)
        _cut(client)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    running = Proxy(redis_server)
    yield running
    running.close()


def test_a_lost_answer_appends_once(make: Callable[..., AnyPublisher], proxy: Proxy, log: Log) -> None:
    publisher = make(proxy.url)
    proxy.lose(3)
    published = publisher.publish("a", "x")
    assert proxy.lost == 3
    assert published == Published("a", str(log("a")[0].id), duplicate=False)
    assert len(log("a")) == 1


@pytest.mark.parametrize("after_bytes", [0, 100, 5_000, 30_000])
def test_a_batch_that_is_cut_appends_once_and_in_order(
    make: Callable[..., AnyPublisher], proxy: Proxy, log: Log, after_bytes: int
) -> None:
    publisher = make(proxy.url)
    proxy.lose(3, after_bytes=after_bytes)
    results = publisher.publish_many(numbered("a", 2_500))
    assert proxy.lost == 3
    assert log.data("a") == [str(number) for number in range(2_500)]
    assert [result.id for result in results] == [str(payload.id) for payload in log("a")]
    assert not any(result.duplicate for result in results)


def test_a_lost_answer_to_a_close_closes_once(
    make: Callable[..., AnyPublisher], proxy: Proxy, log: Log
) -> None:
    publisher = make(proxy.url)
    proxy.lose(1)
    assert publisher.close("a").id == str(log("a")[0].id)
    assert proxy.lost == 1
    assert len(log("a")) == 1


def test_a_client_that_retries_by_itself_appends_once(proxy: Proxy, log: Log, prefix: str) -> None:
    with redis.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 5)) as client:
        proxy.lose(2)
        Publisher(client, prefix=prefix).publish("a", "x")
        proxy.lose(2)
        Publisher(client, prefix=prefix).publish_many(numbered("b", 100))
        assert proxy.lost == 2
    assert len(log("a")) == 1
    assert len(log("b")) == 100


def test_a_missing_script_is_healed(
    make: Callable[..., AnyPublisher], own_redis: RedisServer, own_log: Log
) -> None:
    publisher = make(own_redis.url)
    client = own_redis.client()
    publisher.publish("a", 0)
    client.script_flush()
    publisher.publish("a", 1)
    client.script_flush()
    publisher.publish_many([Event(channel="a", data=number) for number in (2, 3)])
    assert own_log.data("a") == ["0", "1", "2", "3"]


def test_scripts_flushed_all_the_time_lose_nothing(
    make: Callable[..., AnyPublisher], own_redis: RedisServer, own_log: Log
) -> None:
    publisher = make(own_redis.url, deadline_seconds=60)
    client = own_redis.client()
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            client.script_flush()

    with ThreadPoolExecutor() as threads:
        flushing = threads.submit(flush)
        try:
            publisher.publish_many(numbered("a", 1_500))
            for number in range(20):
                publisher.publish("b", number)
        finally:
            done.set()
        flushing.result(timeout=10)
    assert sorted(map(int, own_log.data("a"))) == list(range(1_500))
    assert own_log.data("b") == [str(number) for number in range(20)]


def test_nobody_there(make: Callable[..., AnyPublisher]) -> None:
    publisher = make(f"redis://127.0.0.1:{free_port()}/0", deadline_seconds=0.3)
    with pytest.raises(RedisUnreachable, match=r"within 0\.3 s") as caught:
        publisher.publish("a", 1)
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    with pytest.raises(RedisUnreachable):
        publisher.publish_many(numbered("a", 5_000))


def test_a_silent_server(make: Callable[..., AnyPublisher], own_redis: RedisServer) -> None:
    publisher = make(own_redis.url, deadline_seconds=0.8)
    publisher.publish("a", 1)
    own_redis.pause()
    begin = time.monotonic()
    with pytest.raises(RedisUnreachable):
        publisher.publish("a", 2)
    assert time.monotonic() - begin < 5  # the deadline, an attempt more, and a slow machine
    own_redis.resume()
    publisher.publish("a", 3)


def test_redis_comes_back_within_the_deadline(
    make: Callable[..., AnyPublisher], own_redis: RedisServer
) -> None:
    publisher = make(own_redis.url, deadline_seconds=30)
    publisher.publish("a", 1)
    own_redis.kill()
    with ThreadPoolExecutor() as threads:
        publishing = threads.submit(publisher.publish_many, numbered("a", 1_500))
        own_redis.start()
        assert len(publishing.result(timeout=60)) == 1_500


def test_a_replica_that_is_promoted(
    make: Callable[..., AnyPublisher], own_redis: RedisServer, own_log: Log
) -> None:
    publisher = make(own_redis.url, deadline_seconds=30)
    client = own_redis.client()
    publisher.publish("a", 1)
    client.replicaof("127.0.0.1", "1")
    client.config_resetstat()
    with ThreadPoolExecutor() as threads:
        publishing = threads.submit(publisher.publish, "a", 2)
        eventually(lambda: client.info("errorstats").get("errorstat_READONLY"), what="it was refused")
        client.replicaof("NO", "ONE")
        publishing.result(timeout=60)
    assert own_log.data("a") == ["1", "2"]


def test_a_busy_server_is_waited_for(
    make: Callable[..., AnyPublisher], own_redis: RedisServer, own_log: Log
) -> None:
    client = own_redis.client()
    client.config_set("lua-time-limit", 10)
    proxy = Proxy(own_redis)
    publisher = make(proxy.url, deadline_seconds=30)
    publisher.publish("a", 1)
    with ThreadPoolExecutor() as threads:
        looping = threads.submit(own_redis.client(socket_timeout=60).eval, "while true do end", 0)
        try:
            eventually(lambda: _is_busy(client), what="the server is busy")
            publishing = threads.submit(publisher.publish, "a", 2)
            eventually(lambda: any(answer.startswith(b"-BUSY") for answer in proxy.answers))
        finally:
            client.script_kill()
        publishing.result(timeout=60)
        with pytest.raises(redis.ResponseError, match="kill"):
            looping.result(timeout=60)
    proxy.close()
    assert own_log.data("a") == ["1", "2"]


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def test_lasting_refusals_come_at_once(
    make: Callable[..., AnyPublisher], own_redis: RedisServer, prefix: str
) -> None:
    client = own_redis.client()
    client.acl_setuser(
        "reader", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], commands=["+@read"]
    )
    client.set(Partition(prefix).stream(Channel("text")), "no stream")
    wrong = make(own_redis.url)
    with pytest.raises(RedisRefused, match="WRONGTYPE"):
        wrong.publish("text", "x")
    address = f"{own_redis.host}:{own_redis.port}/0"
    for url, words in (
        (f"redis://reader:pw@{address}", "NOPERM"),
        (f"redis://reader:wrong@{address}", "WRONGPASS"),
    ):
        refused = make(url, deadline_seconds=600)
        with pytest.raises(RedisRefused, match=words):
            refused.publish("a", "x")
        with pytest.raises((RedisRefused, BatchFailed), match=words):
            refused.publish_many(numbered("a", 1_500))
    client.config_set("requirepass", "secret")
    anonymous = make(own_redis.url, deadline_seconds=600)
    with pytest.raises(RedisRefused, match="NOAUTH"):
        anonymous.publish("a", "x")
    with pytest.raises(RedisRefused, match="NOAUTH"):
        anonymous.publish_many(numbered("a", 1_500))


def test_out_of_memory(make: Callable[..., AnyPublisher], own_redis: RedisServer, own_log: Log) -> None:
    publisher = make(own_redis.url, deadline_seconds=600)
    publisher.publish("a", 1)
    client = own_redis.client()
    client.config_set("maxmemory", 1)
    with pytest.raises(RedisRefused, match="OOM"):
        publisher.publish("a", 2)
    with pytest.raises(BatchFailed, match=r"3 of 3 events were not published; the first: .*OOM") as caught:
        publisher.publish_many(numbered("a", 3))
    assert all(isinstance(result, RedisRefused) for result in caught.value.results)
    client.config_set("maxmemory", 0)
    publisher.publish("a", 3)
    assert own_log.data("a") == ["1", "3"]


# Existing clients


@pytest.mark.parametrize(
    "options", [{}, {"decode_responses": True}, {"protocol": 2}, {"encoding": "latin-1"}]
)
def test_an_existing_client_is_used_as_it_is(
    redis_server: RedisServer, log: Log, prefix: str, options: dict[str, Any]
) -> None:
    with redis_server.client(**options) as client:
        with Publisher(client, prefix=prefix) as publisher:
            publisher.close("closed")
            published = publisher.publish("a", "é 🎉", type="é", idempotency_key="k")
            assert publisher.publish("a", "", idempotency_key="k") == Published("a", published.id, True)
            with pytest.raises(BatchFailed):
                publisher.publish(["b", "closed"], "x")
        assert client.connection_pool.get_connection_count()[0][0] == 1  # still connected
    assert published.id == str(log("a")[0].id)
    assert log("a")[0].data.decode() == "é 🎉"


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 2}])
async def test_an_existing_async_client_is_used_as_it_is(
    redis_server: RedisServer, log: Log, prefix: str, options: dict[str, Any]
) -> None:
    async with redis.asyncio.Redis.from_url(redis_server.url, **options) as client:
        async with AsyncPublisher(client, prefix=prefix) as publisher:
            published = await publisher.publish("a", "x", idempotency_key="k")
            assert await publisher.publish("a", "x", idempotency_key="k") == Published(
                "a", published.id, True
            )
            assert len(await publisher.publish(["b", "c"], "x")) == 2
        await client.ping()
    assert published.id == str(log("a")[0].id)


async def test_the_wrong_kind_of_client_is_refused(redis_server: RedisServer) -> None:
    asynchronous = redis.asyncio.Redis.from_url(redis_server.url)
    for make_publisher, client in ((Publisher, asynchronous), (AsyncPublisher, redis_server.client())):
        with pytest.raises(TypeError, match="takes a URL or a redis"):
            make_publisher(client)  # type: ignore[arg-type]
    await asynchronous.aclose()


# Threads and tasks


def test_one_publisher_for_many_threads(redis_server: RedisServer, log: Log, prefix: str) -> None:
    with Publisher(redis_server.url, prefix=prefix) as publisher, ThreadPoolExecutor(70) as threads:
        results = list(threads.map(lambda number: publisher.publish(f"c{number % 7}", number), range(1_000)))
    assert len({result.id for result in results}) == 1_000
    assert sum(len(log(f"c{number}")) for number in range(7)) == 1_000


async def test_many_tasks_share_a_bounded_number_of_connections(
    own_redis: RedisServer, own_log: Log, prefix: str
) -> None:
    async with AsyncPublisher(own_redis.url, prefix=prefix) as publisher:
        await asyncio.gather(*(publisher.publish("a", number) for number in range(1_000)))
        assert own_log.client.info("clients")["connected_clients"] <= 52
    assert sorted(map(int, own_log.data("a"))) == list(range(1_000))


async def test_a_cancelled_publish_leaves_the_pool_usable(
    redis_server: RedisServer, log: Log, prefix: str
) -> None:
    """Cancelled wherever it may be waiting; later answers must not be those of earlier requests."""
    async with AsyncPublisher(redis_server.url, prefix=prefix) as publisher:
        for turns in range(60):
            publishing = [
                asyncio.create_task(publisher.publish("cancelled", "x")),
                asyncio.create_task(publisher.publish(["cancelled", "too"], "x")),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in publishing:
                task.cancel()
            await asyncio.wait(publishing)
            published = await publisher.publish("a", turns)
            assert published.id == str(log("a")[-1].id)
            results = await publisher.publish_many(numbered("b", 3))
            assert [result.id for result in results] == [str(payload.id) for payload in log("b")[-3:]]


async def test_a_cancellation_arrives_at_whatever_moment(redis_server: RedisServer, prefix: str) -> None:
    """redis-py with a socket timeout swallows those of one turn of the loop, in Python 3.11. A task that
    publishes for ever then does, and whoever waits for its end waits for ever."""

    async def publish_for_ever(publisher: AsyncPublisher) -> None:
        while True:
            await publisher.publish("a", "x")

    async with AsyncPublisher(redis_server.url, prefix=prefix) as publisher:
        await publisher.publish("a", "connected")
        for turns in range(60):
            publishing = asyncio.create_task(publish_for_ever(publisher))
            for _ in range(turns):
                await asyncio.sleep(0)
            publishing.cancel()
            _, going_on = await asyncio.wait({publishing}, timeout=10)
            if going_on:
                await publisher.disconnect()  # or the test would not end either
                pytest.fail(f"the task goes on after {turns} turns")


async def test_cancelled_tasks_give_their_places_back(own_redis: RedisServer, prefix: str) -> None:
    async with AsyncPublisher(own_redis.url, prefix=prefix, deadline_seconds=60) as publisher:
        own_redis.pause()
        tasks = [asyncio.create_task(publisher.publish("a", number)) for number in range(200)]
        await aeventually(lambda: publisher._client.waiting)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        own_redis.resume()
        await asyncio.gather(*(publisher.publish("b", number) for number in range(200)))


async def test_the_deadline_holds_with_a_client_that_has_no_timeouts(
    own_redis: RedisServer, prefix: str
) -> None:
    async with redis.asyncio.Redis.from_url(own_redis.url, socket_timeout=None) as client:
        publisher = AsyncPublisher(client, prefix=prefix, deadline_seconds=0.3)
        await publisher.publish("a", 1)
        own_redis.pause()
        async with asyncio.timeout(10):
            with pytest.raises(RedisUnreachable):
                await publisher.publish("a", 2)
            with pytest.raises(RedisUnreachable):
                await publisher.publish_many(numbered("a", 2_000))
        own_redis.resume()
        await publisher.publish("a", 3)
