"""How connections are measured: their memory, how fast they are taken, and how they come back."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.crowd import Crowd
from bench.load import Audience, Load
from bench.machine import cores, resident_bytes
from bench.scenarios import LATE_SECONDS, Effort, Measured, Window, counted, paced
from bench.subjects import Fanlight

if TYPE_CHECKING:
    from bench.publishing import PublisherProcess


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


@dataclass(frozen=True, slots=True)
class Unasked:
    """Streams that get events while a crowd of connections never gets as far as a request: silent, or
    dripping header bytes. The streams' latency is told in ratio to that before the crowd came."""

    audience: Audience
    rate: float
    connections: int
    drip: bool

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        load_core = cores().load
        with (
            Fanlight() as subject,
            Load(core=load_core) as load,
            subject.publishing(self.audience.channels) as publisher,
        ):
            [pid] = subject.pids
            load.open(self.audience, [subject.port])
            before = self._deliver(load, publisher, effort.seconds)
            empty_bytes = resident_bytes(pid)
            window = Window(subject)
            crowd = Crowd(subject.port, self.connections, drip=self.drip, pid=pid, core=load_core)
            with window.over(measured), crowd:
                reports = []
                while not crowd.done:  # it is there for as long as its members may be
                    reports.append(self._deliver(load, publisher, 1.0))
            after = self._deliver(load, publisher, effort.seconds)
            refused = subject.metric("fanlight_limits_hit_total", label="connections")
            expired = subject.metric("fanlight_limits_hit_total", label="header_seconds")
            measured.numbers |= {
                "closed_seconds": crowd.longest_seconds,
                "refused": refused,
                "expired": expired,
                "resident_growth_bytes": float(crowd.peak_bytes - empty_bytes),
                "bytes_a_connection": (crowd.peak_bytes - empty_bytes) / max(expired, 1),
                "p50_ms": statistics.median(report["p50_ms"] for report in reports),
                "p50_ratio": statistics.median(report["p50_ms"] for report in reports) / before["p50_ms"],
                "max_ms": max(report["max_ms"] for report in reports),
                "max_ms_before": before["max_ms"],
                "lost": sum(report["lost"] for report in (before, *reports, after)),
                "violations": after["violations"],
                "gaps": after["gaps"],
                "ended": after["ended"],
            }
        return measured

    def _deliver(self, load: Load, publisher: PublisherProcess, seconds: float) -> dict[str, Any]:
        load.mark()
        sent = paced(publisher, self.rate, seconds)
        due = self.audience.deliveries(sent["first"], sent["published"])
        report = load.wait(due, seconds=LATE_SECONDS)
        return {**report, "lost": due - report["deliveries"]}


def _until_streams(subject: Fanlight, count: int) -> None:
    deadline = time.monotonic() + 30
    while subject.metric("fanlight_streams_open") > count:
        if time.monotonic() > deadline:
            raise AssertionError("the gateway keeps streams whose clients have gone")
        time.sleep(0.05)
