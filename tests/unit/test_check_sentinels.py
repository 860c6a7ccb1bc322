"""`gateway.check.sentinels`: facts in, findings out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.check.findings import Severity
from gateway.check.sentinels import Witness, judge
from gateway.check.server import Reached, Server

OK, NOTE, WARNING, FAULT = Severity
SERVER = Server("redis://h:1/0", replicas=2, replicas_in_sync=2, min_replicas_to_write=1)
FIT = [Witness(f"s{number}:26379", primary="h:1", others=2) for number in range(3)]
DEAD, STRANGE = "does not answer: refused", "does not know a primary of this name"


def but(number: int, **facts: Any) -> list[Witness]:
    return [replace(w, **facts) if at == number else w for at, w in enumerate(FIT)]


def every(**facts: Any) -> list[Witness]:
    return [replace(witness, **facts) for witness in FIT]


def test_nothing_is_wrong_with_sentinels_that_are_fit() -> None:
    findings = judge("main", FIT, SERVER)
    assert {finding.severity for finding in findings} == {OK}
    assert findings[0].text == "3 of 3 name a primary 'main'"


SENTINELS: list[tuple[list[Witness], str, Severity, str]] = [
    (but(1, failure=DEAD), "sentinels", WARNING, "2 of 3 name a primary 'main': s1:26379 does not answer"),
    (every(failure=DEAD), "sentinels", FAULT, "0 of 3 name a primary"),
    (every(failure=STRANGE), "sentinels", FAULT, "look at the hosts and the name in redis_url"),
    (every(others=4), "sentinels", WARNING, "they know 5 of them -> name all of them"),
    (every(others=None), "sentinels", OK, "3 of 3"),
    ([replace(w, others=1) for w in FIT[:2]], "sentinels", WARNING, "run 3"),
    (but(2, primary="old:1"), "sentinel primary", WARNING, "they name h:1 and old:1"),
    (but(0, quorum="NOQUORUM 1 usable"), "sentinel quorum", FAULT, "s0:26379: NOQUORUM 1 usable"),
    (every(quorum=None), "sentinel quorum", NOTE, "not told"),
    (but(0, quorum=None), "sentinel quorum", OK, "reached"),
]


@pytest.mark.parametrize(("witnesses", "subject", "severity", "told"), SENTINELS)
def test_what_is_said_of_sentinels(
    witnesses: list[Witness], subject: str, severity: Severity, told: str
) -> None:
    named = any(not witness.failure for witness in witnesses)
    findings = judge("main", witnesses, SERVER if named else None)
    [found] = [finding for finding in findings if finding.subject == subject]
    assert (found.severity, told in f"{found.text} -> {found.advice}") == (severity, True), found
    assert all(finding.severity in (OK, severity) for finding in findings), "and nothing else"
    assert found.advice or severity is OK


SERVERS: list[tuple[dict[str, Any], str, Severity, str]] = [
    ({"replicas_in_sync": 0, "min_replicas_to_write": None}, "redis replicas", FAULT, "nobody could take"),
    ({"replicas": 3}, "redis replicas", OK, "2 of 3 in sync"),
    ({"min_replicas_to_write": 0}, "redis min-replicas", WARNING, "set min-replicas-to-write 1"),
    ({"min_replicas_to_write": None}, "redis min-replicas", NOTE, "not told"),
    ({"min_replicas_to_write": 2}, "redis min-replicas", NOTE, "one more"),
    ({"min_replicas_to_write": 3}, "redis min-replicas", FAULT, "fewer than 3 replicas follow, and 2 do"),
]


@pytest.mark.parametrize(("facts", "subject", "severity", "told"), SERVERS)
def test_what_is_said_of_replicas(facts: dict[str, Any], subject: str, severity: Severity, told: str) -> None:
    findings = judge("main", FIT, replace(SERVER, **facts))
    [found] = [finding for finding in findings if finding.subject == subject]
    assert (found.severity, told in f"{found.text} -> {found.advice}") == (severity, True), found


def test_a_primary_that_is_not_reached_is_not_judged_here() -> None:
    findings = judge("main", FIT, replace(SERVER, reached=Reached.AWAY))
    assert {finding.subject for finding in findings} == {"sentinels", "sentinel primary", "sentinel quorum"}
