"""The benchmark's pure parts: who follows what, what a target means, and what is printed."""

from __future__ import annotations

import json

import pytest

from bench.http_publish import request_of
from bench.load import Audience
from bench.plot import cost_chart
from bench.report import figure, markdown
from bench.rows import ROWS
from bench.verdict import Target, spread


def test_an_audience_follows_channels_that_differ_in_sets_that_differ() -> None:
    audience = Audience(2_000, channels=199, width=20)
    sets = [frozenset(audience.followed_by(stream)) for stream in range(audience.streams)]
    assert {len(channels) for channels in sets} == {20}
    assert len(set(sets)) > 0.95 * audience.streams


@pytest.mark.parametrize("audience", [Audience(10), Audience(10, channels=3), Audience(50, 7, 3)])
@pytest.mark.parametrize(("first", "events"), [(0, 1), (5, 23), (2, 0)])
def test_due_is_what_the_followers_of_each_event_get(audience: Audience, first: int, events: int) -> None:
    expected = sum(
        (first + number) % audience.channels in audience.followed_by(stream)
        for number in range(events)
        for stream in range(audience.streams)
    )
    assert audience.deliveries(first, events) == expected


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("cpu_us", 6), 5.0, True),
        (Target("cpu_us", 4), 5.0, False),
        (Target("cpu_us", 6, exact=True), 7.0, False),
        (Target("rate", 100, at_least=True), 100.0, True),
        (Target("rate", 95, at_least=True, exact=True), 90.0, False),
        (Target("cpu_us", 1.4, of="bare"), 1.25, True),
        (Target("cpu_us", 1.2, of="bare"), 1.25, False),
        (Target("cpu_us", 1, of="absent"), None, None),
        (Target("never measured", 1), None, None),
    ],
)
def test_targets(target: Target, value: float | None, met: bool | None) -> None:
    runs = {
        "fanlight": [{"cpu_us": 5.0, "rate": 100}, {"cpu_us": 7.0, "rate": 110}, {"cpu_us": 4.0, "rate": 90}],
        "bare": [{"cpu_us": 4.0}, {"cpu_us": 4.0}, {"cpu_us": 4.0}],
    }
    judged = target.judge(runs)
    assert (judged.value, judged.met) == (value, met)


def test_a_run_without_the_number_is_no_zero() -> None:
    assert spread([{}, {"p99_ms": 3.0}], "p99_ms") == spread([{"p99_ms": 3.0}], "p99_ms")
    assert spread([{}], "p99_ms") is None


def test_rows_have_keys_of_their_own_and_targets_of_subjects_that_run() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        for target in row.targets:
            assert target.label in row.runs
            assert target.of in ("", *row.runs)
            assert target.of not in row.extra


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.4449, "0.445"), (1234567.8, "1,234,568"), (5, "5")])
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


RESULTS = {
    "date": "2026-01-01T00:00:00+00:00",
    "revision": "abc",
    "machine": {"cpu": "one"},
    "versions": {"python": "3.11"},
    "effort": {"repeats": 2, "seconds": 1.0, "warm_up_seconds": 0.5},
    "rows": [
        {
            "key": "broadcast",
            "title": "Broadcast <all>",
            "runs": {"fanlight": [{"cpu_us": 4.0, "lost": 0}, {"cpu_us": 6.0, "lost": 0}]},
            "notes": {"fanlight": ["the load client was the limit"]},
            "failures": {"nchan": "it is not installed"},
            "targets": [
                {
                    "target": "cpu_us at most 6",
                    "value": 5.0,
                    "met": True,
                    "verdict": "met",
                    "label": "fanlight",
                }
            ],
        }
    ],
}


def test_the_report_says_what_was_measured_what_was_not_and_why() -> None:
    text = markdown(RESULTS)
    assert "- fanlight: 5 µs of CPU a delivery (4 to 6)\n" in text
    assert "nchan could not be run: it is not installed" in text
    assert "Note on fanlight: the load client was the limit" in text
    assert "**met**, µs of CPU a delivery, at most 6: 5" in text


def test_the_picture_has_a_bar_and_no_raw_markup() -> None:
    picture = cost_chart(RESULTS)
    assert picture.count("<rect") == 1
    assert "Broadcast &lt;all&gt;" in picture


def test_a_request_says_its_length() -> None:
    head, _, body = request_of("token", 3, 200).partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert [len(json.loads(line)["data"]) for line in body.split(b"\n")] == [200, 200, 200]
