"""What becomes of the items of a publish request: a result for each of their channels, in order.

Events go out together, as many as come between two ends of channels. Data is encoded once for an item,
however many channels it goes to, and counts once for each of them: what a request makes others keep is
bounded by what a request may hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.auth.grants import Grant
from gateway.protocol.publishing import BadItem, Item
from publisher import AsyncPublisher, Event, InvalidEvent, Published, PublishError
from publisher.channels import MAX_CHANNEL_BYTES, Channel
from publisher.events import encode_data


@dataclass(frozen=True, slots=True)
class NotGranted:
    """The token does not allow to publish to this channel."""

    channel: str

    @property
    def detail(self) -> str:
        return f"The token does not allow to publish to {self.channel[:MAX_CHANNEL_BYTES]!r}."


Result = Published | PublishError | BadItem | NotGranted


class Batch:
    """The items of one request, on their way."""

    def __init__(
        self,
        publisher: AsyncPublisher,
        grant: Grant,
        traceparent: str | None,
        *,
        max_event_bytes: int,
        max_bytes: int,
    ) -> None:
        self.size_bytes = 0
        """Of the data that was sent, once for each channel."""
        self._publisher = publisher
        self._grant = grant
        self._traceparent = traceparent
        self._max_event_bytes = max_event_bytes
        self._max_bytes = max_bytes
        self._results: list[Result] = []
        self._run: list[Event] = []
        self._places: list[int] = []
        """Where the run's results belong."""

    async def publish(self, items: Iterable[Item | BadItem]) -> list[Result]:
        """All of them, in order. Once."""
        for item in items:
            if isinstance(item, BadItem):
                self._results.append(item)
            elif item.close:
                await self._close(item)
            else:
                self._add(item)
        await self._send()
        return self._results

    def _add(self, item: Item) -> None:
        data: bytes | InvalidEvent
        try:
            data = encode_data(item.data, self._max_event_bytes)
        except InvalidEvent as error:
            data = error
        for channel in item.channels:
            if not self._grant.publish.allows(Channel(channel)):
                self._results.append(NotGranted(channel))
            elif isinstance(data, InvalidEvent):
                self._results.append(data)
            elif self.size_bytes + len(data) > self._max_bytes:
                self._results.append(self._too_much())
            else:
                self.size_bytes += len(data)
                self._places.append(len(self._results))
                self._run.append(
                    Event(
                        channel=channel,
                        data=data,
                        type=item.type,
                        idempotency_key=item.idempotency_key,
                        traceparent=self._traceparent,
                    )
                )
                self._results.append(BadItem("not published yet"))

    def _too_much(self) -> BadItem:
        return BadItem(
            f"a request has at most {self._max_bytes} bytes of data, counted once for each channel: "
            "publish this in another one"
        )

    async def _close(self, item: Item) -> None:
        await self._send()
        for channel in item.channels:
            if not self._grant.publish.allows(Channel(channel)):
                self._results.append(NotGranted(channel))
                continue
            try:
                self._results.append(await self._publisher.close(channel))
            except PublishError as error:
                self._results.append(error)

    async def _send(self) -> None:
        sent = await self._publisher.publish_each(self._run)
        for place, result in zip(self._places, sent, strict=True):
            self._results[place] = result
        self._run.clear()
        self._places.clear()
