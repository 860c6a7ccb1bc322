"""The composition root: what a gateway node is made of, and how its parts are wired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.broker.link import Link
from gateway.broker.probe import Probe
from gateway.broker.streams import Streams as StreamReads
from gateway.broker.tickets import Tickets
from gateway.http.admin import Admin
from gateway.http.admission import Admission
from gateway.http.authority import Authority
from gateway.http.connection import header_bound
from gateway.http.control import Control
from gateway.http.cors import Cors
from gateway.http.demo import Demo
from gateway.http.disconnect import Disconnect
from gateway.http.events import Events
from gateway.http.jwks import Jwks
from gateway.http.publish import Publish
from gateway.http.streams import Streams
from gateway.http.tickets import TicketOffice
from gateway.hub.hub import Hub
from gateway.hub.state import Limits
from gateway.metrics import Exposition, counter, counters, gauge, info
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GapReason
from gateway.protocol.interest import Interest
from gateway.protocol.limits import Limit
from publisher import AsyncPublisher
from publisher.async_client import AsyncClient
from publisher.channels import Partition
from publisher.control import CONTROL
from publisher.payload import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.settings import Settings

TICKET_CALLS: Final = 16
"""At once, for tickets."""
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Gateway:
    """One node. Make it within a running loop; `gateway.lifecycle` starts and stops it."""

    def __init__(self, settings: Settings, spawn: Spawn, *, most_descriptors: int | None = None) -> None:
        """`most_descriptors`: how many connections there is room for. Raises
        `gateway.auth.keys.BadKeys`."""
        self.settings = settings
        partition = Partition(settings.prefix)
        self.publisher = AsyncPublisher(
            settings.redis,
            prefix=settings.prefix,
            retention_events=settings.retention_events,
            retention_seconds=settings.retention_seconds,
            max_event_bytes=settings.max_event_bytes,
            deadline_seconds=settings.link_deadline_seconds,
            max_revocations=settings.max_revocations,
        )
        interest = Interest()
        self.interest = interest
        self.hub = Hub(
            interest,
            Limits(
                hot_tail_bytes=settings.hot_tail_bytes,
                hot_tails_bytes=settings.hot_tails_bytes,
                page_bytes=settings.page_bytes,
                max_replays=settings.max_replays,
                max_replay_events=settings.max_replay_events,
                max_replay_bytes=settings.max_replay_bytes,
                linger_seconds=settings.linger_seconds,
                max_payload_bytes=settings.max_event_bytes + MAX_HEAD_BYTES,
            ),
        )
        self.link = Link(
            settings.redis,
            partition,
            interest,
            self.hub,
            position_read_seconds=settings.position_read_seconds,
            deadline_seconds=settings.link_deadline_seconds,
            reconnect_max_seconds=settings.reconnect_max_seconds,
            turn_seconds=settings.turn_ms / 1000,
        )
        self.probe = Probe(
            settings.redis,
            self.link,
            interval_seconds=settings.probe_seconds,
            deadline_seconds=settings.link_deadline_seconds,
        )
        self.link.on_probe = self.probe.heard
        self.reads = StreamReads(
            lambda: AsyncClient.from_url(
                settings.redis,
                most_calls=settings.max_replays,
                deadline_seconds=settings.link_deadline_seconds,
            ),
            partition,
            spawn,
            page_bytes=settings.page_bytes,
            max_last_bytes=settings.max_last_bytes,
            max_payload_bytes=settings.max_event_bytes + MAX_HEAD_BYTES,
        )
        self.hub.wire(self.link, self.reads)
        self.streams = Streams(self.hub, settings)
        self.control = Control(self.hub, self.streams, settings)
        self._cors = cors = Cors(settings.allowed_origins)
        self.tickets = Tickets(
            AsyncClient.from_url(
                settings.redis,
                most_calls=TICKET_CALLS,
                deadline_seconds=settings.link_deadline_seconds,
            ),
            partition,
            settings.ticket_seconds,
        )
        self.admission = Admission(settings, most_descriptors=most_descriptors)
        self.jwks = Jwks(settings.jwks_url, settings) if settings.jwks_url is not None else None
        self.authority = Authority(settings, self.jwks, self.tickets, self.admission, self.control)
        self.events = Events(self.hub, self.streams, self.authority, self.admission, cors, settings)
        self.publish = Publish(self.publisher, self.authority, self.admission, cors, settings)
        self.disconnect = Disconnect(
            self.publisher,
            self.authority,
            self.admission,
            cors,
            counted_seconds=self.control.counted_seconds,
            body_seconds=settings.body_seconds,
        )
        self._office = TicketOffice(self.tickets, self.authority, self.admission, cors)
        self._demo = Demo() if settings.demo else None
        self._exposition = Exposition(self.metrics)
        self._version = version("fanlight")

    def public_app(self, extra_routes: Callable[[web.Application], None] | None = None) -> web.Application:
        """The application of the public port. `extra_routes` come first."""
        bounded = header_bound(self.settings.max_header_bytes, self.admission)
        app = web.Application(client_max_size=self.settings.max_publish_body_bytes, middlewares=[bounded])
        app.on_response_prepare.append(self._cors.complete)
        if extra_routes is not None:
            extra_routes(app)
        self.events.add_to(app)
        self.publish.add_to(app)
        self.disconnect.add_to(app)
        self._office.add_to(app)
        if self._demo is not None:
            self._demo.add_to(app)
        return app

    def admin_app(self) -> web.Application:
        """The application of the admin port."""
        app = web.Application()
        Admin(self._exposition, self.readiness).add_to(app)
        return app

    def readiness(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the balancer should send new streams here, and what the node knows of itself.

        The loss of Redis does not make it unready unless a setting says so: all nodes would be so at
        once, the balancer would answer 503, and every EventSource would give up for good.
        """
        link = self.link.state
        lost_for = asyncio.get_running_loop().time() - link.lost_at if link.lost_at is not None else 0.0
        patience = self.settings.redis_loss_unready_seconds
        without_redis = 0 < patience < lost_for
        ready = self.streams.accepting and self.control.synced.is_set() and not without_redis
        return ready, {
            "accepting": self.streams.accepting,
            "streams": self.streams.open,
            "revocations_in_sync": self.control.in_sync,
            "redis": {
                "connected": link.connected,
                "generation": link.generation,
                "lost_seconds": round(lost_for, 3),
                "round_trip_seconds": round(link.round_trip_seconds, 6),
                "probe_round_trip_seconds": round(self.probe.round_trip_seconds, 6),
                "last_error": link.last_error,
            },
        }

    def metrics(self) -> Iterable[Metric]:
        """The node's metrics, as they are now."""
        streams, hub, link = self.streams, self.hub, self.link.state
        counts, groups, node = hub.counts, hub.groups, hub.node
        closed = {reason.value: float(streams.closed_total[reason]) for reason in CloseReason}
        yield info("build", "What runs here.", {"version": self._version})
        yield gauge("ready", "Whether this node takes new streams, as /readyz says.", self.readiness()[0])
        yield gauge("streams_open", "Open event streams.", streams.open)
        yield gauge("streams_max", "The most that it holds: max_streams.", self.settings.max_streams)
        yield counter("streams_opened", "Event streams opened.", streams.opened_total)
        yield counters("streams_closed", "Event streams closed, by reason.", "reason", closed)
        yield counter("streams_shed", "Stream requests turned away for now.", self.events.shed_total)
        connections = self.admission.connections
        yield gauge("connections", "Connections of the public port beside streams.", connections)
        yield gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))
        yield gauge("channels", "Channels that clients follow here.", len(node.channels.keys() - {CONTROL}))
        yield gauge("subscriptions_unconfirmed", "Channels without a floor yet.", self.interest.unconfirmed)
        yield counter("events_ingested", "Events taken from the Redis link.", counts.ingested)
        yield counter("batches", "Batches of them, each one write to each of its streams.", counts.batches)
        yield counter("events_invalid", "Messages that are not events of ours.", counts.invalid)
        yield counter("entries_invalid", "Stream entries that are not ours.", self.reads.invalid_entries)
        yield counter("events_delivered", "Events written to live streams.", groups.delivered)
        yield counter("events_replayed", "Events written in replays.", counts.replayed)
        yield counter(
            "delivered_bytes", "Bytes written to live streams, before compression.", groups.delivered_bytes
        )
        yield from self._compression_metrics()
        yield counters(
            "replay_steps",
            "Steps of replays, by where the events came from.",
            "source",
            {"redis": counts.replays_from_log, "memory": counts.replays_from_memory},
        )
        yield counter("pages_read", "Pages read from Redis streams.", self.reads.pages_read)
        yield counter("pages_shared", "Pages that served a further reader.", self.reads.pages_shared)
        gaps = {reason.value: float(counts.gaps.get(reason.value, 0)) for reason in GapReason}
        yield counters("gaps", "Gaps announced, by reason.", "reason", gaps)
        yield counter("holes_healed", "Events missed by a whole link.", counts.holes_healed)
        yield counter("slow_streams", "Live streams sent back to replay by a backlog.", counts.demoted)
        yield gauge("hot_tails_bytes", "Events kept in memory.", hub.hot_tails.bytes)
        yield counter("hot_tails_dropped", "Events dropped from memory at its bound.", hub.hot_tails.dropped)
        yield gauge("redis_connected", "Whether the Redis link is up.", link.connected)
        yield counter("redis_generations", "Redis links made.", link.generation)
        yield gauge("redis_round_trip_seconds", "Last position read's round trip.", link.round_trip_seconds)
        probe = self.probe
        yield gauge("redis_probe_round_trip_seconds", "Last heard probe's.", probe.round_trip_seconds)
        yield counters(
            "redis_probes",
            "Probes through the publish path, by outcome.",
            "outcome",
            {"heard": probe.heard_total, "silent": probe.silent_total, "failed": probe.failed_total},
        )
        yield from self.authority.metrics()
        yield from self.admission.metrics(
            [
                (Limit.REPLAY, counts.cut_replays),
                (Limit.LAST, counts.cut_beginnings),
                (Limit.REPLAYS, hub.replay.waited),
            ]
        )
        yield from self.control.metrics()
        yield counter("revocations_refused", "Revocations refused at the bound.", self.disconnect.full_total)
        yield counter("tickets_issued", "Tickets given out.", self.tickets.issued_total)
        yield counter("tickets_redeemed", "Tickets used.", self.tickets.redeemed_total)
        if self.jwks is not None:
            yield from self.jwks.metrics()
        yield counter("published", "Events published over HTTP.", self.publish.published_total)
        yield counter("publish_refused", "Events refused over HTTP.", self.publish.refused_total)

    def _compression_metrics(self) -> Iterable[Metric]:
        units = self.events.units
        yield gauge("streams_compressed", "Open event streams that are compressed.", self.streams.compressed)
        yield counter("compression_plain_bytes", "Bytes of compressed streams, as plain.", units.plain_bytes)
        yield counter("compression_wire_bytes", "The same bytes, as they were sent.", units.wire_bytes)
        yield counter("compression_units", "Writes compressed, each for all that get it.", units.made)
        yield gauge("compression_cache_bytes", "Compressed writes kept, plain too.", units.kept_bytes)
        yield counter("compression_cache_dropped", "Of those, dropped at the bound.", units.dropped)

    async def aclose(self) -> None:
        """Close the connections for commands."""
        await self.reads.aclose()
        await self.tickets.aclose()
        await self.publisher.disconnect()
