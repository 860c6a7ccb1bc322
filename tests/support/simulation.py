"""The gateway's hub in a world of dice: every interleaving that a network allows, without a network.

`World` holds one Redis, two nodes, and browsers that come, go, read slowly and resume. Nothing happens by
itself: each `step` lets one thing go on by one notch (Redis executes a command, a node takes in a reply,
a read is answered, a client receives some bytes), so a seed is a schedule. `settle` then lets everything
come to rest, and `check` compares what every browser saw with what was published.

The simulated Redis follows the contract of `fanlight.lua`; hub, subscriptions, merge, hot tails and
interest are the product's own.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.hub.hub import Hub
from gateway.hub.state import Limits
from gateway.hub.subscription import Phase, Subscription
from gateway.protocol.closing import CloseReason
from gateway.protocol.epochs import Break, History
from gateway.protocol.interest import Interest, Work
from gateway.protocol.merge import Page, Read, Start
from gateway.protocol.publication import Publication
from gateway.protocol.sse import Encoding
from publisher.channels import Channel
from publisher.ids import ORIGIN, Epoch, EventId, Position
from publisher.payload import InvalidPayload, Kind, Payload, decode_id

BEGINNING = Position(1000, 0)
NAMES = tuple(Channel(name) for name in "abcd")


@dataclass(frozen=True, slots=True)
class Fact:
    """An event as it was published."""

    channel: Channel
    id: EventId
    era: int
    """The number of its epoch: epochs in the order in which they began."""

    @property
    def key(self) -> tuple[int, Position]:
        return self.era, self.id.position


@dataclass
class Dataset:
    """What a Redis holds; a replica's copy lags behind."""

    position: Position = BEGINNING
    logs: dict[Channel, list[bytes]] = field(default_factory=dict)
    tails: dict[Channel, tuple[EventId, bool]] = field(default_factory=dict)

    def copy(self) -> Dataset:
        return Dataset(self.position, {c: list(log) for c, log in self.logs.items()}, dict(self.tails))


class SimRedis:
    """One partition. Commands are executed one at a time, each when a link's step says so."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.data = Dataset()
        self.eras = ["000000"]
        self.breaks: tuple[Break, ...] = ()
        self.links: dict[SimLink, None] = {}
        self.facts: list[Fact] = []
        self.evicting = False
        self.lost: set[EventId] = set()
        self._replica = self.data.copy()
        self.replicates = True

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.eras[-1])

    def publish(self, channel: Channel, *, kind: Kind = Kind.EVENT, heard: bool = True) -> None:
        """Run the script, with or without its PUBLISH."""
        data = self.data
        last, ended = data.tails.get(channel, (None, False))
        if ended:
            return
        ms, seq = data.position
        data.position = Position(ms, seq + 1) if self._dice.random() < 0.5 else Position(ms + 1, 0)
        id_ = EventId(data.position, self.epoch)
        prev = last.position if last is not None else self._newest(channel)
        type_ = b"fanlight.end" if kind is Kind.END else b""
        payload = Payload(id_, prev, ms, kind, type_, b'{"channel":"%b"}' % channel.encode()).encode()
        data.logs.setdefault(channel, []).append(payload)
        data.tails[channel] = (id_, kind is Kind.END)
        self.facts.append(Fact(channel, id_, len(self.eras) - 1))
        for link in self.links:
            if heard:
                link.hear(channel, payload)
        if self._dice.random() < 0.7 and self.replicates:
            self._replica = data.copy()

    def _newest(self, channel: Channel) -> Position:
        log = self.data.logs.get(channel)
        return decode_id(log[-1]).position if log else ORIGIN

    def shout(self, channel: Channel) -> None:
        """PUBLISH by somebody else: a payload that nothing stands behind, and late."""
        ms, _ = self.data.position
        position = Position(max(1, ms - self._dice.randint(1, 5)), 1000 + self._dice.randrange(1_000_000))
        prev = self._dice.choice([ORIGIN, self._newest(channel), position.before()])
        data = b'{"channel":"%b"}' % channel.encode()
        prev = min(prev, position.before())
        epoch = self._dice.choice([self.epoch, Epoch("ffffff")])
        payload = Payload(EventId(position, epoch), prev, ms, Kind.EVENT, b"", data).encode()
        for link in self.links:
            link.hear(channel, payload)

    def mute(self, channel: Channel) -> None:
        """XADD by somebody else, and nobody hears of it. No promise is made for such an event: who has
        passed its id on a node that did not know can't be told. It must cost no other event, though."""
        before = len(self.facts)
        self.publish(channel, heard=False)
        del self.facts[before:]

    def spoil(self, channel: Channel) -> None:
        """An event that must not reach a client: it is in the log, and is heard."""
        before = len(self.facts)
        self.publish(channel, heard=False)
        if len(self.facts) > before:
            spoiled = self.data.logs[channel][-1] + b"\0"
            self.data.logs[channel][-1] = spoiled
            for link in self.links:
                link.hear(channel, spoiled)

    def evict(self, channel: Channel) -> None:
        if self._dice.random() < 0.6:
            self.data.logs.pop(channel, None)
        if self._dice.random() < 0.6:
            self.data.tails.pop(channel, None)

    def trim(self, channel: Channel) -> None:
        log = self.data.logs.get(channel)
        if log:
            del log[: self._dice.randint(1, len(log))]

    def promote(self) -> None:
        """The replica takes over: what it had not got is lost, and an epoch ends there."""
        survived = self._replica.position
        self.lost |= {fact.id for fact in self.facts if fact.era == len(self.eras) - 1} & {
            fact.id for fact in self.facts if fact.id.position > survived
        }
        self.breaks = (Break(self.epoch, survived), *self.breaks)[:16]
        self.data = self._replica.copy()
        self._new_epoch()

    def wipe(self) -> None:
        self.lost |= {fact.id for fact in self.facts}
        self.breaks = ()
        self.data = Dataset(Position(self.data.position.ms + self._dice.randint(-5, 5), 0))
        self._new_epoch()

    def forget_epochs(self) -> None:
        """meta is gone, and the streams are not."""
        self.breaks = ()
        self._new_epoch()

    def _new_epoch(self) -> None:
        self.eras.append(f"{len(self.eras):06x}")
        if self._dice.random() < 0.5:  # the new clock may stand behind the lost ids, or before them
            self.data.position = Position(self.data.position.ms + self._dice.randint(1, 20), 0)
        self._replica = self.data.copy()

    def read(self, read: Read, count: int) -> Page:
        entries = [
            raw
            for raw in self.data.logs.get(read.channel, ())
            if read.lower < decode_id(raw).position <= read.target
        ][:count]
        publications, invalid = [], []
        for raw in entries:
            try:
                if len(raw) > Limits().max_payload_bytes:
                    raise InvalidPayload("too large")
                publications.append(Publication.decode(read.channel, raw))
            except InvalidPayload:
                invalid.append(decode_id(raw).position)
        full = len(entries) == count
        if full:
            return Page(tuple(publications), decode_id(entries[-1]).position, tuple(invalid))
        return Page(tuple(publications), read.target, tuple(invalid), read.expected)


class SimLink:
    """A node's subscriber connection, as the hub's `Link`: commands and answers stay in order."""

    def __init__(self, redis: SimRedis, interest: Interest) -> None:
        self._redis = redis
        self._interest = interest
        self.hub: Hub
        self.up = False
        self._subscribed: set[Channel] = set()
        self._commands: deque[Callable[[], None]] = deque()
        self.arriving: deque[Callable[[], None]] = deque()
        self._ticket = 0
        self.work_due = False

    def connect(self) -> None:
        if self.up:
            return
        self._interest.reset()
        self.up = True
        self._redis.links[self] = None
        history = History(self._redis.epoch, self._redis.breaks)
        self.hub.connected(history, self._redis.data.position, evicting=self._redis.evicting)
        self.send_work()

    def cut(self) -> None:
        if self.up:
            self.up = False
            self._redis.links.pop(self, None)
            self._subscribed.clear()
            self._commands.clear()
            self.arriving.clear()
            self.hub.lost()

    # The hub's port.

    def interest_changed(self) -> None:
        self.work_due = True

    def restart(self, reason: str) -> None:
        self.cut()

    def wake(self) -> None:
        pass

    def read_position(self) -> int:
        self._ticket += 1
        ticket = self._ticket
        if self.up:
            self._commands.append(lambda: self._position(lambda p, e: self.hub.position(p, e, ticket)))
        return ticket

    # Steps.

    def send_work(self) -> None:
        if not self.up:
            return
        self.work_due = False
        work = self._interest.take(2)
        for channel in work.subscribe:
            self._commands.append(lambda c=channel: self._subscribe(c))  # type: ignore[misc]
        for channel in work.unsubscribe:
            self._commands.append(lambda c=channel: self._unsubscribe(c))  # type: ignore[misc]
        if work.floors:
            self._commands.append(lambda: self._floors(work))
        self.work_due = bool(work)

    def execute(self) -> None:
        """Redis executes the next command."""
        if self._commands:
            self._commands.popleft()()

    def ingest(self, most: int) -> None:
        """What has arrived is taken in; then the batch ends."""
        for _ in range(min(most, len(self.arriving))):
            if not self.arriving:  # restarted in the midst of the batch
                return
            self.arriving.popleft()()
        if self.up:
            self.hub.end_of_batch()

    def hear(self, channel: Channel, payload: bytes) -> None:
        if channel in self._subscribed:
            self.arriving.append(lambda: self.hub.message(channel, payload))

    def _subscribe(self, channel: Channel) -> None:
        self._subscribed.add(channel)

    def _unsubscribe(self, channel: Channel) -> None:
        self._subscribed.discard(channel)

    def _floors(self, work: Work) -> None:
        channels = work.floors
        tails = [self._redis.data.tails.get(channel) for channel in channels]

        def then(position: Position, epoch: str) -> None:
            self.hub.position(position, epoch, 0)
            if not self.up:
                return
            given = self._interest.floors_read(work)
            for channel, tail in zip(channels, tails, strict=True):
                if channel in given:
                    id_, ended = tail if tail is not None else (None, False)
                    self.hub.floor(channel, position, id_, now_ms=position.ms, ended=ended)

        # Tails, then the position: others' commands may come between the two.
        self._commands.appendleft(lambda: self._position(then))

    def _position(self, then: Callable[[Position, str], None]) -> None:
        position, epoch = self._redis.data.position, self._redis.epoch
        self.arriving.append(lambda: then(position, epoch))


class SimLog:
    """Reads of the log: each channel is read at a moment of its own, and the answer comes later still."""

    def __init__(self, redis: SimRedis, dice: random.Random) -> None:
        self._redis = redis
        self._dice = dice
        self.pending: list[_Reading] = []
        self.reads = 0
        self.searches = 0
        self._kept: dict[tuple[Channel, Position], Page] = {}

    def new_generation(self) -> None:
        self._kept = {}

    def read(self, reads: Sequence[Read], done: Callable[[Sequence[Page]], None]) -> None:
        self.reads += 1
        self.pending.append(_Reading(list(reads), done, self._kept))

    def newest(
        self,
        channels: Sequence[Channel],
        target: Position,
        count: int,
        wanted: Callable[[], bool],
        done: Callable[[Sequence[Start]], None],
    ) -> None:
        self.searches += 1
        everything = [Read(c, ORIGIN, target, target, False, False, None) for c in channels]

        def then(pages: Sequence[Page]) -> None:
            newest = [page.publications[-count:] for page in pages]
            done([Start(entries[0].position.before() if entries else target) for entries in newest])

        self.pending.append(_Reading(everything, then, self._kept, whole=True))

    def go_on(self) -> None:
        if not self.pending:
            return
        reading = self._dice.choice(self.pending)
        if len(reading.pages) < len(reading.reads):
            read = reading.reads[len(reading.pages)]
            count = 1_000_000 if reading.whole else self._dice.choice([1, 2, 3, 100])
            # A page may be shared with those who want the same a moment later, with a later target.
            key = (read.channel, read.lower)
            page = self._kept.get(key)
            if page is None or reading.whole or self._dice.random() < 0.5:
                page = self._redis.read(read, count)
            if not reading.whole and reading.kept is self._kept:
                self._kept[key] = page
            reading.pages.append(page)
        else:
            self.pending.remove(reading)
            reading.done(reading.pages)


@dataclass
class _Reading:
    reads: list[Read]
    done: Callable[[Sequence[Page]], None]
    kept: dict[tuple[Channel, Position], Page]
    """Of the generation in which it began."""
    pages: list[Page] = field(default_factory=list)
    whole: bool = False


class SimNode:
    """A gateway node."""

    def __init__(
        self,
        redis: SimRedis,
        dice: random.Random,
        limits: Limits | None = None,
        *,
        max_replay_events: int = 1_000_000,
    ) -> None:
        self.dice = dice
        interest = Interest()
        self.link = SimLink(redis, interest)
        self.log = SimLog(redis, dice)
        limits = limits or Limits(
            hot_tail_bytes=dice.choice([0, 700, 3000]),
            hot_tails_bytes=7000,
            page_bytes=64,
            max_replays=dice.choice([1, 2]),
            max_replay_events=max_replay_events,
            linger_seconds=0.1,
        )
        self.hub = self.link.hub = Hub(interest, limits)
        self.hub.wire(self.link, self.log)
        self.link.connect()
        self.lags = False

    def toggle_lag(self) -> None:
        """While it lags, what arrives on its link waits: the other node is ahead of it."""
        self.lags = not self.lags and self.dice.random() < 0.5

    def settle(self) -> None:
        """For a test without dice: all that was asked for and said is answered and heard."""
        for _ in range(50):
            self.link.send_work()
            self.link.execute()
            self.link.ingest(100)
            self.hub.work()
            self.log.go_on()


class SimStream:
    """A connection as the hub's sink: its bytes reach the client bit by bit, or never."""

    def __init__(self, node: SimNode, browser: Browser, cursor: str | None) -> None:
        self.mark_bytes = node.dice.choice([0, 300, 300, 3000])
        self.node = node
        self.browser = browser
        self.full = False
        self.ended = False
        self.buffer = bytearray()
        encoding = Encoding(chunked=False)
        self.subscription = Subscription(
            self, browser.channels, encoding=encoding, cursor=cursor, last=browser.last
        )
        node.hub.register(self.subscription)

    def ready(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        if self.ended:
            return
        self.buffer += data
        if len(self.buffer) > self.mark_bytes and not self.full:
            self.full = True
            self.node.hub.filled(self.subscription)

    def end(self, reason: CloseReason) -> None:
        self.ended = True

    def receive(self, count: int) -> None:
        self.browser.feed(bytes(self.buffer[:count]))
        del self.buffer[:count]
        if self.full and len(self.buffer) <= self.mark_bytes // 4:
            self.full = False
            self.node.hub.drained(self.subscription)


@dataclass(frozen=True, slots=True)
class Told:
    """A gap as the browser was told."""

    channel: str | None
    reason: str
    start: EventId | None
    end: EventId | None


class Browser:
    """A client that resumes by the last id it has got, and remembers everything."""

    def __init__(self, channels: Sequence[Channel], *, last: int = 0) -> None:
        self.channels = tuple(channels)
        self.last = last
        self.stream: SimStream | None = None
        self.last_id: str | None = None
        self.start: EventId | None = None
        self.seen: list[EventId] = []
        self.gaps: list[Told] = []
        self.finished = False
        self.expects: int | None = None
        self._on_this_connection: EventId | None = None
        self._text = b""

    def connect(self, node: SimNode) -> None:
        self._text = b""
        self._on_this_connection = None
        self._cursor = self.last_id or ""
        self.stream = SimStream(node, self, self.last_id)

    def feed(self, data: bytes) -> None:
        self._text += data
        while b"\n\n" in self._text:
            block, self._text = self._text.split(b"\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line != ":")
            self._dispatch(fields)

    def _dispatch(self, fields: dict[str, str]) -> None:
        type_, data, raw_id = fields.get("event", ""), json.loads(fields["data"]), fields.get("id")
        if raw_id is not None:
            self.last_id = raw_id
        if type_ == "fanlight.gap":
            told = [EventId.parse(data[key]) if data[key] else None for key in ("from", "to")]
            self.gaps.append(Told(data["channel"], data["reason"], *told))
            return
        assert raw_id is not None
        id_ = EventId.parse(raw_id)
        if type_ != "fanlight.open":
            assert data["channel"] in self.channels
            self.seen.append(id_)
            before = self._on_this_connection
            if before is not None and before.epoch == id_.epoch:
                assert before.position < id_.position, f"id {id_} after {before}"
            self._on_this_connection = id_
        elif self.start is None:
            self.start = EventId.parse(self._cursor) if data["resumed"] else id_


def live(node: SimNode, browser: Browser, *, mark_bytes: int) -> SimStream:
    """A stream of the browser that is live, and has got what there was."""
    browser.connect(node)
    stream = browser.stream
    assert stream is not None
    stream.mark_bytes = mark_bytes
    node.settle()
    node.hub.start(stream.subscription)
    node.settle()
    stream.receive(1_000_000)
    assert stream.subscription.phase is Phase.LIVE
    return stream


class World:
    """Redis, nodes and browsers, and a seed that decides what happens next."""

    def __init__(self, seed: int, faults: frozenset[str] = frozenset()) -> None:
        self.dice = random.Random(seed)
        self.faults = faults
        self.redis = SimRedis(self.dice)
        self.redis.evicting = "evict" in faults
        self.nodes = [self._node() for _ in range(2)]
        self.browsers: list[Browser] = []
        self.now = 0.0
        # With some clients live from the start, more happens in the same number of steps.
        for _ in range(4):
            self.new_browser()
        self.settle()

    def _node(self) -> SimNode:
        return SimNode(self.redis, self.dice, max_replay_events=3 if "behind" in self.faults else 1_000_000)

    def step(self, *, quiet: bool = False) -> None:
        """One thing happens; `quiet`: nothing new is published, and nothing breaks."""
        dice, node = self.dice, self.dice.choice(self.nodes)
        self.now += 0.01
        calm: list[tuple[float, Callable[[], object]]] = [
            (14, node.link.execute),
            (18, lambda: None if node.lags and not quiet else node.link.ingest(dice.randint(1, 6))),
            (12, node.log.go_on),
            (12, lambda: node.hub.work(dice.randint(1, 4))),
            (6, node.link.send_work),
            (3, node.link.read_position),
            (5, node.link.connect),
            (14, self.start_one),
            (16, self.receive),
            (16, self.come_back),
            (4, lambda: node.hub.expire_idle(self.now)),
        ]
        wild: list[tuple[float, Callable[[], object]]] = [
            (16, lambda: self.redis.publish(dice.choice(NAMES))),
            (3, self.new_browser),
            (8, self.leave),
            (1, node.link.cut),
            (1, self._age),
            (2, node.toggle_lag),
            (1, lambda: self.crash(node)),
        ]
        if "trim" in self.faults:
            wild.append((1, lambda: self.redis.trim(dice.choice(NAMES))))
        if "promote" in self.faults:
            wild.append((0.2, lambda: self.have_a_break(self.redis.promote)))
        if "wipe" in self.faults:
            wild.append((0.2, lambda: self.have_a_break(self.redis.wipe)))
        if "evict" in self.faults:
            wild.append((0.5, lambda: self.redis.evict(dice.choice(NAMES))))
        if "spoil" in self.faults:
            wild.append((1, lambda: self.redis.spoil(dice.choice(NAMES))))
        if "shout" in self.faults:
            wild.append((1, lambda: self.redis.shout(dice.choice(NAMES))))
        if "mute" in self.faults:
            wild.append((1, lambda: self.redis.mute(dice.choice(NAMES))))
        if "close" in self.faults:
            wild.append((0.3, lambda: self.redis.publish(dice.choice(NAMES), kind=Kind.END)))
        options = calm if quiet else calm + wild
        dice.choices([action for _, action in options], [weight for weight, _ in options])[0]()

    def settle(self, most: int = 20_000) -> None:
        """Until everybody is live or has come to the end, and has received everything."""
        for _ in range(most):
            at_rest = all(self._at_rest(browser) for browser in self.browsers)
            if at_rest and all(self._caught_up(node) for node in self.nodes):
                return
            self.step(quiet=True)
        states = [self._state(b) for b in self.browsers if not self._at_rest(b)]
        raise AssertionError(f"does not come to rest: {states}")

    def _caught_up(self, node: SimNode) -> bool:
        """It has read everything, and a position since the last break."""
        now = node.hub.node
        in_sync = now.in_sync and now.history.epoch == self.redis.epoch
        return in_sync and now.position >= self.redis.data.position and not node.link.arriving

    def _at_rest(self, browser: Browser) -> bool:
        stream = browser.stream
        if browser.finished:
            return True
        return stream is not None and not stream.buffer and stream.subscription.phase is Phase.LIVE

    def _state(self, browser: Browser) -> str:
        if browser.stream is None:
            return "away"
        s = browser.stream.subscription
        return f"{s.phase} started={s.started} missing={s.missing} reading={s.reading} at={s.position}"

    def have_a_break(self, happen: Callable[[], None]) -> None:
        """Links to the old server are gone, mostly: a wipe cuts none, and then the epoch has to tell."""
        happen()
        for node in self.nodes:
            if self.dice.random() < 0.7:
                node.link.cut()

    def crash(self, node: SimNode) -> None:
        node.link.up = False
        self.redis.links.pop(node.link, None)
        for browser in self.browsers:
            if browser.stream is not None and browser.stream.node is node:
                browser.stream = None
        self.nodes[self.nodes.index(node)] = self._node()

    def new_browser(self) -> None:
        if len(self.browsers) < 6:
            channels = self.dice.sample(NAMES, self.dice.choice([1, 2, 3]))
            browser = Browser(channels, last=self.dice.choice([0, 0, 1, 4]))
            self.browsers.append(browser)
            browser.connect(self.dice.choice(self.nodes))

    def come_back(self) -> None:
        away = [b for b in self.browsers if b.stream is None and not b.finished]
        if away:
            self.dice.choice(away).connect(self.dice.choice(self.nodes))

    def start_one(self) -> None:
        """The HTTP handler's part: when the floors are there, answer 204 or send the head."""
        waiting = [b for b in self.browsers if b.stream and not b.stream.subscription.started]
        if not waiting:
            return
        browser = self.dice.choice(waiting)
        stream = browser.stream
        assert stream is not None
        if stream.node.hub.is_ready(stream.subscription):
            if stream.node.hub.is_finished(stream.subscription):
                browser.finished = True
                browser.expects = len(self.redis.facts)  # a wipe may bring a closed channel back to life
                self._hang_up(browser)
            else:
                stream.node.hub.start(stream.subscription)

    def receive(self) -> None:
        connected = [b.stream for b in self.browsers if b.stream is not None]
        if connected:
            stream = self.dice.choice(connected)
            stream.receive(self.dice.choice([10, 100, 1000]))
            if stream.ended and not stream.buffer:
                self._hang_up(stream.browser)

    def leave(self) -> None:
        connected = [b for b in self.browsers if b.stream is not None]
        if connected:
            self._hang_up(self.dice.choice(connected))

    def _age(self) -> None:
        """A stream has reached its age: it takes nothing more, and is gone once its buffer has drained."""
        connected = [b.stream for b in self.browsers if b.stream is not None]
        if connected:
            self.dice.choice(connected).ended = True

    def _hang_up(self, browser: Browser) -> None:
        assert browser.stream is not None
        browser.stream.node.hub.unregister(browser.stream.subscription, self.now)
        browser.stream = None

    # What must hold.

    def check(self) -> None:
        for browser in self.browsers:
            self._check(browser)

    def _check(self, browser: Browser) -> None:
        eras = {Epoch(epoch): era for era, epoch in enumerate(self.redis.eras)}
        assert len(set(browser.seen)) == len(browser.seen), "an event came twice"
        if not self.faults - {"close"}:
            assert not browser.gaps, f"a false gap: {browser.gaps}"
        if browser.start is None:
            return
        start = (eras[browser.start.epoch], browser.start.position)
        seen = set(browser.seen)
        for fact in self.redis.facts[: browser.expects]:
            if fact.channel not in browser.channels or fact.key <= start or fact.id in seen:
                continue
            assert any(self._covers(told, fact, eras) for told in browser.gaps), (
                f"{fact} was lost in silence; start {browser.start}, gaps {browser.gaps}"
            )

    def _covers(self, told: Told, fact: Fact, eras: dict[Epoch, int]) -> bool:
        if told.channel is not None:
            assert told.start is not None
            assert told.end is not None
            inside = told.start.position < fact.id.position <= told.end.position
            return told.channel == fact.channel and inside
        if told.reason == "failover":
            return fact.id in self.redis.lost
        assert told.end is not None
        return fact.key <= (eras[told.end.epoch], told.end.position)
