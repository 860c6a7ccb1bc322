"""Which ended streams have a line, and what is said of the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from gateway.http.request_ids import RequestIds
from gateway.http.stream_log import WRONG, StreamLog
from gateway.hub.subscription import Subscription
from gateway.protocol.closing import CloseReason
from gateway.protocol.request_id import is_well_formed
from gateway.protocol.sampling import Sampler
from publisher.channels import Channel

if TYPE_CHECKING:
    from gateway.http.stream import EventStream


def test_so_many_of_each_second() -> None:
    sampler = Sampler(2)
    times = [10.0, 10.1, 10.2, 10.9, 11.0, 11.5, 11.7, 20.0]
    assert [sampler.take(now) for now in times] == [True, True, False, False, True, True, False, True]
    assert not Sampler(0).take(1.0)


def end(log: StreamLog, reason: CloseReason) -> None:
    subscription = Subscription(cast("Any", None), [Channel("a"), Channel("b")])
    stream = SimpleNamespace(subscription=subscription, request_id="r1")
    log.ended(cast("EventStream", stream), reason, 1.23456)


def test_what_is_left_out_is_counted_and_told() -> None:
    now = 100.0
    with structlog.testing.capture_logs() as lines:
        log = StreamLog(2, clock=lambda: now)
        log.tell_left_out()
        for reason in [CloseReason.DRAINED] * 4 + [CloseReason.MAX_AGE]:
            end(log, reason)
        assert log.left_out_total == 3
        log.tell_left_out()
        log.tell_left_out()
        now = 101.0
        end(log, CloseReason.CLIENT_LEFT)
        log.tell_left_out()
    assert [line["event"] for line in lines] == ["stream_ended"] * 2 + [
        "stream_lines_left_out",
        "stream_ended",
    ]
    assert lines[0] == {
        "event": "stream_ended",
        "log_level": "info",
        "request_id": "r1",
        "reason": "drained",
        "seconds": 1.235,
        "channels": 2,
        "resumed": False,
        "events": 0,
        "bytes": 0,
        "replays": 0,
        "gaps": 0,
    }
    assert (lines[2]["count"], lines[2]["reasons"]) == (3, {"drained": 2, "max_age": 1})


@pytest.mark.parametrize("reason", sorted(WRONG, key=str))
def test_what_a_client_did_wrong_is_never_left_out(reason: CloseReason) -> None:
    with structlog.testing.capture_logs() as lines:
        log = StreamLog(0)
        end(log, reason)
    assert [(line["reason"], line["log_level"]) for line in lines] == [(reason.value, "warning")]
    assert log.left_out_total == 0


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        ("7f3c9a", True),
        ("0b9f6c1e-6f0e-4b7e-9d0a-2f6f3f1f4a10", True),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("two words", False),
        ('quote"', False),
        ("line\nbreak", False),
        ("-leading", False),
        ("café", False),
    ],
)
def test_well_formed_ids(text: str, well_formed: bool) -> None:
    assert is_well_formed(text) is well_formed


@pytest.mark.parametrize(
    ("peer", "fields", "taken"),
    [
        ("10.1.2.3", ["abc"], True),
        ("::1", ["abc"], True),
        ("::ffff:10.1.2.3", ["abc"], True),
        ("11.1.2.3", ["abc"], False),
        (None, ["abc"], False),
        ("10.1.2.3", ["not well formed"], False),
        ("10.1.2.3", ["abc", "abc"], False),
        ("10.1.2.3", [], False),
    ],
)
def test_a_trusted_proxy_may_name_a_request(peer: str | None, fields: list[str], taken: bool) -> None:
    ids = RequestIds(["10.0.0.0/8", "::1"])
    found = ids.of(peer, fields)
    assert (found == "abc") is taken
    assert is_well_formed(found)
    assert ids.of(peer, []) != ids.of(peer, [])
