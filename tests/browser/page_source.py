"""A native EventSource in a page, and what it dispatched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.support.sse_parser import Event
from tests.support.wait import PATIENCE_SECONDS, aeventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from playwright.async_api import JSHandle, Page

CONNECTING, OPEN, CLOSED = 0, 1, 2

SYSTEM_TYPES = ("fanlight.open", "fanlight.gap", "fanlight.end")

# An event of a publisher may have the type `error` or `open`: only a MessageEvent is one of the stream.
_FOLLOW = """
([url, types, withCredentials]) => {
  const source = new EventSource(url, { withCredentials });
  const record = { source, events: [], opens: 0, errors: 0 };
  const take = (event) => {
    if (event instanceof MessageEvent) record.events.push([event.type, event.data, event.lastEventId]);
  };
  for (const type of types) source.addEventListener(type, take);
  source.addEventListener("open", (event) => { if (!(event instanceof MessageEvent)) record.opens++; });
  source.addEventListener("error", (event) => { if (!(event instanceof MessageEvent)) record.errors++; });
  return record;
}
"""
_NEWS = """
(record, taken) => [record.events.slice(taken), record.opens, record.errors, record.source.readyState]
"""


class PageSource:
    """What is known of it is as old as the last `refresh` or `until`."""

    def __init__(self, record: JSHandle) -> None:
        self._record = record
        self.events: list[Event] = []
        """Everything dispatched so far, in order."""
        self.opens = 0
        """How often the source fired its own `open`: once for each answered connection."""
        self.errors = 0
        self.ready_state = CONNECTING

    @classmethod
    async def follow(
        cls, page: Page, url: str, *, types: Iterable[str] = (), with_credentials: bool = False
    ) -> Self:
        """Make the EventSource. It listens for `message`, the gateway's own types and `types`."""
        listen = list(dict.fromkeys(["message", *SYSTEM_TYPES, *types]))
        return cls(await page.evaluate_handle(_FOLLOW, [url, listen, with_credentials]))

    @property
    def messages(self) -> list[Event]:
        """The events that publishers sent."""
        return [event for event in self.events if not event.type.startswith("fanlight.")]

    def of_type(self, type_: str) -> list[Event]:
        return [event for event in self.events if event.type == type_]

    async def refresh(self) -> None:
        news, self.opens, self.errors, self.ready_state = await self._record.evaluate(_NEWS, len(self.events))
        self.events += [Event(*event) for event in news]

    async def until(
        self, condition: Callable[[], object], *, seconds: float = PATIENCE_SECONDS, what: str = ""
    ) -> None:
        """Until `condition` holds of a fresh state. AssertionError after `seconds`."""
        __tracebackhide__ = True

        async def check() -> bool:
            await self.refresh()
            return bool(condition())

        try:
            await aeventually(check, seconds=seconds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self!r}") from None

    async def live(self, *, times: int = 1) -> None:
        """Until the `times`-th `fanlight.open`."""
        __tracebackhide__ = True
        await self.until(
            lambda: len(self.of_type("fanlight.open")) >= times, what=f"fanlight.open no. {times}"
        )

    def __repr__(self) -> str:
        return (
            f"<PageSource readyState {self.ready_state}, {self.opens} opens, {self.errors} errors, "
            f"{len(self.events)} events, the last {self.events[-3:]}>"
        )
