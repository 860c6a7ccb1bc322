"""What was delivered, and what is missing: for setups whose streams say nothing but events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.history import Outcome, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.peers.load import PeerSubscriber


@dataclass(slots=True)
class PeerVerdict:
    """Of one run; an event that two subscribers missed counts twice."""

    published: int = 0
    delivered: int = 0
    repeated: int = 0
    """Came again though it was published once, or acknowledged at once."""
    published_again: int = 0
    """Came again because the publisher, without an answer, had published it again."""
    lost_unbroken: int = 0
    """Missing between two events of one connection, or at its end."""
    lost_reconnect: int = 0
    """Missing where the client had reconnected: a page can see that, though not what is missing."""
    lost_away: int = 0
    """Missing to the one who had left during the fault."""
    turned_away: int = 0
    """Answers at which a browser gives up."""
    lost_single: int = 0
    """Of those lost, by subscribers of one channel only."""

    @property
    def lost(self) -> int:
        return self.lost_unbroken + self.lost_reconnect + self.lost_away


def judge(written: Iterable[Written], subscribers: Sequence[PeerSubscriber]) -> PeerVerdict:
    """Count. An event exists if it was acknowledged, or if anybody got it; a subscriber is due those of
    its channels above the first that it got."""
    written = list(written)
    attempts = Counter((item.channel, item.number) for item in written)
    existing = {(w.channel, w.number) for w in written if w.outcome is Outcome.ACKED}
    existing |= {(channel, number) for s in subscribers for channel, number, _, _ in s.seen}
    verdict = PeerVerdict(published=len(existing))
    for subscriber in subscribers:
        verdict.turned_away += subscriber.turned_away
        for channel in subscriber.followed.channels:
            _count(subscriber, channel, {n for c, n in existing if c == channel}, attempts, verdict)
    return verdict


def _count(
    subscriber: PeerSubscriber,
    channel: str,
    existing: set[int],
    attempts: Counter[tuple[str, int]],
    verdict: PeerVerdict,
) -> None:
    arrivals = [(n, opens, away) for c, n, opens, away in subscriber.seen if c == channel]
    counts = Counter(number for number, _, _ in arrivals)
    verdict.delivered += len(counts)
    lost_before = verdict.lost
    for number, count in counts.items():
        if attempts[channel, number] > 1:
            verdict.published_again += count - 1
        else:
            verdict.repeated += count - 1
    if not arrivals:
        return
    first = arrivals[0][0]
    by_number = {number: (opens, away) for number, opens, away in reversed(arrivals)}
    known = sorted(by_number)
    end = subscriber.opens, subscriber.was_away
    for number in sorted(existing - by_number.keys()):
        if number < first:
            continue
        before = by_number[max(n for n in known if n < number)]
        after = min((n for n in known if n > number), default=None)
        opens, away = end if after is None else by_number[after]
        if away and not before[1]:
            verdict.lost_away += 1
        elif opens != before[0]:
            verdict.lost_reconnect += 1
        else:
            verdict.lost_unbroken += 1
    if len(subscriber.followed.channels) == 1:
        verdict.lost_single += verdict.lost - lost_before
