"""`gateway.check`: facts in, findings out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from gateway.check import access, machine, rights, server
from gateway.check.access import Access, CertificateFile, Issuer
from gateway.check.demand import Demand
from gateway.check.findings import Finding, Severity, failed, fault, note, ok
from gateway.check.machine import Machine, Port
from gateway.check.rights import By, Denial
from gateway.check.server import Reached, Server
from gateway.cli.check import as_json, as_lines
from gateway.http import descriptors
from gateway.settings import Settings
from gateway.survey.demand import demand_of

OK, NOTE, WARNING, FAULT = Severity
MIB = 1_048_576
DEMAND = Demand(workers=2, max_streams=20_000, connections_per_worker=100)

FIT = Server(
    "redis://h:1/0",
    product="Valkey",
    version=(9, 1, 0),
    policy="noeviction",
    max_memory_bytes=100 * MIB,
    used_memory_bytes=10 * MIB,
    append_only=True,
    snapshots=True,
    round_trips_seconds=(0.0001, 0.0002, 0.001),
    clock_ahead_seconds=0.01,
    clients=3,
    max_clients=10_000,
    output_limit_bytes=32 * MIB,
    idle_timeout_seconds=0,
)
"""Nothing is wrong with it."""


def only(findings: list[Finding], subject: str) -> Finding:
    [found] = [finding for finding in findings if finding.subject == subject]
    return found


def test_nothing_is_wrong_with_a_redis_that_is_fit() -> None:
    findings = server.judge(FIT, DEMAND)
    assert {finding.severity for finding in findings} == {OK}
    assert "redis://h:1/0 is Valkey 9.1.0" in [finding.text for finding in findings]


SERVERS: list[tuple[dict[str, Any], str, Severity, str]] = [
    ({"version": (6, 2, 14)}, "redis", FAULT, "Valkey 6.2.14 -> Redis 7 or newer"),
    ({"version": (7, 0)}, "redis", OK, ""),
    ({"version": None}, "redis", NOTE, "does not tell its version"),
    ({"cluster": True}, "redis role", FAULT, "Cluster is not supported"),
    ({"replica": True}, "redis role", FAULT, "name the primary"),
    ({"policy": "allkeys-lru"}, "redis eviction", FAULT, "-> maxmemory-policy noeviction"),
    ({"policy": "volatile-ttl", "max_memory_bytes": 0}, "redis eviction", WARNING, "as soon as there is"),
    ({"policy": None}, "redis eviction", NOTE, "not told"),
    ({"used_memory_bytes": 79 * MIB}, "redis memory", OK, "79.0 MiB of 100.0 MiB used (79%)"),
    ({"used_memory_bytes": 80 * MIB}, "redis memory", WARNING, "-> raise maxmemory"),
    ({"used_memory_bytes": 99 * MIB}, "redis memory", FAULT, "events are refused -> raise maxmemory"),
    ({"max_memory_bytes": 0}, "redis memory", WARNING, "no maxmemory"),
    ({"max_memory_bytes": None}, "redis memory", NOTE, "not told"),
    ({"append_only": False}, "redis persistence", NOTE, "snapshots only"),
    ({"append_only": False, "snapshots": False}, "redis persistence", NOTE, "a restart loses all"),
    ({"append_only": False, "snapshots": None}, "redis persistence", NOTE, "snapshots are not told"),
    ({"append_only": None}, "redis persistence", NOTE, "not told"),
    ({"failing": "the last snapshot"}, "redis persistence", FAULT, "the last snapshot failed"),
    ({"round_trips_seconds": ()}, "redis latency", NOTE, "not measured"),
    ({"round_trips_seconds": (0.003,)}, "redis latency", NOTE, "median 3.00 ms, at most 3.00 ms"),
    ({"round_trips_seconds": (0.03,)}, "redis latency", WARNING, "near Redis"),
    ({"round_trips_seconds": (0.001, 0.001, 2.6)}, "redis latency", WARNING, "link_deadline_seconds"),
    ({"clock_ahead_seconds": -1.5}, "clock", WARNING, "differ by 1.500 s -> run NTP"),
    ({"clock_ahead_seconds": None}, "clock", NOTE, "not compared"),
    ({"max_clients": 203}, "redis clients", OK, "3 of 203 connected; this node needs 200"),
    ({"max_clients": 202}, "redis clients", WARNING, "raise maxclients"),
    ({"max_clients": 4}, "redis clients", FAULT, "raise maxclients"),
    ({"max_clients": None}, "redis clients", NOTE, "not told"),
    ({"output_limit_bytes": 0}, "redis output buffer", WARNING, "all of Redis' memory"),
    ({"output_limit_bytes": MIB}, "redis output buffer", WARNING, "1.0 MiB for pub/sub: a burst"),
    ({"output_limit_bytes": None}, "redis output buffer", NOTE, "not told"),
    ({"idle_timeout_seconds": 5}, "redis timeout", WARNING, "after 5 s"),
    ({"idle_timeout_seconds": 300}, "redis timeout", NOTE, "after 300 s"),
    ({"idle_timeout_seconds": None}, "redis timeout", NOTE, "not told"),
]


@pytest.mark.parametrize(("facts", "subject", "severity", "told"), SERVERS)
def test_what_is_said_of_redis(facts: dict[str, Any], subject: str, severity: Severity, told: str) -> None:
    findings = server.judge(replace(FIT, **facts), DEMAND)
    found = only(findings, subject)
    assert found.severity is severity, found
    assert told in f"{found.text} -> {found.advice}"
    assert all(finding.severity in (OK, severity) for finding in findings), "and nothing else"
    assert found.advice or severity in (OK, NOTE)


@pytest.mark.parametrize("reached", [reached for reached in Reached if reached is not Reached.YES])
def test_a_redis_that_can_not_be_used_is_one_fault(reached: Reached) -> None:
    [found] = server.judge(Server("redis://h:1/0", reached, detail="some words"), DEMAND)
    assert found.severity is FAULT
    assert found.text.startswith("redis://h:1/0 ")
    assert found.text.endswith(": some words")
    assert found.advice


# Rights.

ALL = rights.rights("p")


def right(command: str, pattern: str = "") -> rights.Right:
    return next(item for item in ALL if item.command == command and item.pattern.endswith(pattern))


COMMAND, KEY = Denial.COMMAND, Denial.KEY
PUBLISHING = "so it can't publish: neither POST /publish nor a publisher that uses it"
RIGHTS: list[tuple[list[tuple[rights.Right, Denial]], bool, list[tuple[Severity, str, str]]]] = [
    ([], True, [(OK, "may run every command that gateway and publisher need", "")]),
    (
        [(right("mget"), COMMAND), (right("xadd"), COMMAND), (right("script|load"), COMMAND)],
        True,
        [(FAULT, "may not run MGET, XADD, SCRIPT LOAD", "ACL SETUSER u '+mget' '+xadd' '+script|load'")],
    ),
    (
        [(right("mget"), COMMAND), (right("xadd"), COMMAND)],
        False,
        [
            (FAULT, "may not run MGET", "ACL SETUSER u '+mget'"),
            (NOTE, f"may not run XADD, {PUBLISHING}", "nothing, if it shall not; else ACL SETUSER u '+xadd'"),
        ],
    ),
    (
        [(right("client|info"), COMMAND)],
        False,
        [(WARNING, "may not run CLIENT INFO", "ACL SETUSER u '+client|info'")],
    ),
    (
        [(right("xrange"), KEY), (right("xrevrange"), KEY), (right("publish", ":probe:*"), Denial.CHANNEL)],
        False,
        [
            (
                FAULT,
                "may not run XRANGE on {p:0}:stream:*, XREVRANGE on {p:0}:stream:*, PUBLISH on {p:0}:probe:*",
                "ACL SETUSER u '~{p:0}:stream:*' '&{p:0}:probe:*'",
            )
        ],
    ),
]


@pytest.mark.parametrize(("denied", "publishes", "expected"), RIGHTS)
def test_what_is_said_of_rights(
    denied: list[tuple[rights.Right, Denial]], publishes: bool, expected: list[tuple[Severity, str, str]]
) -> None:
    assert rights.judge("u", denied, publishes=publishes) == [
        Finding("redis rights", severity, f"the user u {text}", advice) for severity, text, advice in expected
    ]


def test_every_command_of_the_script_is_tried() -> None:
    script = resources.files("publisher").joinpath("fanlight.lua").read_text()
    used = {name.lower() for name in re.findall(r"p?call\('([A-Z]+)'", script)}
    assert used >= {"xadd", "publish", "hset"}
    assert used <= {item.command for item in ALL if item.by is not By.GATEWAY}


def test_examples_are_of_no_channel_that_anybody_can_have() -> None:
    for item in ALL:
        for word in item.example:
            if ":stream:" in word or ":tail:" in word or ":live:" in word or ":once:" in word:
                assert ":fanlight.check" in word or item.command in ("xlen", "xtrim")


# Keys and certificates.

DAY = 86_400
ACCESSES: list[tuple[Access, list[tuple[str, Severity, str]]]] = [
    (Access(keys=1), [("keys", OK, "1 key of jwt_secret and jwt_keys_file")]),
    (Access(), [("keys", WARNING, "nobody may subscribe")]),
    (Access(anonymous=True), [("keys", NOTE, "anonymous_subscribe")]),
    (Access(failure="jwt_keys_file: cannot read"), [("keys", FAULT, "jwt_keys_file: cannot read")]),
    (Access(issuer=Issuer("https://x/", 2)), [("jwks_url", OK, "2 keys from https://x/")]),
    (
        Access(keys=2, issuer=Issuer("https://x/", failure="status 404")),
        [("keys", OK, "2 keys"), ("jwks_url", FAULT, "no keys from https://x/: status 404")],
    ),
] + [
    (Access(keys=1, certificates=(file,)), [("keys", OK, ""), ("jwks_ca_file", severity, told)])
    for file, severity, told in [
        (CertificateFile("jwks_ca_file", "f", (31 * DAY,)), OK, "1 certificate, the next ends in 31 days"),
        (CertificateFile("jwks_ca_file", "f", (29 * DAY,)), WARNING, "the next ends in 29 days"),
        (CertificateFile("jwks_ca_file", "f", (-1, -2)), FAULT, "every certificate has ended"),
        (CertificateFile("jwks_ca_file", "f", (-1, 90 * DAY)), NOTE, "1 ended"),
        (CertificateFile("jwks_ca_file", "f", failure="No such file"), FAULT, "f: No such file"),
    ]
]


@pytest.mark.parametrize(("facts", "expected"), ACCESSES)
def test_what_is_said_of_keys(facts: Access, expected: list[tuple[str, Severity, str]]) -> None:
    findings = access.judge(facts, now=0)
    assert [(finding.subject, finding.severity) for finding in findings] == [item[:2] for item in expected]
    for finding, (_, _, told) in zip(findings, expected, strict=True):
        assert told in finding.text


# The machine.

ROOMY = Machine(
    descriptors=100_000,
    accept_queue=4096,
    syn_queue=2048,
    local_ports=(1024, 65_535),
    tracked=0,
    most_tracked=262_144,
    tcp_memory_bytes=10_000 * MIB,
    most_send_buffer_bytes=212_992,
)
MACHINES: list[tuple[dict[str, Any], str, Severity, str]] = [
    ({"descriptors": None}, "descriptors", OK, "no limit"),
    ({"descriptors": 12_728}, "descriptors", OK, "12,728 are needed (20,000 streams, workers: 2)"),
    ({"descriptors": 12_727}, "descriptors", WARNING, "ulimit -n 12728"),
    ({"descriptors": 1024, "most_descriptors": 4096}, "descriptors", WARNING, "LimitNOFILE=12728"),
    ({"accept_queue": 128}, "somaxconn", WARNING, "sysctl -w net.core.somaxconn=4096"),
    ({"syn_queue": 128}, "tcp_max_syn_backlog", WARNING, "sysctl -w net.ipv4.tcp_max_syn_backlog=1024"),
    ({"local_ports": (50_000, 60_000)}, "ip_local_port_range", NOTE, "10,001 (50000 to 60000)"),
    ({"tracked": 250_000}, "nf_conntrack_max", WARNING, "nf_conntrack_max=290000"),
    ({"tcp_memory_bytes": 1000 * MIB}, "tcp_mem", NOTE, "lower send_buffer_bytes"),
    ({"tcp_memory_bytes": 50 * MIB}, "tcp_mem", WARNING, "raise net.ipv4.tcp_mem"),
    ({"most_send_buffer_bytes": 65_536}, "wmem_max", WARNING, "net.core.wmem_max=131072"),
    ({"ports": (Port("port", "h:1"),)}, "port", OK, "h:1 can be listened on"),
    ({"ports": (Port("port", "h:1", "taken"),)}, "port", FAULT, "taken -> stop what listens there"),
    ({"ports": (Port("port", "h:1", "no", forbidden=True),)}, "port", FAULT, "CAP_NET_BIND_SERVICE"),
    ({"ports": (Port("port", "h:1", "taken", by_fanlight=True),)}, "port", NOTE, "a running node's"),
]


@pytest.mark.parametrize(("facts", "subject", "severity", "told"), MACHINES)
def test_what_is_said_of_the_machine(
    facts: dict[str, Any], subject: str, severity: Severity, told: str
) -> None:
    findings = machine.judge(replace(ROOMY, **facts), DEMAND)
    found = only(findings, subject)
    assert found.severity is severity, found
    assert told in f"{found.text} -> {found.advice}"
    assert all(finding.severity in (OK, severity) for finding in findings), "and nothing else"


def test_a_machine_that_tells_nothing_is_no_fault() -> None:
    assert [finding.severity for finding in machine.judge(Machine(), DEMAND)] == [OK]


# What is shown.


@pytest.mark.parametrize(
    ("worst", "plain", "strict"),
    [(OK, False, False), (NOTE, False, False), (WARNING, False, True), (FAULT, True, True)],
)
def test_the_exit_status(worst: Severity, plain: bool, strict: bool) -> None:
    findings = [ok("a", "b"), Finding("a", worst, "b")]
    assert (failed(findings), failed(findings, strict=True)) == (plain, strict)


SHOWN = [
    ok("redis", "is there"),
    note("clock", "not \x1b[2Jcompared"),
    fault("port", "taken", "take another"),
]


def test_a_finding_is_a_line() -> None:
    assert as_lines(SHOWN).splitlines() == [
        "ok       redis is there",
        "note     clock not \\x1b[2Jcompared",
        "fault    port  taken -> take another",
        "1 ok, 1 note, 0 warning, 1 fault",
    ]
    assert "\x1b[1;31mfault   \x1b[0m port" in as_lines(SHOWN, colours=True)


def test_a_long_line_is_folded_on_a_terminal() -> None:
    lines = as_lines([ok("redis", "word " * 30)], width=60).splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith(" " * 15 + "word")


def test_json_holds_the_same() -> None:
    shown = json.loads(as_json(SHOWN))
    assert shown["counts"] == {"ok": 1, "note": 1, "warning": 0, "fault": 1}
    assert shown["findings"][2] == {
        "subject": "port",
        "severity": "fault",
        "text": "taken",
        "advice": "take another",
    }


def test_what_is_asked_for_is_enough_at_the_start() -> None:
    """Where the check says so, no node starts with `few_file_descriptors`."""
    settings = Settings.model_validate({})
    wanted = settings.max_streams + settings.max_connections + settings.max_replays + descriptors.KEPT
    assert demand_of(settings).descriptors >= wanted
