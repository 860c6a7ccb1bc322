"""The sentinels that name the primary: do they answer, do they agree, and would a failover succeed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.check.findings import Finding, fault, note, ok, warning
from gateway.check.server import Reached, Server

_FEWEST: Final = 3
_MIN_REPLICAS: Final = "min-replicas-to-write 1 and min-replicas-max-lag 10, on all servers"


@dataclass(frozen=True, slots=True)
class Witness:
    """One sentinel, and what it says."""

    address: str
    failure: str = ""
    """Why it names nobody, in words that follow the address; empty where it does."""
    primary: str = ""
    others: int | None = None
    """How many other sentinels it knows; None where it does not tell."""
    quorum: str | None = ""
    """What keeps a failover from succeeding, in its own words; empty: nothing; None: it does not tell."""


def judge(service: str, witnesses: Sequence[Witness], server: Server | None) -> list[Finding]:
    """All findings. `server` is the primary that they name; None where nobody names one."""
    named = [witness for witness in witnesses if not witness.failure]
    found = [_answers(service, witnesses)]
    if named:
        found += [_agreement(named), _quorum(named)]
    if server is not None and server.reached is Reached.YES:
        found += [_replicas(server), _min_replicas(server)]
    return found


def _answers(service: str, witnesses: Sequence[Witness]) -> Finding:
    subject = "sentinels"
    failed = [f"{witness.address} {witness.failure}" for witness in witnesses if witness.failure]
    text = f"{len(witnesses) - len(failed)} of {len(witnesses)} name a primary {service!r}"
    if len(failed) == len(witnesses):
        advice = "start them, look at the hosts and the name in redis_url, and at sentinel_password"
        return fault(subject, f"{text}: {'; '.join(failed)}", advice)
    if failed:
        advice = "start them, or take them out of redis_url: each costs a second when a connection is made"
        return warning(subject, f"{text}: {'; '.join(failed)}", advice)
    most = max(witness.others or 0 for witness in witnesses) + 1
    if most > len(witnesses):
        return warning(subject, f"{text}, and they know {most} of them", "name all of them in redis_url")
    if len(witnesses) < _FEWEST:
        advice = f"run {_FEWEST}, on machines of their own: fewer can't outvote a lost one"
        return warning(subject, text, advice)
    return ok(subject, text)


def _agreement(named: Sequence[Witness]) -> Finding:
    subject, primaries = "sentinel primary", sorted({witness.primary for witness in named})
    if len(primaries) == 1:
        return ok(subject, f"all that answer name {primaries[0]}")
    text = f"they name {' and '.join(primaries)}"
    return warning(subject, text, "if no failover is under way, look at the logs of those that are behind")


def _quorum(named: Sequence[Witness]) -> Finding:
    subject = "sentinel quorum"
    lacking = [f"{witness.address}: {witness.quorum}" for witness in named if witness.quorum]
    if lacking:
        advice = "start more of them; they must reach each other, and the quorum be at most their number"
        return fault(subject, "; ".join(lacking), advice)
    if all(witness.quorum is None for witness in named):
        return note(subject, "not told", "ask: redis-cli -p 26379 SENTINEL CKQUORUM with the primary's name")
    return ok(subject, "reached: they can agree on a failover")


def _replicas(server: Server) -> Finding:
    subject, in_sync = "redis replicas", server.replicas_in_sync
    text = f"{in_sync} of {server.replicas} in sync"
    if in_sync:
        return ok(subject, text)
    return fault(subject, f"{text}: nobody could take over", "add a replica, or look at the link to it")


def _min_replicas(server: Server) -> Finding:
    subject, least = "redis min-replicas", server.min_replicas_to_write
    if least is None:
        return note(subject, "not told", f"set {_MIN_REPLICAS}")
    if not least:
        text = "0: a primary that was cut off goes on taking events, which are lost when it comes back"
        return warning(subject, text, f"set {_MIN_REPLICAS}")
    text = f"events are refused where fewer than {least} replicas follow, and {server.replicas_in_sync} do"
    if server.replicas_in_sync < least:
        return fault(subject, text, "add replicas, or lower it")
    if server.replicas_in_sync == least:
        return note(subject, text, "one more, so that a lost one stops no publish")
    return ok(subject, text)
