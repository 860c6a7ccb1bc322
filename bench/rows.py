"""The rows: what is measured, of which subjects in turn, and what it has to come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from bench.connection_scenarios import Accepting, Idle, Storm, Unasked
from bench.load import Audience
from bench.publish_scenarios import ByLibrary, OverHttp
from bench.scenarios import Fanout, Saturation, Scenario
from bench.subjects import Bare, Fanlight, Nchan, QueueAndTask, SseStarlette
from bench.verdict import SUBJECT, Target


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    title: str
    runs: Mapping[str, Scenario]
    """By the subject's name; each is run once, in this order, before any is run again."""
    targets: tuple[Target, ...]
    extra: tuple[str, ...] = ()
    """Those of `runs` that no target needs: left out of a short run."""


ALL_DELIVERED = (
    Target("lost", 0, exact=True),
    Target("violations", 0, exact=True),
    Target("gaps", 0, exact=True),
)
ONE_CHANNEL = "one channel"
PLAIN = "plain"
THOUSAND, TEN_THOUSAND = Audience(1_000), Audience(10_000)
# A prime number of channels: see Audience.followed_by. Each has about 201 followers, so that 250 events/s
# make about 50,000 deliveries/s, as 25 events/s of one channel do.
OVERLAPPING = Audience(2_000, channels=199, width=20)

ROWS = (
    Row(
        "broadcast",
        "Broadcast: 1,000 streams of one channel, 50 events/s",
        {
            SUBJECT: Fanout(Fanlight, THOUSAND, 50),
            Bare.name: Fanout(partial(Bare, 50), THOUSAND, 50),
            QueueAndTask.name: Fanout(QueueAndTask, THOUSAND, 50),
            Nchan.name: Fanout(Nchan, THOUSAND, 50),
            SseStarlette.name: Fanout(SseStarlette, THOUSAND, 50),
        },
        (
            Target("cpu_us", 1.4, of=Bare.name),
            Target("cpu_us", 0.6, of=QueueAndTask.name),
            *ALL_DELIVERED,
        ),
        extra=(Nchan.name, SseStarlette.name),
    ),
    Row(
        "broadcast-10k",
        "Broadcast: 10,000 streams of one channel, 5 events/s",
        {
            SUBJECT: Fanout(Fanlight, TEN_THOUSAND, 5),
            Bare.name: Fanout(partial(Bare, 5), TEN_THOUSAND, 5),
        },
        (Target("cpu_us", 1.4, of=Bare.name), Target("p99_ms", 200), *ALL_DELIVERED),
    ),
    Row(
        "compressed",
        "Compressed: 1,000 streams of one channel, 50 events/s",
        {
            SUBJECT: Fanout(partial(Fanlight, compression="gzip"), THOUSAND, 50, accept_encoding="gzip"),
            PLAIN: Fanout(Fanlight, THOUSAND, 50),
        },
        (Target("cpu_us", 1.2, of=PLAIN), *ALL_DELIVERED),
    ),
    Row(
        "million",
        "Broadcast: 1,000 streams of one channel, 1,000 events/s",
        {SUBJECT: Fanout(Fanlight, THOUSAND, 1_000, sample=10)},
        (Target("cpu_us", 0.7), Target("p99_ms", 100), *ALL_DELIVERED),
    ),
    Row(
        "saturation",
        "Saturation: 1,000 streams of one channel, as many events as go through",
        {SUBJECT: Saturation(THOUSAND)},
        (Target("deliveries_per_s", 2_000_000, at_least=True), *ALL_DELIVERED),
    ),
    Row(
        "unicast",
        "Unicast: 5,000 streams with a channel each, 20,000 events/s in all",
        {SUBJECT: Fanout(Fanlight, Audience(5_000, channels=5_000), 20_000, publisher="script")},
        (Target("cpu_us", 27), Target("p99_ms", 20), *ALL_DELIVERED),
    ),
    Row(
        "overlapping",
        "20 of 199 channels a stream: 2,000 streams, about 50,000 deliveries/s",
        {
            SUBJECT: Fanout(Fanlight, OVERLAPPING, 250),
            ONE_CHANNEL: Fanout(Fanlight, Audience(2_000), 25),
        },
        (Target("cpu_us", 1.5, of=ONE_CHANNEL), *ALL_DELIVERED),
    ),
    Row(
        "memory",
        "Memory: 10,000 idle streams",
        {SUBJECT: Idle(10_000)},
        (Target("bytes", 3 * 1024),),
    ),
    Row(
        "accepting",
        "Accepting: 10,000 new streams on 100 channels",
        {SUBJECT: Accepting(Audience(10_000, channels=100))},
        (Target("streams_per_s", 5_000, at_least=True),),
    ),
    Row(
        "storm",
        "Storm: 10,000 clients on 100 channels come back at once, 20 events behind",
        {
            SUBJECT: Storm(Audience(10_000, channels=100), 20, killed=True),
            "all were cut": Storm(Audience(10_000, channels=100), 20, killed=False),
        },
        (
            Target("live_seconds", 4),
            Target("pages_a_channel", 5),
            *ALL_DELIVERED,
            Target("live_seconds", 4, label="all were cut"),
            Target("pages_a_channel", 5, label="all were cut"),
        ),
    ),
    Row(
        "unasked",
        "Unasked: 10,000 connections that never become a request, beside 100 streams that get 50 events/s",
        {
            SUBJECT: Unasked(Audience(100), 50, 10_000, drip=False),
            "header bytes drip": Unasked(Audience(100), 50, 10_000, drip=True),
        },
        tuple(
            target
            for label in (SUBJECT, "header bytes drip")
            for target in (
                Target("closed_seconds", 12, label=label),
                Target("bytes_a_connection", 16 * 1024, label=label),
                Target("p50_ratio", 2, label=label),
                Target("lost", 0, exact=True, label=label),
                Target("ended", 0, exact=True, label=label),
            )
        ),
    ),
    Row(
        "publisher",
        "Publisher: publish_many of one process into one Redis",
        {SUBJECT: ByLibrary()},
        (Target("events_per_s", 30_000, at_least=True), Target("redis_cpu_us", 20)),
    ),
    Row(
        "http",
        "POST /publish: one event in a request, 50 connections",
        {SUBJECT: OverHttp(1)},
        (Target("requests_per_s", 2_500, at_least=True), Target("failed", 0, exact=True)),
    ),
    Row(
        "http-batch",
        "POST /publish: 100 events in a request, 50 connections",
        {SUBJECT: OverHttp(100)},
        (Target("events_per_s", 20_000, at_least=True), Target("failed", 0, exact=True)),
    ),
)
