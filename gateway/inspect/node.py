"""What this process says of itself: read from the owners of the numbers, when somebody asks.

Once a second it is looked at for what has changed. Nothing is counted for the inspector alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gateway.http.stream import EventStream
from gateway.hub.laggards import behind
from gateway.protocol.changes import DETAIL_CHARACTERS, Changes, Look
from gateway.protocol.fields import printable
from gateway.protocol.inquiry import Top
from gateway.protocol.summary import (
    MOST_CHANGES,
    MOST_LAGGARDS,
    NAME_CHARACTERS,
    LaggingStream,
    LinkSummary,
    Summary,
)
from publisher.channels import Channel
from publisher.control import CONTROL

if TYPE_CHECKING:
    from gateway.broker.link import Link
    from gateway.broker.probe import Probe
    from gateway.broker.retention import Retention
    from gateway.http.admission import Admission
    from gateway.http.control import Control
    from gateway.http.current import Current
    from gateway.http.events import Events
    from gateway.http.streams import Streams
    from gateway.hub.hub import Hub

_LOOK_SECONDS: Final = 1.0
_LOOKED_AT: Final = 20_000
"""Channels gone through for a list of those with the most subscribers: 6 to 13 ms of the loop."""
_VERSION: Final = version("fanlight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a node that know something."""

    hub: Hub
    link: Link
    probe: Probe
    retention: Retention
    streams: Streams
    events: Events
    admission: Admission
    control: Control
    readiness: Callable[[], tuple[bool, Mapping[str, Any]]]
    current: Current


class ThisNode:
    """One process."""

    def __init__(self, parts: Parts, name: str, worker: int | None = None) -> None:
        """`name` is for people."""
        self.name = printable(name, NAME_CHARACTERS)
        self.worker = worker
        self._parts = parts
        self._clock = asyncio.get_running_loop().time
        self._begun = self._clock()
        self._changes = Changes()
        self._last = Look()

    async def run(self) -> None:
        """Look at it from time to time, for as long as it lives."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """What has changed since the last time?"""
        look = self._look()
        self._changes.note(self._last, look, int(time.time() * 1000))
        self._last = look

    def counts(self, channels: Iterable[Channel]) -> tuple[int, ...]:
        """The streams of this process that follow each of these channels, those that just come included."""
        states = map(self._parts.hub.node.channels.get, channels)
        return tuple(0 if state is None else len(state.subscriptions) for state in states)

    def top(self, prefix: str, most: int) -> Top:
        """Of a bounded number of channels."""
        channels = self._parts.hub.node.channels
        followed = {
            name: len(state.subscriptions)
            for name, state in islice(channels.items(), _LOOKED_AT)
            if state.subscriptions and name.startswith(prefix) and name != CONTROL
        }
        first = nlargest(most, followed.items(), key=lambda item: item[1])
        whole = len(channels) <= _LOOKED_AT
        return Top(len(followed), whole, tuple(name for name, _ in first), tuple(count for _, count in first))

    def summary(self) -> Summary:
        self.look()
        parts = self._parts
        ready, told = parts.readiness()
        return Summary(
            name=self.name,
            worker=self.worker,
            version=_VERSION,
            uptime_seconds=self._clock() - self._begun,
            ready=ready,
            why=() if ready else tuple(why(told)),
            draining=not parts.streams.accepting,
            streams=parts.streams.open,
            max_streams=parts.current.settings.max_streams,
            replaying=sum(s.channels != (CONTROL,) for s in parts.hub.replay.members),
            channels=len(parts.hub.node.channels.keys() - {CONTROL}),
            ingested=parts.hub.counts.ingested,
            delivered=parts.hub.groups.delivered,
            redis=self._link(told["redis"]),
            behind_seconds=parts.retention.behind_seconds,
            left_seconds=parts.retention.left_seconds,
            laggards=tuple(self._laggards()),
            changes=self._changes.last(MOST_CHANGES),
        )

    def _link(self, told: Mapping[str, Any]) -> LinkSummary:
        return LinkSummary(
            told["connected"],
            told["generation"],
            max(0.0, told["lost_seconds"]),
            told["round_trip_seconds"],
            told["probe_round_trip_seconds"],
            printable(told["last_error"], DETAIL_CHARACTERS),
        )

    def _laggards(self) -> Iterable[LaggingStream]:
        """Of each stream, the channel that it is furthest behind on."""
        node, left_of = self._parts.hub.node, self._parts.retention.left_of
        worst: dict[EventStream, LaggingStream] = {}
        for subscription, name, lower in behind(node, self._parts.hub.replay, MOST_LAGGARDS):
            stream = subscription.sink
            if not isinstance(stream, EventStream):
                continue  # the node's own, of revocations
            behind_seconds = (node.position.ms - lower.ms) / 1000
            known = worst.get(stream)
            if known is None or behind_seconds > known.behind_seconds:
                worst[stream] = LaggingStream(
                    stream.request_id,
                    name,
                    len(subscription.channels),
                    behind_seconds,
                    left_of(name, lower),
                )
        return worst.values()

    def _look(self) -> Look:
        parts, link = self._parts, self._parts.link.state
        return Look(
            generation=link.generation,
            connected=link.connected,
            last_error=printable(link.last_error, DETAIL_CHARACTERS),
            epoch=parts.hub.node.history.epoch if link.generation else "",
            caught_up_seconds=link.catch_up_seconds,
            ready=parts.readiness()[0],
            accepting=parts.streams.accepting,
            slow_streams=parts.hub.counts.demoted,
            shed=parts.events.shed_total,
            holes_healed=parts.hub.counts.holes_healed,
            limits={limit.value: count for limit, count in parts.admission.hits.items()},
            gaps=dict(parts.hub.counts.gaps),
            revocations_missed=dict(parts.control.missed),
        )


def why(told: Mapping[str, Any]) -> Iterable[str]:
    """Why a node is not ready, of what it says of itself in /readyz."""
    if not told["accepting"]:
        yield "it drains"
    if not told["redis"]["generation"]:
        yield "it has not reached Redis yet"
    elif not told["redis"]["connected"]:
        yield "it has lost Redis"
    elif not told["revocations_in_sync"]:
        yield "it does not know yet which tokens were revoked"
