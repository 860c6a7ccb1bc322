"""What somebody else wrote into Redis harms its own channel at most, and never in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publisher import Publisher
from publisher.channels import Channel, Partition
from publisher.ids import EventId, Position
from tests.support.streams import assert_clean, events_url, gaps, metrics
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer

QUICK = {"position_read_seconds": 0.05, "reconnect_max_seconds": 0.1}


async def test_a_tail_that_is_not_ours_costs_nobody_the_link(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, connect: Connect
) -> None:
    node = start_gateway(**QUICK)
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        first, second = (publisher.publish("poisoned", n).id for n in range(2))
        redis_server.client().set(Partition(prefix).tail(Channel("poisoned")), "garbage")
        resumed = await connect(events_url(node, "poisoned", "fine"), live=False, last_event_id=first)
        await resumed.until(lambda: any(event.type == "fanlight.open" for event in resumed.events))
        # What the log still has is delivered; whether it was all of it, nobody can tell.
        assert [event.id for event in resumed.events if event.type == "message"] == [second]
        assert [(gap["channel"], gap["reason"]) for gap in gaps(resumed.events)] == [("poisoned", "unknown")]
        third = publisher.publish("poisoned", 3).id
        await resumed.until(lambda: resumed.events[-1].id == third)
        assert_clean(resumed)
    assert metrics(node)["fanlight_redis_generations_total"] == 1


async def test_an_id_from_the_future_makes_the_others_late_for_a_moment_only(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, connect: Connect
) -> None:
    node = start_gateway(**QUICK)
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        stream = await connect(events_url(node, "poisoned", "fine"))
        last = publisher.publish("fine", 1)
        epoch = EventId.parse(last.id).epoch
        future = EventId(Position(2**60, 0), epoch)
        live = Partition(prefix).live(Channel("poisoned"))
        redis_server.client().publish(live, f"1 {future} 0-0 0 event\n\nfuture")
        await aeventually(lambda: metrics(node)["fanlight_redis_generations_total"] == 2)
        await stream.until(lambda: len(gaps(stream.events)) == 1)
        after = publisher.publish("fine", 2).id
        await stream.until(lambda: stream.events[-1].id == after)
        assert [gap["reason"] for gap in gaps(stream.events)] == ["future"]


async def test_a_message_after_one_that_redis_has_no_number_for_is_none_of_ours(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, connect: Connect
) -> None:
    """To look for that one in the log would be refused, and tried again for ever."""
    node = start_gateway(**QUICK)
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        stream = await connect(events_url(node, "poisoned"))
        last = EventId.parse(publisher.publish("poisoned", 1).id)
        after = EventId(Position(last.position.ms + 1, 0), last.epoch)
        missed = Position(last.position.ms, 10**20 - 1)
        live = Partition(prefix).live(Channel("poisoned"))
        redis_server.client().publish(live, f"1 {after} {missed} 0 event\n\nx")
        ids = [publisher.publish("poisoned", n).id for n in range(2)]
        await stream.until(lambda: stream.events[-1].id == ids[-1])
        assert [event.data for event in stream.events if event.type == "message"] == ["1", "0", "1"]
        assert_clean(stream)
