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
from bench.machine import CannotRun, busy_share, cores, cpu_seconds, idle_of
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
    accept_encoding: str = ""

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        with self.subject() as subject, Load(core=cores().load) as load:
            if self.accept_encoding and not load.report()["inflates"]:
                raise CannotRun("the load client was compiled without zlib (Debian: zlib1g-dev)")
            until, encoding = subject.until, self.accept_encoding
            load.open(self.audience, [subject.port], until=until, accept_encoding=encoding)
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
