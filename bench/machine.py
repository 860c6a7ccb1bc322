"""What the operating system says of processes and of this machine, and where processes run. Linux only."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CannotRun(Exception):
    """What a row, a subject or the whole run needs is not on this machine."""


class Cores(NamedTuple):
    """The gateway has a core to itself; all else shares another."""

    subject: int
    load: int


def cores() -> Cores:
    """The first two that this process may use. `CannotRun` with fewer."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise CannotRun("two cores are needed: one for the gateway, one for the load and Redis")
    return Cores(usable[0], usable[1])


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started within run on `core`, and theirs, too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files() -> None:
    """As many open files as this user may have, for all processes started from now on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of whole processes, in steps of a clock tick (mostly 10 ms)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def group_pids(leader: int) -> list[int]:
    """All processes of the group that `leader` leads."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry.name)) == leader:
                    pids.append(int(entry.name))
    return pids


class Idle(NamedTuple):
    at: float
    idle_seconds: float


def idle_of(core: int) -> Idle:
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            return Idle(time.monotonic(), (int(fields[3]) + int(fields[4])) / _TICKS)
    raise CannotRun(f"/proc/stat does not know core {core}")


def busy_share(since: Idle, core: int) -> float:
    """How much of the time since then `core` was busy with anything at all, 0 to 1."""
    now = idle_of(core)
    window = now.at - since.at
    return min(1.0, max(0.0, 1 - (now.idle_seconds - since.idle_seconds) / window)) if window > 0 else 0.0


def description() -> dict[str, str]:
    """This machine, for whoever reads the numbers."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES / 2**30
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gib:.0f} GiB",
        "kernel": platform.release(),
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def revision() -> str:
    """The git revision that was measured; `+` where files differ from it."""
    command = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*command, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            [*command, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
