"""A disk that fills up under a server which persists, in a file system of its own."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from publisher import Publisher, RedisRefused
from tests.chaos.history import Allowance, Outcome
from tests.chaos.world import PREFIX, Row, Run, World
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = "16m"
SHED = Allowance(refused=True)


class NoDisk(Exception):
    """This process may not mount a file system. The text says why."""


@contextmanager
def small_disk() -> Iterator[Path]:
    """An empty tmpfs of `SIZE`. `NoDisk` where it can't be mounted, which takes root."""
    with tempfile.TemporaryDirectory(prefix="fanlight-disk-") as directory:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", directory]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise NoDisk(f"a tmpfs can't be mounted: {error}") from None
        if done.returncode:
            raise NoDisk(f"a tmpfs can't be mounted: {done.stderr.strip()}")
        try:
            yield Path(directory)
        finally:
            # Lazily: a server that is being killed may hold its files for a moment.
            subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def world_on(disk: Path) -> Iterator[World]:
    """A server that appends to a file on the disk. With `appendfsync always` it would end itself when
    that fails; with the default it refuses writes."""
    options = {"appendonly": "yes", "appendfsync": "everysec", "dir": str(disk)}
    with World(options=options) as world:
        yield world


async def full_disk(world: World, disk: Path) -> Row:
    """The disk is full for a while, and links are made meanwhile; then there is room again.

    AssertionError where a publisher was not refused, or not with the server's reason.
    """
    async with Run(world) as run:
        run.away.leave()
        await asyncio.to_thread(_fill, run, disk)
        heal_seconds = await run.healed()
        verdict = await run.finish(SHED)
    return Row("full disk", verdict, heal_seconds)


def _fill(run: Run, disk: Path) -> None:
    admin = run.world.admin()
    ballast = disk / "ballast"

    def refused() -> int:
        return sum(w.outcome is Outcome.REFUSED for writer in run.writers for w in tuple(writer.written))

    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65_536)):
                pass
        except OSError:
            pass  # full
    try:
        eventually(lambda: admin.info("persistence")["aof_last_write_status"] == "err")
        eventually(lambda: refused() > 20)
        with Publisher(run.world.server.url, prefix=PREFIX) as publisher:
            reason = ""
            try:
                publisher.publish("elsewhere", "refused")
            except RedisRefused as error:
                reason = str(error)
            assert "MISCONF" in reason, f"a publish on a full disk ended with {reason!r}"
        before = run.world.generations()
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        run.world.wait_anew(before)
    finally:
        ballast.unlink()
