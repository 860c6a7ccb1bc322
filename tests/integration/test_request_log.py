"""The line of each ended stream, and the id that ties it to its request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.http import events_path, request
from tests.support.sse import SseConnection
from tests.support.streams import events_url
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from publisher import Publisher
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess

HEADER = "x-request-id"


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    """Behind a proxy that it trusts: this machine. It looks after its streams often."""
    return share_gateway(trusted_proxies="127.0.0.0/8", log_streams_per_second=20, heartbeat_seconds=1)


def lines(gateway: GatewayProcess, event: str) -> list[dict[str, Any]]:
    return [record for record in gateway.log_records if record["event"] == event]


async def test_an_ended_stream_has_one_line_with_all_that_is_known_of_it(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    other = f"{channel}.other"
    publisher.publish(channel, "before")
    url = events_url(gateway, channel, other, last=1)
    connection = await connect(url, live=False, headers={"X-Request-Id": "from-the-proxy:1"})
    await connection.until(lambda: len(connection.events) == 2)
    for number in range(3):
        publisher.publish(channel, number)
    publisher.publish(other, "x")
    publisher.close(other)
    publisher.close(channel)
    await connection.until_end()
    assert connection.headers[HEADER] == "from-the-proxy:1"
    await aeventually(lambda: [line for line in lines(gateway, "stream_ended") if line["request_id"]])
    mine = [line for line in lines(gateway, "stream_ended") if line["request_id"] == "from-the-proxy:1"]
    assert len(mine) == 1
    [line] = mine
    assert 0 < line.pop("seconds") < 60
    assert len(connection.body) - 100 < line.pop("bytes") < len(connection.wire)
    expected = {"reason": "channels_ended", "channels": 2, "resumed": False, "events": 7, "replays": 1}
    assert {name: line[name] for name in expected} == expected
    assert (line["gaps"], line["level"], line["logger"]) == (0, "info", "streams")
    assert channel not in json.dumps(line)


@pytest.mark.parametrize("path", [events_path("no%20spaces"), "/nothing", events_path(), "/publish"], ids=str)
def test_every_answer_has_an_id_and_a_problem_document_says_it(gateway: GatewayProcess, path: str) -> None:
    made = request(gateway, "GET", path)
    assert made.status >= 400
    assert made.body["request_id"] == made.headers[HEADER]
    assert len(made.headers[HEADER]) == 16
    assert request(gateway, "GET", path).headers[HEADER] != made.headers[HEADER]
    given = request(gateway, "GET", path, headers={"X-Request-Id": "abc-1"})
    assert given.body["request_id"] == given.headers[HEADER] == "abc-1"
    refused = request(gateway, "GET", path, headers={"X-Request-Id": "a <b>"})
    assert "<b>" not in refused.headers[HEADER]


def test_who_is_not_trusted_names_nothing(share_gateway: StartGateway) -> None:
    gateway = share_gateway()
    answer = request(gateway, "GET", "/nothing", headers={"X-Request-Id": "abc-1"})
    assert answer.headers[HEADER] != "abc-1"


async def test_of_many_that_end_together_some_are_logged_and_the_rest_is_counted(
    start_gateway: StartGateway, channel: str
) -> None:
    # One of its own: whatever else ends in the same second has its part of the lines.
    gateway = start_gateway(log_streams_per_second=20, heartbeat_seconds=1)
    ended, told = lines(gateway, "stream_ended"), lines(gateway, "stream_lines_left_out")
    count = 100
    opened = [await SseConnection.open(events_url(gateway, channel)) for _ in range(count)]
    for connection in opened:
        connection.abort()

    def left_out() -> int:
        return sum(line["count"] for line in lines(gateway, "stream_lines_left_out")[len(told) :])

    def logged() -> int:
        return len(lines(gateway, "stream_ended")) - len(ended)

    await aeventually(lambda: logged() + left_out() == count)
    assert left_out() > 0
    assert logged() >= 20
    reasons = [line["reasons"] for line in lines(gateway, "stream_lines_left_out")[len(told) :]]
    assert {reason for found in reasons for reason in found} == {"client_left"}
