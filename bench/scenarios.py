"""How streams are measured: one object is one run of a row, and `measure` gives its numbers.

Names of numbers end in their unit. A number that could not be had is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bench.load import Audience, Load
from bench.machine import busy_share, cores, cpu_seconds, idle_of, resident_bytes
from bench.subjects import Bare, Fanlight, Subject

if TYPE_CHECKING:
    from bench.publishing import PublisherProcess

BUSY = 0.9
"""A core, or a process on it, that is busier than this was the limit, or near it."""
STRANGERS = 0.1
"""More than this of the gateway's core taken by others spoils a measurement."""
LATE_SECONDS = 10.0
"""What has not been delivered so long after the last publish is lost."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often everything is measured."""

    repeats: int
    seconds: float
    warm_up_seconds: float


@dataclass(slots=True)
class Measured:
    """Of one run."""

    numbers: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Scenario(Protocol):
    def measure(self, effort: Effort) -> Measured: ...


@dataclass(slots=True)
class Window:
    """The gateway's CPU time, and how busy the load's core was, between two moments."""

    subject: Subject
    cpu_seconds: float = 0.0

    @contextmanager
    def over(self, measured: Measured) -> Iterator[None]:
        own, load = cores()
        pids, own_idle, load_idle = self.subject.pids, idle_of(own), idle_of(load)
        before, started = cpu_seconds(pids), time.monotonic()
        yield
        self.cpu_seconds = cpu_seconds(pids) - before
        share = self.cpu_seconds / (time.monotonic() - started)
        strangers = max(0.0, busy_share(own_idle, own) - share)
        busy = busy_share(load_idle, load)
        measured.numbers |= {"load_core_busy": busy, "cpu_share": share, "strangers_share": strangers}
        if busy > BUSY:
            measured.notes.append(f"the load's core was {busy:.0%} busy: it may have been the limit")
        if strangers > STRANGERS:
            measured.notes.append(f"other processes took {strangers:.0%} of the gateway's core")


def counted(measured: Measured, report: dict[str, Any], cpu: float, due: int | None) -> None:
    """Add what the load client counted in a window."""
    deliveries, numbers = report["deliveries"], measured.numbers
    numbers["deliveries"] = deliveries
    numbers["load_cpu_share"] = report["cpu_share"]
    if deliveries:
        numbers["cpu_us"] = cpu / deliveries * 1e6
        numbers["deliveries_per_s"] = deliveries / report["last_seconds"]
        numbers["wire_bytes"] = report["bytes"] / deliveries
    for name in ("p50_ms", "p99_ms", "max_ms"):
        if report[name] is not None:
            numbers[name] = report[name]
    for name in ("violations", "gaps", "ended"):
        numbers[name] = report[name]
    if due is not None:
        numbers["lost"] = due - deliveries
    if report["saturated"]:
        measured.notes.append(f"the load client used {report['cpu_share']:.0%} of its core: it was the limit")


def paced(publisher: PublisherProcess, rate: float, seconds: float) -> dict[str, Any]:
    return publisher.ask(f"go {rate} {seconds}", seconds=4 * seconds + 30)


@dataclass(frozen=True, slots=True)
class Fanout:
    """Events at a rate (over all channels) to an audience."""

    subject: Callable[[], Subject]
    audience: Audience
    rate: float
    publisher: str | None = None
    """Of another kind than the subject's own."""
    sample: int = 1

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        with self.subject() as subject, Load(core=cores().load) as load:
            load.open(self.audience, [subject.port], until=subject.until)
            if isinstance(subject, Bare):
                self._listen(measured, subject, load, effort)
            else:
                with subject.publishing(self.audience.channels, kind=self.publisher) as publisher:
                    self._publish(measured, subject, load, publisher, effort)
        return measured

    def _listen(self, measured: Measured, subject: Subject, load: Load, effort: Effort) -> None:
        time.sleep(effort.warm_up_seconds)
        load.mark(sample=self.sample)
        window = Window(subject)
        with window.over(measured):
            time.sleep(effort.seconds)
            report = load.report()
        counted(measured, report, window.cpu_seconds, None)

    def _publish(
        self, measured: Measured, subject: Subject, load: Load, publisher: PublisherProcess, effort: Effort
    ) -> None:
        load.mark()
        sent = paced(publisher, self.rate, effort.warm_up_seconds)
        load.wait(self.audience.deliveries(sent["first"], sent["published"]), seconds=LATE_SECONDS)
        load.mark(sample=self.sample)
        window = Window(subject)
        with window.over(measured):
            sent = paced(publisher, self.rate, effort.seconds)
            due = self.audience.deliveries(sent["first"], sent["published"])
            report = load.wait(due, seconds=LATE_SECONDS)
        counted(measured, report, window.cpu_seconds, due)
        published_per_s = sent["published"] / sent["seconds"]
        measured.numbers["published_per_s"] = published_per_s
        if published_per_s < 0.97 * self.rate:
            measured.notes.append(f"the publisher reached {published_per_s:.0f} of {self.rate:.0f} events/s")


@dataclass(frozen=True, slots=True)
class Saturation:
    """As many events as go through: at most `ahead` of them are published before they are delivered, so
    that no stream falls behind the others and back to replay."""

    audience: Audience
    ahead: int = 200
    batch: int = 20

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        streams = self.audience.streams
        with (
            Fanlight() as subject,
            Load(core=cores().load) as load,
            subject.publishing(1, kind="script") as publisher,
        ):
            load.open(self.audience, [subject.port])
            self._drive(load, publisher, effort.warm_up_seconds)
            load.mark(sample=50)
            window = Window(subject)
            with window.over(measured):
                published = self._drive(load, publisher, effort.seconds, marked=True)
                report = load.wait(published * streams, seconds=LATE_SECONDS)
            counted(measured, report, window.cpu_seconds, published * streams)
            measured.numbers["slow_streams"] = subject.metric("fanlight_slow_streams_total")
        return measured

    def _drive(self, load: Load, publisher: PublisherProcess, seconds: float, *, marked: bool = False) -> int:
        if not marked:
            load.mark(sample=50)
        published, streams = 0, self.audience.streams
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            load.wait(max(0, published + self.batch - self.ahead) * streams, seconds=LATE_SECONDS)
            published += publisher.ask(f"send {self.batch} {self.batch}")["published"]
        if not marked:
            load.wait(published * streams, seconds=LATE_SECONDS)
        return published


@dataclass(frozen=True, slots=True)
class Idle:
    """Memory of streams on which nothing happens, opened few at once, after others have come and gone."""

    streams: int

    def measure(self, effort: Effort) -> Measured:
        with Fanlight() as subject:
            [pid] = subject.pids
            with Load(core=cores().load) as load:
                load.open(Audience(500), [subject.port], in_flight=20)
                load.cut()
            _until_streams(subject, 0)
            before = resident_bytes(pid)
            with Load(core=cores().load) as load:
                load.open(Audience(self.streams), [subject.port], in_flight=20)
                time.sleep(effort.seconds)
                after = resident_bytes(pid)
        return Measured({"bytes": (after - before) / self.streams, "resident_bytes": float(after)})


@dataclass(frozen=True, slots=True)
class Accepting:
    """New streams as fast as the gateway takes them, `in_flight` at once, until all of them are live."""

    audience: Audience
    in_flight: int = 200

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        with Fanlight() as subject:
            with Load(core=cores().load) as load:  # imports, caches
                load.open(Audience(200, self.audience.channels), [subject.port])
            _until_streams(subject, 0)
            with Load(core=cores().load) as load:
                window = Window(subject)
                with window.over(measured):
                    answer = load.open(self.audience, [subject.port], in_flight=self.in_flight)
                report = load.report()
        measured.numbers["streams_per_s"] = self.audience.streams / answer["seconds"]
        measured.numbers["cpu_us_a_stream"] = window.cpu_seconds / self.audience.streams * 1e6
        measured.numbers["load_cpu_seconds"] = report["cpu_seconds"]
        return measured


@dataclass(frozen=True, slots=True)
class Storm:
    """All clients come back at once, each `behind` events behind: after all were cut off, with the node as
    it was; or, `killed`, to a node that has just started and has nothing in memory."""

    audience: Audience
    behind: int
    killed: bool

    def measure(self, effort: Effort) -> Measured:
        measured, streams, channels = Measured(), self.audience.streams, self.audience.channels
        with (
            Fanlight() as subject,
            Load(core=cores().load) as load,
            subject.publishing(channels) as publisher,
        ):
            load.open(self.audience, [subject.port])
            load.mark()
            publisher.ask(f"send {channels} {channels}")
            load.wait(streams, seconds=LATE_SECONDS)
            if self.killed:
                subject.gateway.kill()
            load.cut()
            publisher.ask(f"send {self.behind * channels} {channels}")
            if self.killed:
                subject.restart()
            else:
                _until_streams(subject, 0)
            pages = subject.metric("fanlight_pages_read_total")
            load.mark()
            window = Window(subject)
            with window.over(measured):
                answer = load.reopen(self.audience, subject.port, in_flight=streams, seconds=60)
                report = load.wait(self.behind * streams, seconds=LATE_SECONDS)
            counted(measured, report, window.cpu_seconds, self.behind * streams)
            for name in ("p50_ms", "p99_ms", "max_ms"):  # since the publish, when nobody was there
                del measured.numbers[name]
            pages = subject.metric("fanlight_pages_read_total") - pages
        measured.numbers["live_seconds"] = answer["seconds"]
        measured.numbers["pages_a_channel"] = pages / channels
        return measured


def _until_streams(subject: Fanlight, count: int) -> None:
    deadline = time.monotonic() + 30
    while subject.metric("fanlight_streams_open") > count:
        if time.monotonic() > deadline:
            raise AssertionError("the gateway keeps streams whose clients have gone")
        time.sleep(0.05)
