"""The judge: was every promise kept? Written apart from the product, of which it imports nothing.

What it holds a subscriber's stream to is the invariant itself: an id may be written only when every event
at or below it, on all of the subscription's channels, was written before it or announced by a gap. So each
id on the stream, whatever carries it, must account for all events up to it. Which events there were is
known from three sources: the publishers' acknowledgements, the streams as they are at the end, and
what any subscriber got.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.chaos.history import (
    Allowance,
    Connected,
    Followed,
    History,
    Loss,
    Outcome,
    Received,
    Refused,
    Vitals,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Place = tuple[int, int]

_EXACT = frozenset({"trimmed", "expired", "rewritten"})
_BREAKS = frozenset({"failover", "epoch", "unknown_cursor", "future"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which, whose, and what was seen."""

    rule: str
    who: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.who}: {self.text}"


@dataclass(slots=True)
class Verdict:
    """What a run came to."""

    published: int = 0
    delivered: int = 0
    repeated: int = 0
    lost: int = 0
    """In silence. An event that two subscribers missed counts twice."""
    gaps: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def broken(self, rule: str, who: str, text: str) -> None:
        self.violations.append(Violation(rule, who, text))


@dataclass(frozen=True, slots=True)
class _Id:
    place: Place
    epoch: str


@dataclass(frozen=True, slots=True)
class _Gap:
    channel: str | None
    reason: str
    start: Place | None
    end: Place | None
    before: int | None = None
    """Without an end: the epochs that it speaks of are those of a lower rank, once the next is known."""


def read_id(text: str) -> _Id:
    """Read `<ms>-<seq>-<epoch>`. ValueError for anything else."""
    ms, seq, epoch = text.split("-")
    return _Id((int(ms), int(seq)), epoch)


def check(history: History, allowance: Allowance) -> Verdict:
    """Hold a run to the promises. The first violation is the one to look at."""
    verdict = Verdict()
    known = _Known(history)
    known.judge_publishers(history, allowance, verdict)
    for followed in history.followed:
        _Stream(followed, known, allowance, verdict).judge()
    return verdict


class _Known:
    """All events that there were: per channel, their places in order, and what they held."""

    def __init__(self, history: History) -> None:
        self.texts: dict[str, set[str]] = {}
        """Per channel, all data that anybody tried to publish."""
        self.logged: dict[str, str] = {}
        self.held: dict[str, str] = {}
        """By id, what was acknowledged under it, and what the stream holds, which counts for more."""
        events: dict[str, dict[Place, str]] = {}
        for written in history.written:
            self.texts.setdefault(written.channel, set()).add(written.data)
            if written.outcome is Outcome.ACKED:
                events.setdefault(written.channel, {})[read_id(written.id).place] = written.id
                self.held[written.id] = written.data
        for entry in history.logged:
            if entry.data is None:
                continue
            self.logged[entry.id] = self.held[entry.id] = entry.data
            events.setdefault(entry.channel, {})[read_id(entry.id).place] = entry.id
        for followed in history.followed:
            for record in followed.records:
                if isinstance(record, Received) and record.type == "message":
                    channel = channel_of(record.data)
                    events.setdefault(channel, {})[read_id(record.id).place] = record.id
        first: dict[str, Place] = {}
        for items in events.values():
            for place, id_ in items.items():
                epoch = read_id(id_).epoch
                first[epoch] = min(place, first.get(epoch, place))
        self._ranks = {epoch: rank for rank, epoch in enumerate(sorted(first, key=lambda e: first[e]))}
        self.ids = events
        self.places = {channel: sorted(items) for channel, items in events.items()}

    def between(self, channel: str, after: Place, to: Place) -> list[Place]:
        """The places of the channel's events above `after`, up to and with `to`."""
        places = self.places.get(channel, [])
        return places[bisect_right(places, after) : bisect_right(places, to)]

    def rank(self, epoch: str) -> int:
        """Epochs in the order of their first events; one without any is taken for the last."""
        return self._ranks.get(epoch, len(self._ranks))

    def rank_of(self, channel: str, place: Place) -> int:
        """The rank of the epoch in which the channel's event at this place was published."""
        return self.rank(read_id(self.ids[channel][place]).epoch)

    def is_lost(self, channel: str, place: Place) -> bool:
        """Whether Redis does not have it any more."""
        return self.ids[channel][place] not in self.logged

    def judge_publishers(self, history: History, allowance: Allowance, verdict: Verdict) -> None:
        """What was acknowledged is in the stream once, or lies before a break."""
        times = Counter((entry.channel, entry.data) for entry in history.logged if entry.data is not None)
        epochs: dict[tuple[str, str], set[str]] = {}
        for entry in history.logged:
            if entry.data is not None:
                epochs.setdefault((entry.channel, entry.data), set()).add(read_id(entry.id).epoch)
        for (channel, data), count in times.items():
            if data not in self.texts.get(channel, ()):
                verdict.broken("the stream holds what was published", channel, f"nobody published {data:.80}")
            # A retry that crosses a break may appear again: the break took its idempotency key.
            if count > len(epochs[channel, data]) and not allowance.keys_lost:
                verdict.broken("an event is in the stream once", channel, f"{count} times: {data:.80}")
        acked: dict[tuple[str, int], set[str]] = {}
        # A retry of what was refused may have come through.
        perhaps = {(w.channel, w.data) for w in history.written if w.outcome is not Outcome.REFUSED}
        for written in history.written:
            key = (written.channel, written.number)
            if written.outcome is Outcome.REFUSED:
                if not allowance.refused:
                    verdict.broken("no publish is refused", written.channel, f"{written.number} was")
                if (written.channel, written.data) in times.keys() - perhaps:
                    verdict.broken("what is refused is not published", written.channel, f"{written.number}")
            if written.outcome is not Outcome.ACKED:
                continue
            if key not in acked:
                verdict.published += 1
            acked.setdefault(key, set()).add(written.id)
            self._judge_acknowledged(written.channel, written.id, written.data, history, allowance, verdict)
        for (channel, number), ids in acked.items():
            if len(ids) > len({read_id(id_).epoch for id_ in ids}) and not allowance.keys_lost:
                verdict.broken("a retry gets the same id", channel, f"{number} has {sorted(ids)}")

    def _judge_acknowledged(
        self, channel: str, id_: str, data: str, history: History, allowance: Allowance, verdict: Verdict
    ) -> None:
        held = self.logged.get(id_)
        if held == data:
            return
        if held is not None:
            verdict.broken("the stream holds what was acknowledged", channel, f"{id_}: {held:.80}")
        elif allowance.loss is Loss.NONE:
            verdict.broken("what is acknowledged is in the stream", channel, f"{id_} is not: {data:.80}")
        elif allowance.loss is Loss.AT_BREAK and read_id(id_).epoch == history.epoch:
            verdict.broken(
                "what is acknowledged is in the stream", channel, f"{id_}, after the break, is not"
            )


class _Stream:
    """One subscriber, from its first `fanlight.open` to the end."""

    def __init__(self, followed: Followed, known: _Known, allowance: Allowance, verdict: Verdict) -> None:
        self._followed = followed
        self._known = known
        self._allowance = allowance
        self._verdict = verdict
        self._accounted: dict[str, Place] | None = None
        """Per channel, up to where everything was delivered or told."""
        self._last: _Id | None = None
        """On this connection."""
        self._held: _Id | None = None
        """Over all connections: the epoch that the client knows."""
        self._gaps: list[_Gap] = []
        self._recent: list[_Gap] = []
        """Gaps since the epoch changed, or since the connection."""
        self._seen: set[str] = set()
        self._numbers: dict[tuple[str, int], set[str]] = {}
        self._reasons: set[str] = set()

    def judge(self) -> None:
        for record in self._followed.records:
            match record:
                case Connected():
                    self._last = None
                    self._recent.clear()
                case Refused(status):
                    self._broken("no browser gives up", f"status {status}")
                case Received("fanlight.gap", id_, data):
                    self._gap(id_, data)
                case Received("fanlight.open", id_, data):
                    self._open(id_)
                case Received("message", id_, data):
                    self._event(id_, data)
                case Received():
                    self._broken("only what was published comes", repr(record))
        if self._accounted is None:
            self._broken("everybody is at the top", "it never opened")
            return
        for channel, place in self._accounted.items():
            places = self._known.places.get(channel)
            if places:
                self._account(channel, self._known.between(channel, place, places[-1]), "at the end")
        told = self._allowance.told
        names = self._allowance.told_only
        if told and not told & self._reasons and (names is None or self._followed.name in names):
            self._broken("a break is told to everyone", f"no gap of {sorted(told)}")

    def _broken(self, rule: str, text: str) -> None:
        self._verdict.broken(rule, self._followed.name, text)

    def _gap(self, id_: str, data: str) -> None:
        body = json.loads(data)
        start, end = body["from"], body["to"]
        gap = _Gap(
            body["channel"],
            body["reason"],
            read_id(start).place if start is not None else None,
            read_id(end).place if end is not None else None,
        )
        self._verdict.gaps[gap.reason] += 1
        self._reasons.add(gap.reason)
        if gap.reason not in self._allowance.gaps:
            self._broken("no false gap", data)
        only = self._allowance.gap_channels
        if only is not None and gap.channel not in only:
            self._broken("a gap is of its channel alone", data)
        if gap.channel is not None and gap.channel not in self._followed.channels:
            self._broken("a gap is of a channel that is followed", data)
        # First its own id: what that stands for was told before. A gap speaks of what comes after it.
        if id_:
            self._claim(id_, "a gap")
        self._gaps.append(gap)
        self._recent.append(gap)
        if gap.reason in _EXACT and gap.start is not None and gap.end is not None:
            channels = self._followed.channels if gap.channel is None else (gap.channel,)
            for channel in channels:
                for place in self._known.between(channel, gap.start, gap.end):
                    if not self._known.is_lost(channel, place):
                        self._broken("a gap is exact", f"{place} is still there: {data}")

    def _open(self, id_: str) -> None:
        if self._accounted is None:
            place = read_id(id_).place
            self._accounted = dict.fromkeys(self._followed.channels, place)
        self._claim(id_, "fanlight.open")

    def _event(self, id_: str, data: str) -> None:
        channel = channel_of(data)
        self._verdict.delivered += 1
        if channel not in self._followed.channels:
            self._broken("only what is followed comes", f"{id_}: {data:.80}")
            return
        if data not in self._known.texts.get(channel, ()):
            self._broken("what comes was published", f"{id_}: {data:.80}")
        held = self._known.held.get(id_)
        if held is not None and held != data:
            self._broken("what comes was published", f"{id_} holds other data: {data:.80}")
        parsed = read_id(id_)
        key = (channel, json.loads(data)["n"])
        # Checked before the order, so that an event which comes again is called so.
        again = any(read_id(old).epoch == parsed.epoch for old in self._numbers.get(key, ()))
        if id_ in self._seen or (again and not self._allowance.keys_lost):
            self._verdict.repeated += 1
            self._broken("nothing comes twice", f"{id_}: {data:.80}")
            return
        self._seen.add(id_)
        self._numbers.setdefault(key, set()).add(id_)
        last = self._last
        if last is not None and last.epoch == parsed.epoch and parsed.place <= last.place:
            self._broken("ids rise", f"{id_} after {last}")
        if self._known.is_lost(channel, parsed.place) and self._allowance.loss is Loss.NONE:
            self._broken("what comes is in the stream", id_)
        if self._accounted is None:
            self._broken("fanlight.open comes first", id_)
            return
        self._claim(id_, "an event")

    def _claim(self, id_: str, what: str) -> None:
        """An id was written: all events at or below it must be accounted for."""
        parsed = read_id(id_)
        last, self._last = self._last, parsed
        if last is not None and last.epoch == parsed.epoch and parsed.place < last.place:
            self._broken("ids rise", f"{what} with {id_} after {last}")
        if self._held is not None and self._held.epoch != parsed.epoch and not self._told_break_since():
            self._broken("a break is told", f"{what} with {id_} after {self._held}")
        if self._held is None or self._held.epoch != parsed.epoch:
            crossed, self._held = self._held is not None, parsed
            self._recent.clear()
        else:
            crossed = False
        for channel, place in (self._accounted or {}).items():
            self._account(channel, self._due(channel, place, parsed, crossed), f"before {what} with {id_}")
        if self._accounted is not None:
            self._accounted = {
                c: parsed.place if crossed else max(place, parsed.place)
                for c, place in self._accounted.items()
            }
        if crossed:
            # A gap without an end speaks of one break: of what was lost before this epoch, whose ids may
            # be above its first. The next break must be told anew.
            rank = self._known.rank(parsed.epoch)
            self._gaps = [
                replace(gap, before=rank) if gap.end is None and gap.before is None else gap
                for gap in self._gaps
            ]

    def _told_break_since(self) -> bool:
        return any(gap.reason in _BREAKS for gap in self._recent)

    def _due(self, channel: str, after: Place, id_: _Id, crossed: bool) -> list[Place]:
        """What an id stands for. While two servers take themselves for the primary, the old one may give out
        ids above those of the epoch that follows: they know nothing of that, and who crosses over begins it
        at its beginning."""
        known, rank = self._known, self._known.rank(id_.epoch)
        due = [p for p in known.between(channel, after, id_.place) if known.rank_of(channel, p) <= rank]
        if crossed:
            older = known.between(channel, (0, 0), min(after, id_.place))
            due += [place for place in older if known.rank_of(channel, place) == rank]
        return due

    def _account(self, channel: str, due: Iterable[Place], when: str) -> None:
        for place in due:
            id_ = self._known.ids[channel][place]
            if id_ in self._seen or self._is_told(channel, place):
                continue
            self._verdict.lost += 1
            self._broken("nothing is lost in silence", f"{id_} of {channel!r} is missing {when}")

    def _is_told(self, channel: str, place: Place) -> bool:
        for gap in self._gaps:
            if gap.channel is not None and gap.channel != channel:
                continue
            if gap.start is not None and place <= gap.start:
                continue
            if gap.end is not None:
                if place <= gap.end:
                    return True
                continue
            # Without an end, a gap speaks of what Redis has lost, and of nothing that it still has.
            rank = self._known.rank_of(channel, place)
            if self._known.is_lost(channel, place) and (gap.before is None or rank < gap.before):
                return True
        return False


def channel_of(data: str) -> str:
    """Which channel an event of the harness is of."""
    return str(json.loads(data)["c"])


def check_vitals(before: Vitals, after: Vitals, *, more_files: int, more_bytes: int) -> list[Violation]:
    """Whether a node is where it was, within what its pools and its allocator may keep."""
    found = []
    for name, value in (("streams", after.streams), ("channels", after.channels)):
        if value:
            found.append(Violation("nothing leaks", name, f"{value:g} are left"))
    if after.subscriptions:
        found.append(Violation("nothing leaks", "subscriptions", f"{after.subscriptions} are left"))
    if after.tasks > before.tasks:
        found.append(Violation("nothing leaks", "tasks", f"{before.tasks:g} before, {after.tasks:g} after"))
    if after.open_files > before.open_files + more_files:
        text = f"{before.open_files:g} before, {after.open_files:g} after"
        found.append(Violation("nothing leaks", "open files", text))
    if after.resident_bytes > before.resident_bytes + more_bytes:
        text = f"{before.resident_bytes / 1e6:.0f} MB before, {after.resident_bytes / 1e6:.0f} MB after"
        found.append(Violation("nothing leaks", "memory", text))
    return found
