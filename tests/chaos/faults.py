"""The faults, each a small function on a running world. It returns when the fault is over.

They run in a thread of their own: they may block, while publishers and subscribers go on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos.history import Allowance, Loss
from tests.chaos.proxy import Proxy
from tests.chaos.publishers import Habits, Journal
from tests.chaos.world import PREFIX, Run
from tests.support.processes import reap, spawn
from tests.support.redis_server import RedisServer
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path(__file__).resolve().parents[2]

# What a fault excuses.

NOTHING = Allowance()
KEPT = Allowance(gaps=frozenset({"failover"}), loss=Loss.AT_BREAK, told=frozenset({"failover"}))
"""Redis was restarted and has kept some or all: nobody can say, so it is told."""
WIPED = Allowance(gaps=frozenset({"epoch"}), loss=Loss.AT_BREAK, told=frozenset({"epoch"}))


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and what may come of it."""

    name: str
    act: Callable[[Run], None]
    allow: Callable[[Run], Allowance]
    durable: bool = False
    """It needs a server that keeps everything (appendonly, fsync always)."""
    lengthy: bool = False
    """It takes too long to be drawn for a random schedule."""
    spoils: bool = False
    """The world is not the same afterwards."""
    pace: float = 1.0
    """Factor on the publishers' rates."""
    settings: tuple[tuple[str, Any], ...] = ()


TABLE: dict[str, Fault] = {}


def fault(
    allow: Allowance | Callable[[Run], Allowance] = NOTHING, **options: Any
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Enter a function into the table, under its name."""

    def enter(act: Callable[[Run], None]) -> Callable[[Run], None]:
        name = act.__name__.replace("_", " ")
        allowed = allow if callable(allow) else (lambda _: allow)
        TABLE[name] = Fault(name, act, allowed, **options)
        return act

    return enter


# The link.


def _kill_pubsub(run: Run) -> None:
    run.world.admin().execute_command("CLIENT", "KILL", "TYPE", "pubsub")


@fault()
def pubsub_connections_killed(run: Run) -> None:
    for _ in range(3):
        before = run.world.generations()
        _kill_pubsub(run)
        run.world.wait_anew(before)
        run.more_acked(2)


@fault()
def output_buffer_limit_hit(run: Run) -> None:
    """The server drops a subscriber that is behind by more than its limit: with 1 KB, at any event
    that does not fit into the 16 KB which every client has anyway."""
    admin = run.world.admin()
    before = run.world.generations()
    admin.config_set("client-output-buffer-limit", "pubsub 1kb 0 0")
    try:
        run.add_writer([run.extra], Habits(rate=5, size_bytes=32_768))
        run.world.wait_dropped(before, run.followed_on(run.extra))
        run.hold(0.5)
    finally:
        admin.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")


@fault()
def link_reset(run: Run) -> None:
    for _ in range(3):
        before = run.world.generations()
        for link in run.world.links:
            link.reset()
        run.world.wait_anew(before)


@fault()
def all_connections_cut(run: Run) -> None:
    """Publishers' too."""
    for _ in range(3):
        before = run.world.generations()
        for proxy in run.world.proxies:
            proxy.cut()
        run.world.wait_anew(before)
        run.more_acked(2)


@fault()
def redis_out_of_reach(run: Run) -> None:
    """Connections are cut and new ones refused, for publishers too."""
    for proxy in run.world.proxies:
        proxy.refuse()
        proxy.reset()
    try:
        run.world.wait_lost()
        run.hold(1)
    finally:
        for proxy in run.world.proxies:
            proxy.forward()


@contextmanager
def _links(run: Run, command: Callable[[Proxy], None]) -> Iterator[None]:
    for link in run.world.links:
        command(link)
    try:
        yield
    finally:
        for link in run.world.links:
            link.forward()


@fault()
def silence_from_redis(run: Run) -> None:
    """What the gateways send arrives; nothing comes back, and nothing says that the link is dead."""
    with _links(run, lambda link: link.silence(down=True)):
        run.world.wait_lost()


@fault()
def silence_to_redis(run: Run) -> None:
    """Events still come, and no command arrives."""
    with _links(run, lambda link: link.silence(up=True)):
        run.world.wait_lost()


@fault()
def silence_to_publishers(run: Run) -> None:
    """Events are published, and no publisher hears of it."""
    run.world.publishing.silence(down=True)
    try:
        run.hold(2)
    finally:
        run.world.publishing.forward()


@fault(pace=0.2)
def one_byte_at_a_time(run: Run) -> None:
    with _links(run, Proxy.one_byte_at_a_time):
        run.hold(0.5)
        for link in run.world.links:
            link.reset()  # replays byte by byte, too
        run.hold(1)


@fault()
def truncated_replies(run: Run) -> None:
    """The link is cut in the middle of whatever it is saying, at many places."""
    for after_bytes in (1, 17, 100, 701, 1999, 5003):
        before = run.world.generations()
        with _links(run, lambda link: link.truncate(after_bytes)):  # noqa: B023
            run.world.wait_lost()
        run.world.wait_anew([g - 1 for g in before])


@fault()
def delay(run: Run) -> None:
    with _links(run, lambda link: link.delay(100, jitter_ms=100)):
        run.hold(1)
        for link in run.world.links:
            link.cut()
        run.hold(1)


# The server.


@fault(KEPT, durable=True)
def redis_killed_with_appendonly(run: Run) -> None:
    run.world.server.restart(crash=True)


@fault(KEPT, durable=True)
def redis_restarted_with_appendonly(run: Run) -> None:
    run.world.server.restart()


@fault(WIPED)
def redis_killed_without_persistence(run: Run) -> None:
    run.world.server.restart(crash=True)


def _stop_redis(run: Run, seconds: float) -> None:
    """SIGSTOP: connections stay, the kernel answers, the server does not."""
    run.world.server.pause()
    try:
        run.world.wait_lost()
        run.hold(seconds)
    finally:
        run.world.server.resume()


@fault()
def redis_stopped(run: Run) -> None:
    """For longer than a publisher's deadline."""
    _stop_redis(run, 5)


@fault(lengthy=True)
def redis_stopped_for_30_s(run: Run) -> None:
    """For longer than any deadline of a publisher or a gateway."""
    _stop_redis(run, 30)


@fault(KEPT)
def restart_from_an_old_snapshot(run: Run) -> None:
    server, admin = run.world.server, run.world.admin()
    admin.config_set("dbfilename", "snapshot.rdb")
    admin.save()
    run.more_acked(5)
    server.options["dbfilename"] = "snapshot.rdb"
    server.restart(crash=True)
    del server.options["dbfilename"]


@fault(WIPED)
def flushall(run: Run) -> None:
    run.world.admin().flushall()


@fault(
    Allowance(
        gaps=frozenset({"epoch", "expired", "trimmed", "unknown", "rewritten"}),
        loss=Loss.ANY,
        refused=True,
        keys_lost=True,
    ),
    spoils=True,
)
def eviction_under_allkeys_lru(run: Run) -> None:
    admin = run.world.admin()
    quiet = run.add_writer([run.extra], Habits(rate=50))
    run.more_acked(20)
    quiet.stop()
    run.writers.remove(quiet)
    run.written_elsewhere += quiet.written
    used = int(admin.info("memory")["used_memory"])
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", used + 2_000_000)
    _kill_pubsub(run)  # a policy is read at the connect
    number = 0
    while admin.exists(run.stream_key(run.extra)):
        admin.set(f"junk:{number}", "x" * 20_000)
        number += 1
    run.more_acked(3)
    admin.config_set("maxmemory", 0)


@fault(Allowance(refused=True))
def out_of_memory_under_noeviction(run: Run) -> None:
    admin = run.world.admin()
    refused = sum(len(writer.written) for writer in run.writers)
    admin.config_set("maxmemory", 1)
    try:
        eventually(lambda: sum(len(w.written) for w in run.writers) > refused + 20)
        before = run.world.generations()
        _kill_pubsub(run)  # a link is made while nothing can be written
        run.world.wait_anew(before)
    finally:
        admin.config_set("maxmemory", 0)


@fault()
def maxclients_reached(run: Run) -> None:
    admin = run.world.admin()
    admin.ping()  # this connection is the one that stays
    most = admin.config_get("maxclients")["maxclients"]
    admin.config_set("maxclients", 1)
    try:
        for link in run.world.links:
            link.reset()
        run.world.wait_lost()
        run.hold(1)
    finally:
        admin.config_set("maxclients", most)


@fault(KEPT, spoils=True)
def stale_primary(run: Run) -> None:
    """Another server is promoted; the links to the old one live on, and it answers."""
    world = run.world
    old, new = world.server, RedisServer(options={"enable-protected-configs": "yes"}).start()
    world.server = new
    try:
        replica = new.client()
        replica.replicaof("127.0.0.1", str(old.port))
        eventually(lambda: replica.info("replication")["master_link_status"] == "up")
        run.more_acked(3)
        before = world.generations()
        for proxy in world.proxies:
            proxy.redirect(new.port)
        replica.replicaof("NO", "ONE")
        world.publishing.cut()
        world.wait_anew(before)
    finally:
        old.close()


# The gateways.


@fault()
def gateway_terminated(run: Run) -> None:
    """One after the other, and back: a rolling restart."""
    for gateway in run.world.gateways:
        gateway.restart()


@fault()
def gateway_killed(run: Run) -> None:
    for gateway in run.world.gateways:
        gateway.restart(crash=True)


@fault()
def gateway_stopped(run: Run) -> None:
    gateway = run.world.gateways[0]
    gateway.pause()
    try:
        run.hold(3)
    finally:
        gateway.resume()


# The clients.


@fault()
def subscribers_do_not_read(run: Run) -> None:
    """One doesn't for a while, and 4 MB come meanwhile: more than its buffers hold."""
    run.in_loop(run.slow.pause)
    large = run.add_writer([run.extra], Habits(rate=10, batch=20, size_bytes=8192))
    big = [s for s in run.subscribers if run.extra in s.followed.channels and s is not run.away][:2]
    for subscriber in big:
        run.in_loop(subscriber.pause)
    run.more_acked(25)
    eventually(lambda: len(large.written) >= 500)
    for subscriber in [*big, run.slow]:
        run.in_loop(subscriber.resume)


@fault()
def subscribers_cut_again_and_again(run: Run) -> None:
    for number in range(20):
        for subscriber in run.subscribers[number % 3 :: 3]:
            run.in_loop(subscriber.cut)
        run.more_acked(1)


# The publishers.


@fault()
def publisher_killed_between_write_and_answer(run: Run) -> None:
    with tempfile.TemporaryDirectory() as directory, Proxy(run.world.server.port) as proxy:
        path = Path(directory) / "journal"
        journal = Journal(path)
        command = [
            sys.executable,
            "-m",
            "tests.chaos.publishers",
            proxy.url,
            PREFIX,
            run.extra,
            str(path),
            "4",
            str(run.own_numbers()),
        ]

        def start() -> subprocess.Popen[bytes]:
            return spawn(command, log=Path(directory) / "log", cwd=_ROOT)

        def answered() -> int:
            return sum(line[0] == "ack" for line in journal.lines())

        for _ in range(2):
            process = start()
            try:
                goal = answered() + 10
                eventually(lambda: answered() >= goal)  # noqa: B023
                proxy.silence(down=True)
                eventually(lambda: run.length(run.extra) > answered())
            finally:
                process.kill()
                reap(process, seconds=10)
            proxy.cut()
            proxy.forward()
        process = start()
        try:
            goal = answered() + 10
            eventually(lambda: answered() >= goal)
        finally:
            process.kill()
            reap(process, seconds=10)
        run.written_elsewhere += journal.written(run.extra)


# What others write.


def _victim(run: Run, *reasons: str, loss: Loss = Loss.NONE, refused: bool = False) -> Allowance:
    """Only channel c may have gaps, and who was away is told."""
    return Allowance(
        gaps=frozenset(reasons),
        gap_channels=frozenset({run.c}),
        loss=loss,
        refused=refused,
        told=frozenset(reasons),
        told_only=frozenset({"away"}),
    )


def _replays_from_the_log(run: Run) -> None:
    """Forget the hot tails, so that who comes back is served from the stream."""
    before = run.world.generations()
    _kill_pubsub(run)
    run.world.wait_anew(before)


def _insert(run: Run, fields: Callable[[str, str], dict[str, bytes]]) -> None:
    """Add an entry by hand above the newest of channel c, while its publisher rests.

    `fields` are made from the entry's id and that of the one before it.
    """
    run.more_acked(2)  # so that it is above what the one who is away has seen
    [writer] = [writer for writer in run.writers if run.c in writer.channels]
    writer.paused = frozenset({run.c})
    seen = -1
    while seen != len(writer.written):  # the round that is under way
        seen = len(writer.written)
        run.more_acked(3)
    top = run.top(run.c)
    ms, _, seq = top.partition("-")
    entry_id = f"{ms}-{int(seq) + 1}"
    run.world.admin().xadd(run.stream_key(run.c), fields(entry_id, top), id=entry_id)
    writer.paused = frozenset()
    run.more_acked(2)
    _replays_from_the_log(run)


def _payload(id_: str, prev: str, data: bytes) -> dict[str, bytes]:
    """What the wire contract wants, but for the data."""
    return {"m": f"1 {id_}-000000 {prev} 0 event\n\n".encode() + data}


@fault(lambda run: _victim(run, "invalid"))
def entry_that_is_not_ours(run: Run) -> None:
    _insert(run, lambda *_: {"temperature": b"17", "unit": b"C"})


@fault(lambda run: _victim(run, "invalid"))
def entry_of_invalid_utf8(run: Run) -> None:
    _insert(run, lambda id_, prev: _payload(id_, prev, b"\xff\xfe\x80"))


@fault(lambda run: _victim(run, "invalid"))
def entry_of_5_mb(run: Run) -> None:
    _insert(run, lambda id_, prev: _payload(id_, prev, b"x" * 5_000_000))


@fault(lambda run: _victim(run, "invalid"))
def entry_of_50_mb(run: Run) -> None:
    _insert(run, lambda id_, prev: _payload(id_, prev, b"x" * 50_000_000))


@fault(lambda run: _victim(run, "expired", "trimmed", "rewritten", loss=Loss.ANY, refused=True))
def stream_key_of_a_wrong_type(run: Run) -> None:
    admin = run.world.admin()
    key = run.stream_key(run.c)
    run.more_acked(2)  # which the one who is away will miss
    admin.set(key, "not a stream")
    _replays_from_the_log(run)
    run.hold(0.5)
    admin.delete(key)
