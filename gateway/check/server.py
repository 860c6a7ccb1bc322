"""Redis or Valkey: is it there, is it fit, and will it stay so."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.check import rights
from gateway.check.demand import Demand
from gateway.check.findings import Finding, fault, note, ok, warning

LEAST_VERSION: Final = (7, 0)
_MIB: Final = 1_048_576
_FULL, _NEARLY_FULL = 0.98, 0.8
_SLOW_SECONDS, _VERY_SLOW_SECONDS = 0.002, 0.02
_CLOCK_SECONDS: Final = 1.0
_LEAST_OUTPUT_BYTES: Final = 8 * _MIB
_SHORT_IDLE_SECONDS: Final = 60


class Reached(Enum):
    """How far the way to Redis led."""

    YES = "yes"
    NO_ADDRESS = "no_address"
    AWAY = "away"
    TLS = "tls"
    PASSWORD = "password"  # noqa: S105 - what is wrong with it
    REFUSED = "refused"
    """It answers, and serves nobody like us: it is loading, protected, or not Redis."""


@dataclass(frozen=True, slots=True)
class Server:
    """What was found out; None is what was not told."""

    address: str
    """Without user and password."""
    reached: Reached = Reached.YES
    detail: str = ""
    """Of what went wrong, in the system's or Redis' own words."""
    product: str = "Redis"
    version: tuple[int, ...] | None = None
    cluster: bool = False
    replica: bool = False
    replicas: int = 0
    replicas_in_sync: int = 0
    min_replicas_to_write: int | None = None
    policy: str | None = None
    max_memory_bytes: int | None = None
    used_memory_bytes: int | None = None
    append_only: bool | None = None
    snapshots: bool | None = None
    failing: str = ""
    """What of its persistence failed the last time."""
    round_trips_seconds: tuple[float, ...] = ()
    clock_ahead_seconds: float | None = None
    clients: int | None = None
    max_clients: int | None = None
    output_limit_bytes: int | None = None
    """The hard limit of pub/sub clients; 0: none."""
    idle_timeout_seconds: int | None = None
    user: str = "default"
    publishes: bool = False
    """The gateway is meant to publish for others."""
    denied: tuple[tuple[rights.Right, rights.Denial], ...] = ()


def judge(server: Server, demand: Demand) -> list[Finding]:
    """All findings about Redis; where it can't be used at all, why."""
    if server.reached is not Reached.YES:
        return [_not_reached(server)]
    found = [
        _version(server),
        *_history(server),
        *rights.judge(server.user, server.denied, publishes=server.publishes),
    ]
    judges: tuple[Callable[[Server, Demand], Finding], ...] = (
        _policy, _memory, _persistence, _round_trips, _clock, _clients, _output_limit, _idle_timeout,
    )  # fmt: skip
    return found + [judge_one(server, demand) for judge_one in judges]


def _not_reached(server: Server) -> Finding:
    text, advice = {
        Reached.NO_ADDRESS: (
            "has a name that leads nowhere",
            "look at the host in redis_url, and at the resolver",
        ),
        Reached.AWAY: (
            "does not answer",
            "start it, open the way to it, or set redis_url (rediss:// if it speaks TLS only)",
        ),
        Reached.TLS: (
            "speaks no TLS that this machine trusts",
            "use redis:// if it has no TLS; else give the authority of its certificate",
        ),
        Reached.PASSWORD: (
            "refuses the user or the password",
            "set them in redis_url: redis://user:password@host",
        ),
        Reached.REFUSED: ("answers, but not as a Redis that can be used", "look at the server's own log"),
    }[server.reached]
    detail = f": {server.detail}" if server.detail else ""
    return fault("redis", f"{server.address} {text}{detail}", advice)


def _version(server: Server) -> Finding:
    if server.version is None:
        return note(
            "redis", f"{server.address} answers, and does not tell its version", "Redis 7 or newer is needed"
        )
    shown = f"{server.product} {'.'.join(map(str, server.version))}"
    if server.version < LEAST_VERSION:
        return fault("redis", f"{server.address} is {shown}", "Redis 7 or newer, or Valkey, is needed")
    return ok("redis", f"{server.address} is {shown}")


def _history(server: Server) -> list[Finding]:
    found = []
    if server.cluster:
        found.append(
            fault("redis role", "a node of a Redis Cluster", "use one primary: Cluster is not supported yet")
        )
    if server.replica:
        found.append(fault("redis role", "a replica, which takes no events", "name the primary in redis_url"))
    return found or [ok("redis role", f"a primary with {server.replicas} replicas")]


def _policy(server: Server, _: Demand) -> Finding:
    subject, advice = "redis eviction", "maxmemory-policy noeviction"
    if server.policy is None:
        return note(subject, "the policy is not told", f"make sure of {advice}")
    if server.policy == "noeviction":
        return ok(subject, "noeviction: a full Redis refuses events, and says so")
    if not server.max_memory_bytes:
        text = f"{server.policy}: it will drop events without an error as soon as there is a maxmemory"
        return warning(subject, text, advice)
    return fault(subject, f"{server.policy}: when it is full, it drops events without an error", advice)


def _memory(server: Server, _: Demand) -> Finding:
    subject, used, most = "redis memory", server.used_memory_bytes, server.max_memory_bytes
    if used is None or most is None:
        return note(
            subject, "not told", "make sure that maxmemory is above what retention needs (docs/sizing.md)"
        )
    if not most:
        text = f"{_mib(used)} used, no maxmemory: it grows until the system ends it"
        return warning(subject, text, "set maxmemory below the machine's memory (docs/sizing.md)")
    text = f"{_mib(used)} of {_mib(most)} used ({used / most:.0%})"
    advice = "raise maxmemory, or lower retention_events and retention_seconds (docs/sizing.md)"
    if used >= _FULL * most:
        return fault(subject, f"{text}: events are refused", advice)
    return warning(subject, text, advice) if used >= _NEARLY_FULL * most else ok(subject, text)


def _persistence(server: Server, _: Demand) -> Finding:
    subject = "redis persistence"
    if server.failing:
        advice = "look at the server's log and its disk: it refuses events for as long as that fails"
        return fault(subject, f"{server.failing} failed", advice)
    if server.append_only:
        return ok(subject, "append-only file")
    if server.append_only is None:
        return note(subject, "not told", "an event is as durable as this Redis: make sure of what you need")
    if server.snapshots is None:
        return note(
            subject, "no append-only file; snapshots are not told", "appendonly yes, to lose 1 s at most"
        )
    if server.snapshots:
        text = "snapshots only: a crash loses what came after the last one"
        return note(subject, text, "appendonly yes, to lose 1 s at most")
    text = "none: a restart loses all events, and tells every client a gap"
    return note(subject, text, "appendonly yes, unless that is what you want")


def _round_trips(server: Server, demand: Demand) -> Finding:
    subject, times = "redis latency", server.round_trips_seconds
    if not times:
        return note(subject, "not measured")
    median, most = statistics.median(times), max(times)
    text = f"median {median * 1000:.2f} ms, at most {most * 1000:.2f} ms, in {len(times)} round trips"
    if most >= demand.link_deadline_seconds / 2:
        return warning(subject, text, "find what delays Redis, or raise link_deadline_seconds")
    if median >= _VERY_SLOW_SECONDS:
        return warning(subject, text, "run gateways and publishers near Redis")
    return note(subject, text, "each event waits so long") if median >= _SLOW_SECONDS else ok(subject, text)


def _clock(server: Server, _: Demand) -> Finding:
    subject, ahead = "clock", server.clock_ahead_seconds
    if ahead is None:
        return note(subject, "not compared: Redis does not tell its time")
    text = f"this machine's and Redis' differ by {abs(ahead):.3f} s"
    if abs(ahead) >= _CLOCK_SECONDS:
        return warning(subject, text, "run NTP on both: tokens end, and latencies are told, by these clocks")
    return ok(subject, text)


def _clients(server: Server, demand: Demand) -> Finding:
    subject, most = "redis clients", server.max_clients
    if most is None or server.clients is None:
        return note(
            subject, "maxclients is not told", f"this node alone needs {demand.connections:,} at most"
        )
    room = most - server.clients
    text = f"{server.clients:,} of {most:,} connected; this node needs {demand.connections:,} at most"
    if room < demand.workers:
        return fault(subject, text, "raise maxclients")
    return warning(subject, text, "raise maxclients") if room < demand.connections else ok(subject, text)


def _output_limit(server: Server, _: Demand) -> Finding:
    subject, limit = "redis output buffer", server.output_limit_bytes
    setting = "client-output-buffer-limit pubsub 32mb 8mb 60"
    if limit is None:
        return note(subject, "the limit for pub/sub is not told", f"the default is good: {setting}")
    if not limit:
        text = "no limit for pub/sub: a gateway that stands still takes all of Redis' memory"
        return warning(subject, text, f"set {setting}")
    if limit < _LEAST_OUTPUT_BYTES:
        text = f"{_mib(limit)} for pub/sub: a burst of events cuts the link"
        return warning(subject, text, f"set {setting}")
    return ok(subject, f"{_mib(limit)} for pub/sub")


def _idle_timeout(server: Server, _: Demand) -> Finding:
    subject, seconds = "redis timeout", server.idle_timeout_seconds
    if seconds is None:
        return note(subject, "not told", "timeout 0 is good: idle connections stay open")
    if not seconds:
        return ok(subject, "idle connections stay open")
    text = f"idle connections are closed after {seconds:,} s, and made anew"
    if seconds < _SHORT_IDLE_SECONDS:
        return warning(subject, text, f"set timeout 0, or at least {_SHORT_IDLE_SECONDS}")
    return note(subject, text, "timeout 0 saves that")


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.1f} MiB"
