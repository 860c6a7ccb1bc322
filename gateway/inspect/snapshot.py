"""All that the inspector shows, as one object for JSON: for the page, `fanlight inspect` and programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final

from gateway.protocol.inquiry import MOST_CHANNELS

if TYPE_CHECKING:
    from gateway.inspect.inquiries import Inquiry
    from gateway.inspect.kept import Kept
    from gateway.inspect.roll import Known
    from gateway.protocol.summary import Summary
    from publisher.channels import Channel

MOST_CHANGES: Final = 60
MOST_LAGGARDS: Final = 50


class NodeState(Enum):
    """Of a process."""

    READY = "ready"
    UNREADY = "unready"
    DRAINING = "draining"
    SILENT = "silent"
    """It has heard the question, and has not answered in time: it hangs, or is late."""
    GONE = "gone"
    """It was there a few minutes ago, and hears no questions any more: it has ended, or is cut off."""
    MISSING = "missing"
    """One of the two: there are more missing than silent ones, or nobody could be asked."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Those that are shown, with the subscribers of all who have answered."""

    subscribers: Mapping[Channel, int]
    """Those with the most first."""
    matching: int
    """How many there are, at least."""
    all_known: bool
    """So many, and no more."""
    unseen: float = 0.0
    """What a channel may have that no node has named, at most."""
    counted: bool = True
    """The counts are of all who have heard the question."""

    @property
    def first(self) -> bool:
        """These are those with the most, beyond doubt."""
        return self.counted and self.unseen <= min(self.subscribers.values(), default=math.inf)

    def shown(self, most: int) -> Channels:
        """The first of them."""
        kept = nlargest(most, self.subscribers.items(), key=lambda item: item[1])
        return replace(self, subscribers=dict(kept))


def candidates(inquiry: Inquiry) -> Channels:
    """Of an overview: the channels that nodes have named, with the subscribers on those that did.

    A list that was cut hides no channel with more than its last one. So what no node has named has, over
    all, no more than these last ones together.
    """
    tops = [answer.top for answer in inquiry.answers.values() if answer.top is not None]
    found: Counter[Channel] = Counter()
    for top in tops:
        found.update(dict(zip(top.channels, top.counts, strict=True)))
    named = dict(found.most_common(MOST_CHANNELS))
    hidden = [math.inf if not top.whole else min(top.counts, default=0) for top in tops if top.cut]
    unseen = sum(hidden) if len(named) == len(found) else math.inf
    matching = max([len(found), *(top.matching for top in tops)])
    return Channels(named, matching, not hidden, unseen, not inquiry.silent)


def state_of(summary: Summary) -> NodeState:
    if summary.draining:
        return NodeState.DRAINING
    return NodeState.READY if summary.ready else NodeState.UNREADY


def state_of_missing(silent: int, missing: int, *, asked: bool) -> NodeState:
    """Of all that are known and have not answered."""
    if not asked or 0 < silent < missing:
        return NodeState.MISSING
    return NodeState.SILENT if silent else NodeState.GONE


def snapshot(
    inquiry: Inquiry,
    missing: Sequence[Known],
    channels: Channels,
    kept: Sequence[Kept] | None,
    *,
    asked_by: str,
    asked: bool,
    now_ms: int,
    now: float,
) -> dict[str, Any]:
    """`asked`: the others could be; else it is of one process alone. `kept`: None where Redis did not tell.
    `now` is of the clock of `missing`."""
    summaries = {id_: a.summary for id_, a in inquiry.answers.items() if a.summary is not None}
    names = {id_: summary.name for id_, summary in summaries.items()}
    state = state_of_missing(inquiry.silent, len(missing), asked=asked)
    nodes: list[dict[str, Any]] = [
        {"id": id_, "state": state_of(summary).value, "heard_seconds": 0.0, **_own(summary)}
        for id_, summary in summaries.items()
    ]
    nodes += [
        {
            "id": known.id,
            "state": state.value,
            "heard_seconds": round(now - known.heard_at, 1),
            "name": known.name,
            "worker": known.worker,
            "version": known.version,
        }
        for known in missing
    ]
    nodes.sort(key=lambda node: (node["name"], -1 if node["worker"] is None else node["worker"], node["id"]))
    laggards: list[dict[str, Any]] = [
        {"node": id_, "name": names[id_], "worker": summary.worker, **laggard.as_object()}
        for id_, summary in summaries.items()
        for laggard in summary.laggards
    ]
    changes: list[dict[str, Any]] = [
        {"node": id_, "name": names[id_], "worker": summary.worker, **change.as_object()}
        for id_, summary in summaries.items()
        for change in summary.changes
    ]
    laggards.sort(key=_urgency)
    changes.sort(key=lambda at: at["until_ms"], reverse=True)
    return {
        "at_ms": now_ms,
        "asked_by": asked_by,
        "asked_others": asked,
        "listening": inquiry.heard_by if asked else None,
        "answered": len(inquiry.answers),
        "silent": inquiry.silent,
        "silent_unknown": max(0, inquiry.silent - len(missing)),
        "nodes": nodes,
        "channels": _channels(channels, kept, now_ms),
        "channels_matching": channels.matching,
        "channels_all_known": channels.all_known and asked and not inquiry.silent,
        "channels_first": channels.first and asked and not inquiry.silent,
        "laggards": laggards[:MOST_LAGGARDS],
        "changes": changes[:MOST_CHANGES],
    }


def _urgency(laggard: Mapping[str, Any]) -> tuple[float, float]:
    left_seconds = laggard["left_seconds"]
    return math.inf if left_seconds is None else left_seconds, -laggard["behind_seconds"]


def _own(summary: Summary) -> dict[str, Any]:
    """What stands with the node itself; laggards and changes have lists of their own."""
    return {name: value for name, value in summary.as_object().items() if name not in ("laggards", "changes")}


def _channels(channels: Channels, kept: Sequence[Kept] | None, now_ms: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for at, (name, subscribers) in enumerate(channels.subscribers.items()):
        row: dict[str, Any] = {"name": name, "subscribers": subscribers, "kept": None}
        if kept is not None:
            of = kept[at]
            oldest = None if of.first_ms is None else round(max(0, now_ms - of.first_ms) / 1000, 1)
            row["kept"] = {
                "length": of.length,
                "oldest_seconds": oldest,
                "expires_seconds": of.expires_seconds,
                "last_id": of.last_id,
                "ended": of.ended,
            }
        rows.append(row)
    return rows
