"""The inspector of a process: it asks all, and puts together what they say and what Redis keeps."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.inspect.crowds import Crowds, Presence
from gateway.inspect.inquiries import Inquiries, Inquiry
from gateway.inspect.kept import kept
from gateway.inspect.line import Away
from gateway.inspect.node import Parts, ThisNode
from gateway.inspect.roll import Known, Roll
from gateway.inspect.snapshot import Channels, candidates, snapshot
from gateway.metrics import gauge
from gateway.protocol.inquiry import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from gateway.http.current import Current
    from gateway.protocol.asking import InspectRequest
    from publisher.channels import Channel, Partition


class Inspector:
    """One for each process."""

    def __init__(
        self, parts: Parts, partition: Partition, current: Current, name: str, worker: int | None
    ) -> None:
        self._partition = partition
        self._clock = asyncio.get_running_loop().time
        self.node = ThisNode(parts, name, worker)
        self.inquiries = Inquiries(current, parts.link, partition, self.node, parts.admission.hit)
        self.crowds = Crowds(self.presence, current.settings.presence_seconds)
        """Who wants to be told how many follow their channels."""
        self._roll = Roll()

    async def run(self) -> None:
        """Listen, and look what changes, for as long as the node lives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.inquiries.line.run(), name="inspect-line")
            tasks.create_task(self.node.run(), name="inspect-node")
            if self.crowds.period_seconds:
                tasks.create_task(self.crowds.run(), name="inspect-crowds")

    def metrics(self) -> Iterable[Metric]:
        yield from self.inquiries.metrics()
        yield gauge("presence_channels", "Channels of which presence is told.", len(self.crowds))

    async def presence(self, channels: tuple[Channel, ...]) -> Presence:
        """Raises `Away`."""
        inquiry = await self.inquiries.counts(channels)
        sums = _sums(inquiry, channels)
        return Presence(sums, inquiry.heard_by, inquiry.heard_by - inquiry.silent)

    async def snapshot(self, asked: InspectRequest) -> dict[str, Any]:
        """Of this process alone, where the others can't be asked."""
        most = 0 if asked.channel is not None else min(2 * asked.most, MOST_CHANNELS)
        try:
            inquiry, others = await self.inquiries.overview(asked.prefix, most), True
        except Away:
            inquiry, others = self.inquiries.alone(asked.prefix, most), False
        channels = candidates(inquiry)
        if asked.channel is not None:
            [own] = self.node.counts([asked.channel])
            channels = Channels({asked.channel: own}, 1, all_known=True, counted=False)
        facts = None
        try:
            if asked.channel is not None or not channels.all_known:
                channels = await self._counted(channels)
            channels = channels.shown(asked.most)
            facts = await kept(self.inquiries.line, self._partition, list(channels.subscribers))
        except Away:  # what is known without Redis is shown all the same
            channels = channels.shown(asked.most)
        now = self._clock()
        self._note(inquiry, now)
        return snapshot(
            inquiry,
            self._roll.missing(set(inquiry.answers), now),
            channels,
            facts,
            asked_by=self.inquiries.id,
            asked=others,
            now_ms=int(time.time() * 1000),
            now=now,
        )

    async def _counted(self, found: Channels) -> Channels:
        """Lists that were cut leave out whom a channel has on other nodes: ask for all of them by name."""
        names = tuple(found.subscribers)
        inquiry = await self.inquiries.counts(names)
        return replace(found, subscribers=_sums(inquiry, names), counted=not inquiry.silent)

    def _note(self, inquiry: Inquiry, now: float) -> None:
        for id_, answer in inquiry.answers.items():
            if (summary := answer.summary) is not None:
                self._roll.heard(Known(id_, summary.name, summary.worker, summary.version, now))


def _sums(inquiry: Inquiry, channels: tuple[Channel, ...]) -> dict[Channel, int]:
    counts = [answer.counts for answer in inquiry.answers.values()]
    return {channel: sum(count[at] for count in counts) for at, channel in enumerate(channels)}
