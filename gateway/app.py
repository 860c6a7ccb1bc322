"""The composition root: what a gateway node is made of, and how its parts are wired."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.broker.latency import Latency
from gateway.broker.link import Link
from gateway.broker.primary import Primary
from gateway.broker.probe import Probe
from gateway.broker.retention import Retention
from gateway.broker.streams import Streams as StreamReads
from gateway.broker.tickets import Tickets
from gateway.http.admin import Admin
from gateway.http.admission import Admission
from gateway.http.authority import Authority
from gateway.http.connection import header_bound
from gateway.http.control import Control
from gateway.http.cors import Cors
from gateway.http.current import Current
from gateway.http.demo import Demo
from gateway.http.disconnect import Disconnect
from gateway.http.events import Events
from gateway.http.jwks import Jwks
from gateway.http.publish import Publish
from gateway.http.streams import Streams
from gateway.http.tickets import TicketOffice
from gateway.hub.hub import Hub
from gateway.hub.laggards import laggards
from gateway.hub.state import Limits
from gateway.inspect.inspector import Inspector
from gateway.inspect.node import Parts
from gateway.inspect.pages import Pages, SnapshotDesk
from gateway.inspect.presence import PresenceDesk
from gateway.loop_lag import LoopLag
from gateway.metrics import Exposition
from gateway.node_metrics import NodeMetrics
from gateway.protocol.interest import Interest
from publisher import AsyncPublisher
from publisher.async_client import AsyncClient
from publisher.channels import Partition
from publisher.payload import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from gateway.protocol.clock_offset import ClockOffset
    from gateway.reload import Reloads
    from gateway.tracing.traces import Traces

TICKET_CALLS: Final = 16
"""At once, for tickets."""
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Gateway:
    """One node. Make it within a running loop; `gateway.lifecycle` starts and stops it."""

    def __init__(
        self,
        current: Current,
        spawn: Spawn,
        reloads: Reloads | None = None,
        *,
        most_descriptors: int | None = None,
        worker: int | None = None,
    ) -> None:
        """`reloads` are for the metrics. `most_descriptors`: how many connections there is room for.
        `worker`: which of a node's processes it is. Raises `gateway.auth.keys.BadKeys` for a bad
        jwks_ca_file."""
        self._current = current
        settings = current.settings
        redis = settings.redis  # once: the authorities that it names are read each time
        partition = Partition(settings.prefix)
        self.publisher = AsyncPublisher(
            redis,
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
        self.primary = Primary(redis, deadline_seconds=settings.link_deadline_seconds)
        self.link = Link(
            self.primary,
            partition,
            interest,
            self.hub,
            position_read_seconds=settings.position_read_seconds,
            deadline_seconds=settings.link_deadline_seconds,
            reconnect_max_seconds=settings.reconnect_max_seconds,
            turn_seconds=settings.turn_ms / 1000,
        )
        self.probe = Probe(
            self.primary,
            self.link,
            interval_seconds=settings.probe_seconds,
            deadline_seconds=settings.link_deadline_seconds,
        )
        self.link.on_probe = self.probe.heard
        self.reads = StreamReads(
            lambda: AsyncClient.from_url(
                redis,
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
        self.latency = Latency(self.link.clock)
        self.hub.on_written = self.latency.written
        self.traces = _traces(current, self.link.clock)
        if self.traces is not None:
            self.hub.trace(self.traces.written)
        self.hub.replay.catch_up.on_done = self.link.caught_up
        self.loop_lag = LoopLag()
        self.retention = Retention(
            AsyncClient.from_url(redis, most_calls=1, deadline_seconds=settings.link_deadline_seconds),
            partition,
            lambda: laggards(self.hub.node, self.hub.replay),
            self.link.clock,
            retention_events=settings.retention_events,
        )
        self.streams = Streams(self.hub, current)
        self.control = Control(self.hub, self.streams, settings)
        self._cors = cors = Cors(settings.allowed_origins)
        self.tickets = Tickets(
            AsyncClient.from_url(
                redis,
                most_calls=TICKET_CALLS,
                deadline_seconds=settings.link_deadline_seconds,
            ),
            partition,
            settings.ticket_seconds,
        )
        self.admission = Admission(current, most_descriptors=most_descriptors)
        self.jwks = Jwks(settings.jwks_url, current) if settings.jwks_url is not None else None
        self.authority = Authority(current, self.jwks, self.tickets, self.admission, self.control)
        self.events = Events(self.hub, self.streams, self.authority, self.admission, cors, current)
        self.publish = Publish(self.publisher, self.authority, self.admission, cors, current)
        self.disconnect = Disconnect(
            self.publisher,
            self.authority,
            self.admission,
            cors,
            current,
            counted_seconds=self.control.counted_seconds,
        )
        self.inspector = Inspector(
            Parts(
                hub=self.hub,
                link=self.link,
                probe=self.probe,
                retention=self.retention,
                streams=self.streams,
                events=self.events,
                admission=self.admission,
                control=self.control,
                readiness=self.readiness,
                current=current,
            ),
            partition,
            current,
            f"{socket.gethostname()}:{settings.port}",
            worker,
        )
        self._presence = PresenceDesk(self.inspector, self.authority, self.admission, cors, current)
        if settings.presence_seconds:
            self.events.wants_presence = self.inspector.crowds.watch
        self._office = TicketOffice(self.tickets, self.authority, self.admission, cors)
        self._demo = Demo() if settings.demo else None
        self.metrics = NodeMetrics(
            interest=interest,
            hub=self.hub,
            link=self.link,
            probe=self.probe,
            reads=self.reads,
            streams=self.streams,
            events=self.events,
            authority=self.authority,
            tickets=self.tickets,
            jwks=self.jwks,
            publish=self.publish,
            admission=self.admission,
            control=self.control,
            disconnect=self.disconnect,
            is_ready=lambda: self.readiness()[0],
            current=current,
            reloads=reloads,
            latency=self.latency,
            loop_lag=self.loop_lag,
            retention=self.retention,
            traces=self.traces,
            inspector=self.inspector,
        )
        self._exposition = Exposition(self.metrics.collect)

    def public_app(self, extra_routes: Callable[[web.Application], None] | None = None) -> web.Application:
        """The application of the public port. `extra_routes` come first."""
        most_body_bytes = self._current.settings.max_publish_body_bytes
        bounded = header_bound(self._current, self.admission)
        app = web.Application(client_max_size=most_body_bytes, middlewares=[bounded])
        app.on_response_prepare.append(self._cors.complete)
        if extra_routes is not None:
            extra_routes(app)
        self.events.add_to(app)
        self.publish.add_to(app)
        self.disconnect.add_to(app)
        self._office.add_to(app)
        self._presence.add_to(app)
        if self._demo is not None:
            self._demo.add_to(app)
        return app

    def admin_app(self) -> web.Application:
        """The application of the admin port."""
        app = web.Application()
        Admin(self._exposition, self.readiness).add_to(app)
        Pages(SnapshotDesk(self.inspector, self.admission).get).add_to(app)
        return app

    def readiness(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the balancer should send new streams here, and what the node knows of itself.

        The loss of Redis does not make it unready unless a setting says so: all nodes would be so at
        once, the balancer would answer 503, and every EventSource would give up for good.
        """
        link = self.link.state
        lost_for = asyncio.get_running_loop().time() - link.lost_at if link.lost_at is not None else 0.0
        patience = self._current.settings.redis_loss_unready_seconds
        without_redis = 0 < patience < lost_for
        ready = self.streams.accepting and self.control.synced.is_set() and not without_redis
        return ready, {
            "accepting": self.streams.accepting,
            "streams": self.streams.open,
            "revocations_in_sync": self.control.in_sync,
            "redis": {
                "connected": link.connected,
                "address": link.address,
                "generation": link.generation,
                "lost_seconds": round(lost_for, 3),
                "round_trip_seconds": round(link.round_trip_seconds, 6),
                "probe_round_trip_seconds": round(self.probe.round_trip_seconds, 6),
                "last_error": link.last_error,
            },
        }

    def reloaded(self) -> None:
        """The settings have changed. What has to be done about it; most owners ask when they need one."""
        if self.jwks is not None:
            self.jwks.refetch()

    async def aclose(self) -> None:
        """Close the connections for commands, and send the last spans."""
        await self.reads.aclose()
        await self.retention.aclose()
        await self.tickets.aclose()
        await self.publisher.disconnect()
        if self.traces is not None:
            await self.traces.collector.aclose()


def _traces(current: Current, clock: ClockOffset) -> Traces | None:
    settings = current.settings
    if settings.otlp_endpoint is None:
        return None
    from gateway.tracing.traces import Traces  # and OpenTelemetry, which need not be there otherwise

    return Traces(
        settings.otlp_endpoint,
        clock,
        max_per_second=lambda: current.settings.max_spans_per_second,
        max_queued=settings.max_queued_spans,
    )
