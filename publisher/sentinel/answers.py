"""Which sentinels are asked, and which of their answers counts. Pure: no socket, no clock.

All sentinels are asked, and the answer with the highest configuration epoch counts: Sentinel raises it with
each failover, so a sentinel that was cut off and names the old primary is outvoted by any one that knows
better. A lower epoch than one seen before is believed only if most sentinels answered and none knew a higher
one (they were set up anew): else a stale one, asked alone, would lead back.

A sentinel that does not answer costs its deadline once: then it is left out for a while, unless no other
answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from publisher.sentinel.url import Address, read_address, shown_address

RECHECK_SECONDS: Final = 1.0
"""How old an answer may be for a connection that is open already."""
LEFT_OUT_SECONDS: Final = 10.0
_MOST_ASK_SECONDS: Final = 1.0
_MOST_WORDS: Final = 200
"""Characters of an error that are told."""


def ask_seconds(deadline_seconds: float, sentinels: int) -> float:
    """How long each sentinel may take, so that all of them may be silent, and there is time to connect."""
    return min(_MOST_ASK_SECONDS, deadline_seconds / (sentinels + 1))


def questions(service: str) -> tuple[tuple[str, ...], ...]:
    """The commands, in this order: an epoch that is older than the address is harmless, a younger one would
    vouch for an old address. During a failover, MASTER still has the old address when the epoch is new."""
    return ("SENTINEL", "MASTER", service), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)


class PrimaryUnknown(ConnectionError):
    """No sentinel has named the primary. The message says why, for each of them."""


class NotThePrimary(ConnectionError):
    """The server that was named says of itself that it is none: a failover is under way."""


def check_role(hello: object) -> None:
    """HELLO's answer. It needs no right beyond the login, and costs nothing. Raises `NotThePrimary`."""
    role = _text(_pairs(hello).get("role", ""))
    if role != "master":
        raise NotThePrimary(f"the sentinels name a server whose role is {role or 'unknown'}, not master")


@dataclass(frozen=True, slots=True, order=True)
class Named:
    """What a sentinel says."""

    epoch: int
    """-1 where it does not tell: the user may not run SENTINEL MASTER."""
    address: Address
    others: int | None = field(default=None, compare=False)
    """How many other sentinels it knows; None where it does not tell."""


def named(master: object, address: object) -> Named:
    """Of the replies to `questions`, an exception in place of each error reply. ValueError, in words that
    follow the sentinel's address, where they name nobody."""
    if isinstance(address, Exception):
        raise ValueError(f"refuses: {_told(address)}")
    if address is None:
        raise ValueError("does not know a primary of this name")
    try:
        match address:
            case [bytes() | str() as host, bytes() | str() as port]:
                fields = {name: _text(value) for name, value in _pairs(master).items()}
                others = fields.get("num-other-sentinels")
                return Named(
                    int(fields.get("config-epoch", "-1")),
                    read_address(_text(host), _text(port)),
                    int(others) if others is not None else None,
                )
    except ValueError:
        pass
    raise ValueError("gave an answer that is not a sentinel's")


class Roster:
    """The sentinels of one client, and what is known of them."""

    def __init__(self, service: str, sentinels: Sequence[Address]) -> None:
        self.sentinels = tuple(sentinels)
        self.service = service
        self.known: Named | None = None
        self.asked_at = float("-inf")
        """When the last round ended, with or without an answer."""
        self._back_at: dict[Address, float] = {}

    def left_out(self, now: float) -> list[Address]:
        return [sentinel for sentinel in self.sentinels if self._back_at.get(sentinel, now) > now]

    def hear(self, sentinel: Address, now: float, *, answered: bool) -> None:
        if answered:
            self._back_at.pop(sentinel, None)
        else:
            self._back_at[sentinel] = now + LEFT_OUT_SECONDS

    def learn(self, answers: Sequence[Named], now: float) -> None:
        """The answers of one round."""
        self.asked_at = now
        if not answers:
            return
        best = max(answers, key=lambda answer: (answer.epoch, answers.count(answer)))
        most = 2 * len(answers) > len(self.sentinels)
        if self.known is None or best.epoch >= self.known.epoch or most:
            self.known = best


class Round:
    """One question to the sentinels: iterate, and tell what came of each before going on."""

    def __init__(self, roster: Roster, now: float, *, urgent: bool) -> None:
        """`urgent`: if no other answers, those that are left out are asked, too."""
        self._roster = roster
        self._left_out = roster.left_out(now)
        self._urgent = urgent
        self._answers: list[Named] = []
        self._failures: dict[Address, str] = {}

    def __iter__(self) -> Iterator[Address]:
        for sentinel in self._roster.sentinels:
            if sentinel not in self._left_out:
                yield sentinel
        if self._urgent:
            for sentinel in self._left_out:
                if self._answers:
                    return
                yield sentinel

    def answered(self, sentinel: Address, replies: Sequence[object], now: float) -> None:
        """Take the replies to `questions`."""
        self._roster.hear(sentinel, now, answered=True)
        master, address = replies
        try:
            self._answers.append(named(master, address))
        except ValueError as error:
            self._failures[sentinel] = str(error)

    def failed(self, sentinel: Address, error: Exception, now: float) -> None:
        """Take the exception that came in their place."""
        self._roster.hear(sentinel, now, answered=False)
        self._failures[sentinel] = f"does not answer: {_told(error)}"

    def end(self, now: float) -> Address:
        """All have been asked. Raises `PrimaryUnknown`."""
        self._roster.learn(self._answers, now)
        if not self._answers or self._roster.known is None:
            told = "; ".join(f"{shown_address(item)} {why}" for item, why in self._failures.items())
            name = self._roster.service
            raise PrimaryUnknown(f"no sentinel names the primary {name!r}: {told or 'none was asked'}")
        return self._roster.known.address


def _told(error: Exception) -> str:
    """In words for a log: others' words may be long, and hold what acts on a terminal."""
    text = "".join(c if c.isprintable() else " " for c in str(error)[:_MOST_WORDS])
    return text or type(error).__name__


def _pairs(reply: object) -> Mapping[str, object]:
    """A map of RESP3, or the flat list of names and values that RESP2 has for it; empty for anything else."""
    if isinstance(reply, Mapping):
        return {_text(name): value for name, value in reply.items()}
    if isinstance(reply, list):
        return dict(zip(map(_text, reply[::2]), reply[1::2], strict=False))
    return {}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
