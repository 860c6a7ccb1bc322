"""Every command that a gateway and a publisher run, with an example that Redis executes without an effect.

Redis looks at the rights of a user before it looks at the arguments, so a command that is allowed may well
fail: only NOPERM counts. A script's commands need the same rights as those that are sent. HELLO needs none.

The examples name keys and channels of a channel that nobody can have (its name is reserved), or of no channel
at all. HSET has a field without a value, SET has no time to live: both are refused after the rights were
looked at, and before anything is written. XADD makes no stream (NOMKSTREAM),
and XTRIM finds nothing that is as old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.check.findings import Finding, fault, note, ok, warning
from publisher.channels import RESERVED_PREFIX, Channel, Partition
from publisher.control import CONTROL

SUBJECT: Final = "redis rights"
_CHANNEL: Final = Channel(f"{RESERVED_PREFIX}check")
_SCRIPT: Final = "return 1"
_PUBLISHING: Final = "so it can't publish: neither POST /publish nor a publisher that uses it"


class Denial(Enum):
    """What Redis refuses."""

    COMMAND = "command"
    KEY = "key"
    CHANNEL = "channel"


class By(Enum):
    """Who runs it. A gateway that takes POST /publish is a publisher, too."""

    GATEWAY = "gateway"
    PUBLISHER = "publisher"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Right:
    """A command, as ACL SETUSER spells it (`script|load`), and an example of it."""

    command: str
    by: By
    example: tuple[str, ...]
    pattern: str = ""
    """The keys, or the pub/sub channels, that it is used on."""
    essential: bool = True


def rights(prefix: str) -> tuple[Right, ...]:
    """All that an installation with this prefix needs."""
    partition, gateway, publisher, both = Partition(prefix), By.GATEWAY, By.PUBLISHER, By.BOTH
    tag, meta = partition.tag, partition.meta
    tail, stream, live = partition.tail(_CHANNEL), partition.stream(_CHANNEL), partition.live(_CHANNEL)
    once, ticket = partition.idempotency(_CHANNEL, "check"), f"{tag}:ticket:check"
    probe, inspect = partition.probe("check"), partition.inspect("check")
    control = partition.stream(CONTROL)
    tails, streams, lives = f"{tag}:tail:*", f"{tag}:stream:*", f"{tag}:live:*"
    onces, probes, tickets = f"{tag}:once:*", f"{tag}:probe:*", f"{tag}:ticket:*"
    inspects = f"{tag}:inspect:*"
    return (
        Right("eval", both, ("EVAL", _SCRIPT, "0")),
        Right("evalsha", publisher, ("EVALSHA", "0" * 40, "0")),
        Right("script|load", publisher, ("SCRIPT", "LOAD", _SCRIPT)),
        Right("info", both, ("INFO", "server")),
        Right("time", both, ("TIME",)),
        Right("client|info", gateway, ("CLIENT", "INFO"), essential=False),
        Right("hmget", both, ("HMGET", meta, "epoch"), meta),
        Right("hset", both, ("HSET", meta, "field", "value", "field"), meta),
        Right("mget", gateway, ("MGET", tail), tails),
        Right("get", publisher, ("GET", tail), tails),
        Right("set", publisher, ("SET", tail, "x", "PX", "0"), tails),
        Right("xrange", gateway, ("XRANGE", stream, "-", "+", "COUNT", "1"), streams),
        Right("xrevrange", both, ("XREVRANGE", stream, "+", "-", "COUNT", "1"), streams),
        Right("xinfo|stream", gateway, ("XINFO", "STREAM", stream), streams, essential=False),
        Right("pttl", gateway, ("PTTL", stream), streams, essential=False),
        Right("xadd", publisher, ("XADD", stream, "NOMKSTREAM", "*", "m", "x"), streams),
        Right("pexpire", publisher, ("PEXPIRE", stream, "1000"), streams),
        Right("xlen", publisher, ("XLEN", control), control),
        Right("xtrim", publisher, ("XTRIM", control, "MINID", "0"), control),
        Right("get", publisher, ("GET", once), onces),
        Right("set", publisher, ("SET", once, "x", "PX", "0"), onces),
        Right("set", gateway, ("SET", ticket, "x", "PX", "0"), tickets),
        Right("getdel", gateway, ("GETDEL", ticket), tickets),
        Right("publish", publisher, ("PUBLISH", live, "x"), lives),
        Right("publish", gateway, ("PUBLISH", probe, "x"), probes),
        Right("publish", gateway, ("PUBLISH", inspect, "x"), inspects, essential=False),
        # Last: with RESP2, a subscriber may run nothing else.
        Right("subscribe", gateway, ("SUBSCRIBE", live), lives),
        Right("subscribe", gateway, ("SUBSCRIBE", probe), probes),
        Right("subscribe", gateway, ("SUBSCRIBE", inspect), inspects, essential=False),
        Right("unsubscribe", gateway, ("UNSUBSCRIBE", live), lives),
    )


def judge(user: str, denied: Sequence[tuple[Right, Denial]], *, publishes: bool) -> list[Finding]:
    """What the user lacks, with the rules that give it. `publishes`: the gateway is meant to publish."""
    if not denied:
        return [ok(SUBJECT, f"the user {user} may run every command that gateway and publisher need")]
    own = [item for item in denied if item[0].by is not By.PUBLISHER and item[0].essential]
    lesser = [item for item in denied if item[0].by is not By.PUBLISHER and not item[0].essential]
    publishing = [item for item in denied if item[0].by is By.PUBLISHER]
    found = []
    if own or (publishing and publishes):
        lacks = [*own, *(publishing if publishes else [])]
        found.append(fault(SUBJECT, _lacks(user, lacks), _rules(user, lacks)))
    if lesser:
        found.append(warning(SUBJECT, _lacks(user, lesser), _rules(user, lesser)))
    if publishing and not publishes:
        text = f"{_lacks(user, publishing)}, {_PUBLISHING}"
        found.append(note(SUBJECT, text, f"nothing, if it shall not; else {_rules(user, publishing)}"))
    return found


def _lacks(user: str, denied: Sequence[tuple[Right, Denial]]) -> str:
    told = dict.fromkeys(
        right.command.upper().replace("|", " ") + ("" if why is Denial.COMMAND else f" on {right.pattern}")
        for right, why in denied
    )
    return f"the user {user} may not run {', '.join(told)}"


def _rules(user: str, denied: Sequence[tuple[Right, Denial]]) -> str:
    sign = {Denial.KEY: "~", Denial.CHANNEL: "&"}
    rules = dict.fromkeys(
        f"'+{right.command}'" if why is Denial.COMMAND else f"'{sign[why]}{right.pattern}'"
        for right, why in denied
    )
    return f"ACL SETUSER {user} {' '.join(rules)}"
