"""The replay's merge: pages of several channels become one run of events in id order, and its gaps.

A round reads, for every channel, what its stream has after a lower bound, up to one target that was
fixed before the first read. A page may be cut short, so the round is merged only up to the horizon: the
lowest position that all pages are complete to.

What is missing shows in the chain: each event names the position of the one before it (`prev`), and
the node knows, from its own link, the last event that the log must hold up to the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.protocol.gaps import GapReason
from gateway.protocol.lookahead import Lookahead
from gateway.protocol.publication import Publication
from publisher.channels import Channel
from publisher.ids import ORIGIN, EventId, Position

TAIL_MS: Final = 86_400_000
"""The life of a tail key, a constant of the contract (see `fanlight.lua`)."""


@dataclass(frozen=True, slots=True)
class Read:
    """What to read of one channel: everything above `lower`, up to `target`."""

    channel: Channel
    lower: Position
    target: Position
    expected: Position
    """The channel's last event at or below the target; at or below `lower` only if `in_doubt`."""
    in_doubt: bool
    """Neither tail nor memory can tell whether events came after `lower`."""
    evicting: bool
    """Redis may have evicted the tail, so that a chain which begins anew proves nothing."""
    end: EventId | None
    """The channel's `fanlight.end`, where it is closed."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a read returned: the publications, rising, and the bound up to which that is all.

    `invalid` holds the positions of entries that are not ours or too large.
    """

    publications: tuple[Publication, ...]
    complete_to: Position
    invalid: tuple[Position, ...] = ()
    expected: Position | None = None
    """The channel's last event at or below the bound, where the stream ended before it: `Read.expected`
    of the read that this page was made for. A read with a later target, which shares the page, knows
    only what to expect up to that. None where the page was full, and ends with its bound."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a channel's newest events begin: just above `below`."""

    below: Position
    cut: bool = False
    """Older ones were asked for too, and would have been too much."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Events of a channel after `start`, up to and with `end`, that can't be delivered."""

    channel: Channel
    reason: GapReason
    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Round:
    """The outcome: holes first, then the publications; afterwards the cursor stands at `horizon`.

    A hole may reach beyond the horizon. The next round of its channel begins where it ends.
    """

    holes: tuple[Hole, ...]
    publications: tuple[Publication, ...]
    horizon: Position
    lookahead: Lookahead


def merge(pages: Sequence[tuple[Read, Page]], most_bytes: int | None = None) -> Round:
    """Merge one round. All reads have the same target.

    Of what the pages hold, as much as has `most_bytes` of data, but one event at least: pages are shared,
    and may have been read for those who follow fewer channels.
    """
    target = pages[0][0].target
    horizon = min(target, *(page.complete_to for _, page in pages))
    if most_bytes is not None:
        horizon = _within(pages, horizon, most_bytes)
    holes: list[Hole] = []
    publications: list[Publication] = []
    for read, page in pages:
        holes += _walk(read, page, horizon, publications)
    publications.sort(key=lambda publication: publication.position)
    return Round(tuple(holes), tuple(publications), horizon, _lookahead(pages, publications, horizon))


def _lookahead(
    pages: Sequence[tuple[Read, Page]], publications: Sequence[Publication], horizon: Position
) -> Lookahead:
    clear = {}
    for read, page in pages:
        clear[read.channel] = page.complete_to
        # The page that ends the round, and the only one of a single channel, holds nothing beyond it.
        if page.complete_to > horizon:
            beyond = next((position for position, _ in _entries(page) if position > horizon), None)
            if beyond is not None:
                clear[read.channel] = beyond.before()
    span_ms = publications[-1].position.ms - publications[0].position.ms if publications else 0
    return Lookahead(clear, Position(horizon.ms + 2 * span_ms + 1, 0))


def _within(pages: Sequence[tuple[Read, Page]], horizon: Position, most_bytes: int) -> Position:
    """The highest bound up to which the round has at most `most_bytes`, or one event."""
    below = [
        (publication.position, len(publication.data))
        for read, page in pages
        for publication in page.publications
        if read.lower < publication.position <= horizon
    ]
    if sum(size for _, size in below) <= most_bytes:
        return horizon
    below.sort()
    total = 0
    last = below[0][0]
    for position, size in below:
        total += size
        if total > most_bytes:
            break
        last = position
    return last


def _walk(read: Read, page: Page, horizon: Position, publications: list[Publication]) -> Iterator[Hole]:
    """Check one channel's chain; collect its publications up to the horizon.

    The chain is followed to the first entry beyond the horizon, or to the end that the node knows: a
    hole that begins below the horizon shows only there, and the next round would not see it any more.
    """
    last = read.lower
    seen = False
    for position, publication in _entries(page):
        if position <= last:
            continue
        if publication is None:
            yield Hole(read.channel, GapReason.INVALID, last, position)
        elif publication.prev > last:
            reason = GapReason.REWRITTEN if seen else GapReason.TRIMMED
            yield Hole(read.channel, reason, last, publication.prev)
        elif publication.prev == ORIGIN and not seen and _chain_lost(read, position):
            yield Hole(read.channel, GapReason.UNKNOWN, last, position.before())
        if position > horizon:
            return
        if publication is not None:
            publications.append(publication)
        last, seen = position, True
    expected, bound = read.expected, read.target
    if page.complete_to < read.target:
        if page.expected is None:
            return
        expected, bound = page.expected, page.complete_to
    if expected > last:
        # What the end says is in the tail too, so it can be told even where the stream is gone.
        end = read.end if read.end is not None and read.end.position == expected else None
        missing = expected if end is None else expected.before()
        if missing > last:
            yield Hole(read.channel, GapReason.REWRITTEN if seen else GapReason.EXPIRED, last, missing)
        if end is not None and expected <= horizon:
            publications.append(Publication.end(read.channel, end))
    elif read.in_doubt:
        yield Hole(read.channel, GapReason.UNKNOWN, last, bound)


def _entries(page: Page) -> Iterable[tuple[Position, Publication | None]]:
    """The page's entries in order; None stands for an invalid one."""
    if not page.invalid:
        return ((publication.position, publication) for publication in page.publications)
    entries: list[tuple[Position, Publication | None]] = [(p.position, p) for p in page.publications]
    entries += [(position, None) for position in page.invalid]
    return sorted(entries, key=lambda entry: entry[0])


def _chain_lost(read: Read, first: Position) -> bool:
    """Whether an event that knows of none before it may have lost its tail after `read.lower`."""
    return read.lower > ORIGIN and (read.evicting or read.lower.ms < first.ms - TAIL_MS)
