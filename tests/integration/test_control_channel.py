"""The control channel as publishers write it: the script's `revoke`, the two libraries, the command."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli import main
from publisher import (
    AsyncPublisher,
    InvalidChannel,
    InvalidRevocation,
    Publisher,
    RevocationsFull,
    Revoked,
)
from publisher.channels import Partition
from publisher.commands import SCRIPT
from publisher.control import CONTROL
from publisher.ids import EventId
from publisher.payload import FIELD, Kind, Payload, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.support.redis_server import RedisServer

    Revoke = Callable[..., Revoked]


@pytest.fixture
def keys(prefix: str) -> Partition:
    return Partition(prefix)


@pytest.fixture(params=["sync", "async"])
def revoke(request: pytest.FixtureRequest, redis_server: RedisServer, prefix: str) -> Revoke:
    def sync(most: int = 1000, **options: Any) -> Revoked:
        with Publisher(redis_server.url, prefix=prefix, max_revocations=most) as publisher:
            return publisher.revoke(**options)

    def awaited(most: int = 1000, **options: Any) -> Revoked:
        async def run() -> Revoked:
            async with AsyncPublisher(redis_server.url, prefix=prefix, max_revocations=most) as publisher:
                return await publisher.revoke(**options)

        return asyncio.run(run())

    return sync if request.param == "sync" else awaited


def held(client: redis.Redis, keys: Partition) -> list[Payload]:
    entries: Any = client.xrange(keys.stream(CONTROL))
    return [decode(fields[FIELD]) for _, fields in entries]


@pytest.mark.parametrize("target", [{"subject": "42"}, {"token_id": "t"}, {"channel": "a"}], ids=str)
def test_what_is_written(
    revoke: Revoke, client: redis.Redis, keys: Partition, target: dict[str, str]
) -> None:
    revoked = revoke(**target)
    [payload] = held(client, keys)
    assert (payload.kind, payload.type, str(payload.id)) == (Kind.EVENT, b"revoke", revoked.id)
    assert json.loads(payload.data) == {**target, "seconds": 43_500}
    assert revoked.until == math.ceil(payload.id.position.ms / 1000 + 43_500)
    assert abs(payload.id.position.ms / 1000 - time.time()) < 600
    assert 46_000_000 < client.pttl(keys.stream(CONTROL)) <= 46_800_000
    again = revoke(**target, seconds=60)
    assert again.until < revoked.until
    first, second = held(client, keys)
    assert second.prev == first.id.position, "it is a chain like any other"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"subject": "a", "channel": "b"},
        {"subject": ""},
        {"token_id": "x" * 257},
        {"subject": 42},
        {"subject": "\ud800"},
        {"subject": "a", "seconds": 0},
        {"subject": "a", "seconds": 43_501},
        {"subject": "a", "seconds": math.nan},
        {"subject": "a", "seconds": "60"},
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    revoke: Revoke, client: redis.Redis, keys: Partition, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRevocation):
        revoke(**wrong)
    assert held(client, keys) == []


def test_a_wrong_channel_is_refused(revoke: Revoke) -> None:
    for name in ("a b", CONTROL):
        with pytest.raises(InvalidChannel):
            revoke(channel=name)


def test_at_the_bound_it_is_refused_and_nothing_is_dropped(
    revoke: Revoke, client: redis.Redis, keys: Partition
) -> None:
    for number in range(3):
        revoke(3, subject=f"s{number}")
    with pytest.raises(RevocationsFull, match="max_revocations"):
        revoke(3, subject="one more")
    assert [json.loads(payload.data)["subject"] for payload in held(client, keys)] == ["s0", "s1", "s2"]
    assert revoke(4, subject="one more").id


def test_what_has_run_out_makes_room(client: redis.Redis, keys: Partition) -> None:
    """By age, and by nothing else."""
    names = keys.meta, keys.tail(CONTROL), keys.stream(CONTROL)
    old = int(time.time() * 1000) - 46_900_000
    client.xadd(keys.stream(CONTROL), {"m": "x"}, id=f"{old}-0")
    client.xadd(keys.stream(CONTROL), {"m": "x"}, id=f"{old + 200_000}-0")
    arguments = ["revoke", keys.live(CONTROL), "revoke", "{}", "2", "46800000"]
    client.eval(SCRIPT.decode(), 3, *names, *arguments)
    entries: Any = client.xrange(keys.stream(CONTROL))
    (first, _), _ = entries
    assert first.decode() == f"{old + 200_000}-0"


def test_nobody_can_close_it(revoke: Revoke, client: redis.Redis, keys: Partition) -> None:
    """The libraries refuse its name; and one that runs the script stops no revocation."""
    with Publisher(client, prefix=keys.prefix) as publisher, pytest.raises(InvalidChannel):
        publisher.close(CONTROL)
    names = keys.meta, keys.tail(CONTROL), keys.stream(CONTROL)
    client.eval(SCRIPT.decode(), 3, *names, "end", keys.live(CONTROL), "fanlight.end", "{}", "9", "60000")
    revoked = revoke(subject="42")
    assert client.get(keys.tail(CONTROL)) == revoked.id.encode()


# The command.


@pytest.fixture
def to(redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in ("FANLIGHT_CONFIG", "FANLIGHT_REDIS_URL", "FANLIGHT_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return [f"--redis-url={redis_server.url}", f"--prefix={prefix}"]


@pytest.mark.parametrize("by", ["subject", "token_id", "channel"])
def test_the_command(
    to: list[str], capsys: pytest.CaptureFixture[str], client: redis.Redis, keys: Partition, by: str
) -> None:
    assert main(["disconnect", f"--{by.replace('_', '-')}", "42", *to]) == 0
    out, err = capsys.readouterr()
    [payload] = held(client, keys)
    assert EventId.parse(out.strip()) == payload.id
    assert json.loads(payload.data) == {by: "42", "seconds": 43_500}
    assert err.startswith("counts until 20")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "one of the arguments"),
        (["--subject", "a", "--channel", "b"], "not allowed with"),
        (["--subject", ""], "subject is a string of 1 to 256 characters"),
        (["--channel", "a b"], "bad channel name"),
    ],
    ids=str,
)
def test_a_wrong_command(
    to: list[str], capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    try:
        status = main(["disconnect", *words, *to])
    except SystemExit as ended:
        status = ended.code  # type: ignore[assignment]
    assert status == 2
    assert told in capsys.readouterr().err
