"""What a node tells Prometheus: read from the owners of the numbers when a scrape asks.

Nothing is pushed: what an event or a delivery counts is an integer of whoever does the work. Labels are
closed sets, and begin at zero; none is a channel, a subject or an address. docs/metrics.md says what each
means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from gateway.metrics import counter, counters, gauge, histogram, info
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GapReason
from gateway.protocol.limits import Limit
from gateway.protocol.replays import ReplayOutcome, ReplaySource
from gateway.protocol.tracing import Verdict
from publisher.control import CONTROL

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.broker.latency import Latency
    from gateway.broker.link import Link
    from gateway.broker.probe import Probe
    from gateway.broker.retention import Retention
    from gateway.broker.streams import Streams as StreamReads
    from gateway.broker.tickets import Tickets
    from gateway.http.admission import Admission
    from gateway.http.authority import Authority
    from gateway.http.control import Control
    from gateway.http.current import Current
    from gateway.http.disconnect import Disconnect
    from gateway.http.events import Events
    from gateway.http.jwks import Jwks
    from gateway.http.publish import Publish
    from gateway.http.streams import Streams
    from gateway.hub.hub import Hub
    from gateway.inspect.inspector import Inspector
    from gateway.loop_lag import LoopLag
    from gateway.protocol.interest import Interest
    from gateway.reload import Reloads
    from gateway.tracing.traces import Traces

_VERSION: Final = version("fanlight")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMetrics:
    """The parts of a node that count."""

    interest: Interest
    hub: Hub
    link: Link
    probe: Probe
    reads: StreamReads
    streams: Streams
    events: Events
    authority: Authority
    tickets: Tickets
    jwks: Jwks | None
    publish: Publish
    admission: Admission
    control: Control
    disconnect: Disconnect
    is_ready: Callable[[], bool]
    """Whether the node takes new streams, as /readyz says."""
    current: Current
    reloads: Reloads | None
    """None in a worker, whose supervisor reloads."""
    latency: Latency
    loop_lag: LoopLag
    retention: Retention
    traces: Traces | None
    """None: nobody takes any."""
    inspector: Inspector

    def collect(self) -> Iterable[Metric]:
        """All of them, as they are now."""
        yield info("build", "What runs here.", {"version": _VERSION})
        yield gauge("ready", "Whether this node takes new streams, as /readyz says.", self.is_ready())
        yield gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))
        yield histogram("event_loop_lag_seconds", "How late timers are served.", self.loop_lag.seconds)
        yield from self._of_streams()
        yield from self._of_events()
        yield from self._of_replays()
        yield from self._of_redis()
        yield from self._of_compression()
        yield from self._of_requests()
        yield from self._of_limits()
        yield from self._of_revocations()
        if self.reloads is not None:
            yield from self.reloads.metrics()
        if self.traces is not None:
            yield from self.traces.metrics()
        yield from self.inspector.metrics()

    def _of_streams(self) -> Iterable[Metric]:
        streams, demoted = self.streams, self.hub.counts.demoted
        closed = {reason.value: streams.closed_total[reason] for reason in CloseReason}
        yield gauge("streams_open", "Open event streams.", streams.open)
        yield gauge("streams_max", "The most that it holds: max_streams.", self.current.settings.max_streams)
        yield counter("streams_opened", "Event streams opened.", streams.opened_total)
        yield counters("streams_closed", "Event streams closed, by reason.", "reason", closed)
        yield counter("streams_shed", "Stream requests turned away for now.", self.events.shed_total)
        yield counter("log_lines_left_out", "Ended streams without a log line.", streams.log.left_out_total)
        yield counter("slow_streams", "Live streams sent back to replay by a backlog.", demoted)

    def _of_events(self) -> Iterable[Metric]:
        counts, groups, hot_tails = self.hub.counts, self.hub.groups, self.hub.hot_tails
        channels = self.hub.node.channels.keys() - {CONTROL}
        yield gauge("channels", "Channels that clients follow here.", len(channels))
        yield counter("events_ingested", "Events taken from the Redis link.", counts.ingested)
        yield counter("batches", "Batches of them, each one write to each of its streams.", counts.batches)
        yield counter("events_invalid", "Messages that are not events of ours.", counts.invalid)
        yield counter("entries_invalid", "Stream entries that are not ours.", self.reads.invalid_entries)
        yield counter("events_delivered", "Events written to live streams.", groups.delivered)
        yield counter(
            "delivered_bytes", "Bytes written to live streams, before compression.", groups.delivered_bytes
        )
        yield histogram("latency_seconds", "From publish to the sockets, live.", self.latency.seconds)
        yield gauge("hot_tails_bytes", "Events kept in memory.", hot_tails.bytes)
        yield counter("hot_tails_dropped", "Events dropped from memory at its bound.", hot_tails.dropped)

    def _of_replays(self) -> Iterable[Metric]:
        counts = self.hub.counts
        gaps = {reason.value: counts.gaps.get(reason.value, 0) for reason in GapReason}
        replays: dict[tuple[str, ...], float] = {
            (source.value, outcome.value): counts.replays[source, outcome]
            for source in ReplaySource
            for outcome in ReplayOutcome
        }
        steps = {"redis": counts.replays_from_log, "memory": counts.replays_from_memory}
        yield gauge("streams_replaying", "Streams in replay.", len(self.hub.replay.members))
        yield gauge("laggard_behind_seconds", "The stream furthest behind.", self.retention.behind_seconds)
        yield gauge("laggard_retention_seconds", "Until one loses events.", self.retention.left_seconds)
        yield gauge("laggard_retention_left_ratio", "Of what is kept for it.", self.retention.left_share)
        yield counter("events_replayed", "Events written in replays.", counts.replayed)
        yield counters("replays", "Replays that ended.", ("source", "outcome"), replays)
        yield counters("replay_steps", "Steps of replays, by where the events came from.", "source", steps)
        yield counter("pages_read", "Pages read from Redis streams.", self.reads.pages_read)
        yield counter("pages_shared", "Pages that served a further reader.", self.reads.pages_shared)
        yield counters("gaps", "Gaps announced, by reason.", "reason", gaps)
        yield counter("holes_healed", "Events missed by a whole link.", counts.holes_healed)

    def _of_redis(self) -> Iterable[Metric]:
        link, probe, interest = self.link.state, self.probe, self.interest
        catching_up = len(self.hub.replay.catch_up)
        outcomes = {
            "heard": probe.heard_total,
            "silent": probe.silent_total,
            "failed": probe.failed_total,
            "moved": probe.moved_total,
        }
        yield gauge("redis_connected", "Whether the Redis link is up.", link.connected)
        yield counter("redis_generations", "Redis links made.", link.generation)
        yield gauge("redis_round_trip_seconds", "Last position read's round trip.", link.round_trip_seconds)
        yield gauge("redis_clock_offset_seconds", "Redis' clock minus ours.", self.link.clock.seconds or 0.0)
        yield gauge("redis_probe_round_trip_seconds", "Last heard probe's.", probe.round_trip_seconds)
        yield counters("redis_probes", "Probes through the publish path, by outcome.", "outcome", outcomes)
        unknown = self.link.primary.unknown_total
        yield counter("redis_primary_unknown", "Times that no sentinel named the primary.", unknown)
        yield gauge("streams_catching_up", "Streams still behind after a loss.", catching_up)
        yield gauge("redis_catch_up_seconds", "Until the last loss had healed.", link.catch_up_seconds)
        wanted, confirmed = len(interest.wanted), len(interest.wanted) - interest.unconfirmed
        yield gauge("redis_subscriptions_wanted", "Channels that the link should follow.", wanted)
        yield gauge("redis_subscriptions_confirmed", "Channels that it follows.", confirmed)

    def _of_compression(self) -> Iterable[Metric]:
        units = self.events.units
        yield gauge("streams_compressed", "Open event streams that are compressed.", self.streams.compressed)
        yield counter("compression_plain_bytes", "Bytes of compressed streams, as plain.", units.plain_bytes)
        yield counter("compression_wire_bytes", "The same bytes, as they were sent.", units.wire_bytes)
        yield counter("compression_units", "Writes compressed, each for all that get it.", units.made)
        yield gauge("compression_cache_bytes", "Compressed writes kept, plain too.", units.kept_bytes)
        yield counter("compression_cache_dropped", "Of those, dropped at the bound.", units.dropped)

    def _of_requests(self) -> Iterable[Metric]:
        yield from self.authority.metrics()
        yield counter("tickets_issued", "Tickets given out.", self.tickets.issued_total)
        yield counter("tickets_redeemed", "Tickets used.", self.tickets.redeemed_total)
        if self.jwks is not None:
            yield from self.jwks.metrics()
        yield counter("published", "Events published over HTTP.", self.publish.published_total)
        yield counter("publish_refused", "Events refused over HTTP.", self.publish.refused_total)

    def _of_limits(self) -> Iterable[Metric]:
        connections, counts = self.admission.connections, self.hub.counts
        verdicts = self.traces.verdicts if self.traces is not None else Counter()
        yield gauge("connections", "Connections of the public port beside streams.", connections)
        yield from self.admission.metrics(
            [
                (Limit.REPLAY, counts.cut_replays),
                (Limit.LAST, counts.cut_beginnings),
                (Limit.REPLAYS, self.hub.replay.waited),
                (Limit.SPANS, verdicts[Verdict.OVER_RATE]),
                (Limit.QUEUED_SPANS, verdicts[Verdict.OVER_QUEUE]),
            ]
        )

    def _of_revocations(self) -> Iterable[Metric]:
        yield from self.control.metrics()
        yield counter("revocations_refused", "Revocations refused at the bound.", self.disconnect.full_total)
