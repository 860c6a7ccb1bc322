"""The Lua script against a real server: the part of the contract that everything else builds on."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import redis

from publisher import Event
from publisher.channels import Channel, Partition
from publisher.commands import SCRIPT, Command, Options
from publisher.ids import ORIGIN, EventId, Position
from publisher.payload import FIELD, Kind, Payload, decode
from tests.support.redis_server import RedisServer
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

TAIL_MS = 24 * 3600 * 1000


class Contract:
    """Runs the script, and reads what it wrote."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client  # Any: redis-py's annotations say bytes | str of every reply
        self.partition = Partition(prefix)
        self._options = Options(prefix)

    def event(
        self,
        channel: str,
        data: str = "x",
        *,
        key: str | None = None,
        type: str | None = None,
        retention_events: int = 1000,
        retention_seconds: float = 60,
    ) -> EventId:
        """The id that the event was given, or has had before."""
        id_, _ = self._run(self.command(channel, data, key, type, retention_events, retention_seconds))
        return id_

    def known(self, channel: str, key: str) -> tuple[EventId, bool]:
        return self._run(self.command(channel, key=key))

    def end(self, channel: str) -> tuple[EventId, bool]:
        return self._run(self._options.end(channel))

    def check(self) -> tuple[Position, str, list[str]]:
        position, epoch, breaks = self.client.eval(SCRIPT, 1, self.partition.meta, "check")
        return Position.parse(position.decode()), epoch.decode(), breaks.decode().split()

    def command(
        self,
        channel: str,
        data: str = "x",
        key: str | None = None,
        type: str | None = None,
        retention_events: int = 1000,
        retention_seconds: float = 60,
    ) -> Command:
        event = Event(channel=channel, data=data, type=type, idempotency_key=key)
        return self._options.event(event, self._options.retention(retention_events, retention_seconds))

    def _run(self, command: Command) -> tuple[EventId, bool]:
        id_, known = self.client.eval(SCRIPT, *command.arguments)
        return EventId.parse(id_.decode()), bool(known)

    @property
    def meta(self) -> dict[str, str]:
        fields = self.client.hgetall(self.partition.meta)
        return {name.decode(): value.decode() for name, value in fields.items()}

    def set_meta(self, **fields: object) -> None:
        self.client.hset(self.partition.meta, mapping={name: str(value) for name, value in fields.items()})

    def quiet(self) -> None:
        """Make it a while since the last publish, so that the next one compares the identity."""
        self.set_meta(wall=int(self.meta["wall"]) - 60_000)

    def restarted(self) -> None:
        """Let `meta` look as another process of the server left it."""
        self.set_meta(run_id="0" * 40)
        self.quiet()

    def tail(self, channel: str) -> str:
        value = self.client.get(self.partition.tail(Channel(channel)))
        return "" if value is None else value.decode()

    def log(self, channel: str) -> list[Payload]:
        """The channel's stream; each entry's one field holds a payload of the entry's own position."""
        payloads = []
        for entry_id, fields in self.client.xrange(self.partition.stream(Channel(channel))):
            assert list(fields) == [FIELD]
            payload = decode(fields[FIELD])
            assert entry_id.decode() == str(payload.id.position)
            payloads.append(payload)
        return payloads

    def now_ms(self) -> int:
        seconds, microseconds = self.client.time()
        return int(seconds * 1000 + microseconds // 1000)

    def pttl(self, key: str) -> int:
        milliseconds: int = self.client.pttl(key)
        return milliseconds

    def dump(self) -> dict[bytes, bytes]:
        """All keys of the partition with their values, as Redis serialises them."""
        keys = self.client.keys(f"{self.partition.tag}:*")
        return {key: self.client.dump(key) for key in keys}


@pytest.fixture
def contract(redis_server: RedisServer, prefix: str) -> Contract:
    return Contract(redis_server.client(), prefix)


@pytest.fixture
def own(own_redis: RedisServer, prefix: str) -> Contract:
    return Contract(own_redis.client(), prefix)


# Ids and the chain


def test_ids_rise_over_all_channels(contract: Contract) -> None:
    before_ms = contract.now_ms()
    ids = [contract.event(f"c{number % 3}") for number in range(60)]
    positions = [id_.position for id_ in ids]
    assert positions == sorted(set(positions))
    assert before_ms <= positions[0].ms <= positions[-1].ms <= contract.now_ms()
    assert len({id_.epoch for id_ in ids}) == 1


def test_prev_is_the_channels_event_before(contract: Contract) -> None:
    ids: dict[str, list[EventId]] = {"a": [], "b": []}
    for number in range(20):
        channel = "ab"[number % 3 == 0]
        ids[channel].append(contract.event(channel, str(number)))
    for channel, expected in ids.items():
        log = contract.log(channel)
        assert [payload.id for payload in log] == expected
        assert [payload.prev for payload in log] == [ORIGIN, *(id_.position for id_ in expected[:-1])]
        assert contract.tail(channel) == str(expected[-1])


def test_the_clock_of_the_partition_is_that_of_its_last_event(contract: Contract) -> None:
    for channel in "ab":
        id_ = contract.event(channel)
        assert contract.meta["position"] == str(id_.position)
        assert contract.meta["epoch"] == id_.epoch


def test_in_one_millisecond_the_sequence_number_rises(contract: Contract) -> None:
    contract.event("a")
    pipeline = contract.client.pipeline(transaction=False)
    for number in range(500):
        pipeline.eval(SCRIPT, *contract.command("ab"[number % 2]).arguments)
    positions = [EventId.parse(id_.decode()).position for id_, _ in pipeline.execute()]
    assert all(b == Position(a.ms, a.seq + 1) or (b.ms > a.ms and b.seq == 0) for a, b in pairwise(positions))


def test_a_wall_clock_that_is_behind_does_not_hold_the_clock_back(contract: Contract) -> None:
    contract.event("a")
    ahead = Position(contract.now_ms() + 3_600_000, 5)
    contract.set_meta(position=ahead, wall=ahead.ms)
    ids = [contract.event(channel) for channel in "abab"]
    assert [id_.position for id_ in ids] == [Position(ahead.ms, seq) for seq in (6, 7, 8, 9)]
    assert abs(contract.log("a")[-1].wall_ms - contract.now_ms()) < 60_000


# Idempotency


def test_the_same_key_appends_once(contract: Contract) -> None:
    first = contract.event("a", key="k")
    assert contract.known("a", "k") == (first, True)
    assert len(contract.log("a")) == 1
    assert contract.meta["position"] == str(first.position)


def test_a_key_belongs_to_its_channel(contract: Contract) -> None:
    first = contract.event("a", key="k")
    second, known = contract.known("b", "k")
    assert not known
    assert second.position > first.position


def test_a_key_is_forgotten_after_its_time(contract: Contract) -> None:
    first = contract.event("a", key="k")
    key = contract.partition.idempotency(Channel("a"), "k")
    assert 590_000 < contract.pttl(key) <= 600_000
    contract.client.pexpire(key, 1)
    eventually(lambda: not contract.client.exists(key))
    second, known = contract.known("a", "k")
    assert not known
    assert second.position > first.position


def test_idempotency_is_checked_before_anything_else(contract: Contract) -> None:
    first = contract.event("a", key="k")
    contract.end("a")
    contract.set_meta(version="2")
    assert contract.known("a", "k") == (first, True)


# The end of a channel


def test_close(contract: Contract) -> None:
    event = contract.event("a")
    end, known = contract.end("a")
    assert not known
    assert end.position > event.position
    last = contract.log("a")[-1]
    assert (last.id, last.prev, last.kind) == (end, event.position, Kind.END)
    assert (last.type, last.data) == (b"fanlight.end", b'{"channel":"a"}')
    assert contract.tail("a") == f"{end} end"


def test_closing_twice_is_once(contract: Contract) -> None:
    first, _ = contract.end("a")
    assert contract.end("a") == (first, True)
    assert len(contract.log("a")) == 1


def test_nothing_follows_the_end(contract: Contract) -> None:
    end, _ = contract.end("a")
    before = contract.dump()
    with pytest.raises(redis.ResponseError, match=f"^FANLIGHTCLOSED the channel ended with {end}$"):
        contract.event("a")
    assert contract.dump() == before
    contract.event("b")


# What is carried


@pytest.mark.parametrize(
    ("type_", "data"),
    [(None, ""), ("tick", "1"), ("é", "a\nb\r\nc\n\n"), ("a b", "Grüße 🎉"), (None, "x" * 200_000)],
)
def test_message_entry_and_payload_are_the_same_bytes(
    contract: Contract, type_: str | None, data: str
) -> None:
    with contract.client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(contract.partition.live(Channel("a")))
        assert pubsub.get_message(timeout=10) is None  # the confirmation
        id_ = contract.event("a", data, type=type_)
        message = pubsub.get_message(timeout=10)
    assert message is not None
    ((_, fields),) = contract.client.xrange(contract.partition.stream(Channel("a")))
    assert message["data"] == fields[FIELD]
    payload = decode(message["data"])
    assert payload == Payload(id_, ORIGIN, payload.wall_ms, Kind.EVENT, (type_ or "").encode(), data.encode())
    assert abs(payload.wall_ms - contract.now_ms()) < 60_000
    assert payload.encode() == message["data"]


@pytest.mark.parametrize("key", ["k", None])
def test_extensions_of_the_head_are_the_last_argument_and_may_be_missing(
    contract: Contract, key: str | None
) -> None:
    *arguments, life_ms = contract.command("a", "x", "k").arguments
    if key is None:
        arguments[0] = 3
        del arguments[4]
    for extensions in ([], [b"traceparent=00-1-2-3 later=1"]):
        contract.client.eval(SCRIPT, *arguments, life_ms, *extensions)
        contract.client.delete(contract.partition.idempotency(Channel("a"), "k"))
    entries = contract.client.xrange(contract.partition.stream(Channel("a")))
    plain, extended = (fields[FIELD].split(b"\n") for _, fields in entries)
    assert re.fullmatch(rb"1 \S+ \S+ \S+ event", plain[0])
    assert re.fullmatch(rb"1 \S+ \S+ \S+ event traceparent=00-1-2-3 later=1", extended[0])
    assert plain[1:] == extended[1:] == [b"", b"x"]


# What is kept, and for how long


def test_expiry(contract: Contract) -> None:
    stream, tail = contract.partition.stream(Channel("a")), contract.partition.tail(Channel("a"))
    contract.event("a", retention_seconds=60)
    assert 50_000 < contract.pttl(stream) <= 60_000
    assert TAIL_MS - 10_000 < contract.pttl(tail) <= TAIL_MS
    assert contract.pttl(contract.partition.meta) == -1


def test_every_publish_renews_the_expiry(contract: Contract) -> None:
    stream, tail = contract.partition.stream(Channel("a")), contract.partition.tail(Channel("a"))
    contract.event("a", retention_seconds=60)
    contract.client.pexpire(tail, 5000)
    contract.event("a", retention_seconds=90)
    assert 80_000 < contract.pttl(stream) <= 90_000
    assert TAIL_MS - 10_000 < contract.pttl(tail) <= TAIL_MS


def test_a_tail_lives_until_its_position_is_a_day_old(contract: Contract) -> None:
    """The wall clock went back by an hour; a reader reckons the age of a missing tail by positions."""
    contract.event("a")
    hour_ms = 3600 * 1000
    contract.client.hset(contract.partition.meta, "position", f"{contract.now_ms() + hour_ms}-0")
    id_ = contract.event("a")
    tail = contract.partition.tail(Channel("a"))
    assert contract.now_ms() + contract.pttl(tail) >= id_.position.ms + TAIL_MS - 10
    # However far it went back: Redis must not refuse the expiry of what is in the stream already.
    contract.client.hset(contract.partition.meta, "position", f"{2**62}-0")
    contract.event("a")
    assert len(contract.log("a")) == 3


def test_the_stream_is_trimmed_to_the_newest(contract: Contract) -> None:
    for number in range(500):
        contract.event("a", str(number), retention_events=100)
    log = contract.log("a")
    assert 100 <= len(log) < 300  # whole nodes only, of 100 entries by default
    assert [payload.data for payload in log] == [b"%d" % number for number in range(500)][-len(log) :]


def test_the_chain_goes_on_where_the_stream_has_expired(contract: Contract) -> None:
    first = contract.event("a")
    contract.client.delete(contract.partition.stream(Channel("a")))
    contract.event("a")
    assert contract.log("a")[0].prev == first.position


def test_the_chain_goes_on_where_the_tail_is_gone(contract: Contract) -> None:
    first = contract.event("a")
    contract.client.delete(contract.partition.tail(Channel("a")))
    contract.event("a")
    assert contract.log("a")[-1].prev == first.position


# Without meta


@pytest.mark.parametrize("tail", ["with its tail", "without its tail"])
@pytest.mark.parametrize("first", ["the channel itself", "another channel", "a check"])
def test_a_lost_meta_begins_above_the_streams(contract: Contract, tail: str, first: str) -> None:
    """Also when the wall clock is behind, and when the channel is not the first to be published to."""
    contract.event("a")
    ahead = Position(contract.now_ms() + 3_600_000, 0)
    contract.set_meta(position=ahead)
    before = contract.event("a")
    contract.client.delete(contract.partition.meta)
    if tail == "without its tail":
        contract.client.delete(contract.partition.tail(Channel("a")))
    if first == "another channel":
        contract.event("b")
    elif first == "a check":
        contract.check()
    after = contract.event("a")
    assert after.position == Position(ahead.ms, before.position.seq + 1)
    assert after.epoch != before.epoch
    assert contract.meta["breaks"] == ""
    assert contract.event("b").position > after.position


# Epochs


def test_another_process_means_another_epoch(contract: Contract) -> None:
    before = contract.event("a")
    run_id = contract.meta["run_id"]
    contract.restarted()
    after = contract.event("a")
    assert after.epoch != before.epoch
    assert after.position > before.position
    assert contract.meta["breaks"].split() == [f"{before.epoch}:{before.position}"]
    assert contract.meta["run_id"] == run_id
    contract.quiet()
    assert contract.event("a").epoch == after.epoch


@pytest.mark.parametrize("reason", ["the clock went back", "quiet", "a second since the last check"])
def test_when_the_identity_is_compared(contract: Contract, reason: str) -> None:
    before = contract.event("a")
    contract.set_meta(run_id="0" * 40)
    wall = contract.now_ms()
    match reason:
        case "the clock went back":
            contract.set_meta(wall=wall + 60_000, checked=wall + 60_000)
        case "quiet":
            contract.set_meta(wall=wall - 1000, checked=wall)
        case _:
            contract.set_meta(wall=wall, checked=wall - 2000)
    assert contract.event("a").epoch != before.epoch


def test_another_history_without_a_promotion_is_no_break(contract: Contract) -> None:
    """A primary whose last replica has gone for good takes a new replication id. Nothing is lost."""
    before = contract.event("a")
    replid = contract.meta["replid"]
    contract.set_meta(replid="0" * 40)
    contract.quiet()
    assert contract.event("a").epoch == before.epoch
    assert contract.meta["replid"] == replid


def test_a_promotion_is_a_break(own: Contract) -> None:
    before = own.event("a")
    own.client.replicaof("127.0.0.1", 1)
    own.client.replicaof("NO", "ONE")
    own.quiet()
    after = own.event("a")
    assert after.epoch != before.epoch
    assert own.meta["breaks"].split() == [f"{before.epoch}:{before.position}"]


def test_a_real_restart_is_a_break(prefix: str) -> None:
    with RedisServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        contract = Contract(server.client(), prefix)
        before = contract.event("a")
        server.restart(crash=True)
        contract = Contract(server.client(), prefix)
        position, epoch, breaks = contract.check()
        assert position == before.position
        assert epoch != before.epoch
        assert breaks == [f"{before.epoch}:{before.position}"]
        after = contract.event("a")
        assert after.epoch == epoch
        assert contract.log("a")[-1].prev == before.position


def test_the_newest_sixteen_breaks_are_kept(contract: Contract) -> None:
    breaks: list[str] = []
    for _ in range(20):
        id_ = contract.event("a")
        breaks.insert(0, f"{id_.epoch}:{id_.position}")
        contract.restarted()
    contract.event("a")
    assert contract.meta["breaks"].split() == breaks[:16]
    assert len({item[:6] for item in breaks}) == 20


# Check


def test_check_begins_a_partition(contract: Contract) -> None:
    now_ms = contract.now_ms()
    position, epoch, breaks = contract.check()
    assert position.ms >= now_ms
    assert breaks == []
    first = contract.event("a")
    assert first.position > position
    assert first.epoch == epoch


def test_check_changes_nothing_when_nothing_changed(contract: Contract) -> None:
    id_ = contract.event("a")
    before = contract.dump()
    assert contract.check() == contract.check() == (id_.position, id_.epoch, [])
    assert contract.dump() == before


def test_check_begins_an_epoch_once(contract: Contract) -> None:
    id_ = contract.event("a")
    contract.restarted()
    position, epoch, breaks = contract.check()
    assert position == id_.position
    assert epoch != id_.epoch
    assert breaks == [f"{id_.epoch}:{id_.position}"]
    assert contract.check() == (position, epoch, breaks)
    assert contract.event("a").epoch == epoch


# Refusals


@pytest.fixture
def full(own: Contract) -> Iterator[Contract]:
    """A server that is out of memory, with one event in channel a."""
    own.event("a")
    own.client.config_set("maxmemory", 1)
    yield own
    own.client.config_set("maxmemory", 0)


def test_a_full_server_refuses_before_anything_is_written(full: Contract) -> None:
    before = full.dump()
    with full.client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(full.partition.live(Channel("a")))
        assert pubsub.get_message(timeout=10) is None  # the confirmation
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            full.event("a", key="k")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            full.end("a")
        full.client.publish(full.partition.live(Channel("a")), "the only message")
        message = pubsub.get_message(timeout=10)
    assert message is not None
    assert message["data"] == b"the only message"
    assert full.dump() == before


def test_a_full_server_can_be_checked(full: Contract) -> None:
    assert full.check()[1] == full.meta["epoch"]


def test_another_contract_version_is_refused(contract: Contract) -> None:
    contract.event("a")
    contract.set_meta(version="2")
    before = contract.dump()
    with pytest.raises(redis.ResponseError, match=r"^FANLIGHTVERSION .* is of contract version 2"):
        contract.event("a")
    with pytest.raises(redis.ResponseError, match=r"^FANLIGHTVERSION"):
        contract.check()
    assert contract.dump() == before
