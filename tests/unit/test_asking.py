"""What a request to the inspector, and one for presence, may ask for."""

from __future__ import annotations

import pytest

from gateway.protocol.asking import InspectRequest, presence_channels
from gateway.protocol.request import BadRequest
from publisher.channels import Channel


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ([], InspectRequest()),
        ([("prefix", ""), ("limit", "1")], InspectRequest(most=1)),
        ([("prefix", "orders."), ("limit", "100")], InspectRequest(None, "orders.", 100)),
        ([("prefix", "-"), ("other", "x")], InspectRequest(None, "-", 20)),
        ([("channel", "a")], InspectRequest(Channel("a"))),
        ([("channel", "a"), ("prefix", "b")], InspectRequest(Channel("a"))),
    ],
)
def test_what_is_asked_of_the_inspector(query: list[tuple[str, str]], asked: InspectRequest) -> None:
    assert InspectRequest.parse(query) == asked


@pytest.mark.parametrize(
    "query",
    [
        [("channel", "a"), ("channel", "b")],
        [("channel", "")],
        [("prefix", "b"), ("prefix", "b")],
        [("channel", "no spaces")],
        [("channel", "fanlight.control")],
        [("prefix", "<script>")],
        [("prefix", "p" * 129)],
        [("prefix", "\udcff")],
        *([("limit", limit)] for limit in ("", "0", "101", "-1", "1e1", "٣", " 1", "9" * 5000)),
    ],
)
def test_what_the_inspector_refuses(query: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        InspectRequest.parse(query)


def test_presence_is_of_some_channels_each_once() -> None:
    assert presence_channels([("channel", "a"), ("x", "y"), ("channel", "b"), ("channel", "a")], most=3) == (
        "a",
        "b",
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([], "at least one"),
        ([("channel", name) for name in "abc"], "at most 2"),
        ([("channel", "no spaces")], "bad channel name"),
        ([("channel", "fanlight.control")], "reserved"),
    ],
)
def test_what_presence_refuses(query: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        presence_channels(query, most=2)
