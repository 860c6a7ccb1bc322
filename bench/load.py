"""The load client, `c/load.c`, and which streams follow what."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.lines import LineProcess
from bench.machine import BUILD, CannotRun

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOURCES = Path(__file__).resolve().parent / "c"
OPEN_SECONDS = 60.0


def program(name: str) -> Path:
    """The program of `c/<name>.c`, compiled if older than its source. `CannotRun` without a compiler."""
    source, made = _SOURCES / f"{name}.c", BUILD / name
    if made.exists() and made.stat().st_mtime >= source.stat().st_mtime:
        return made
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotRun("there is no C compiler (cc), and the load client is written in C")
    BUILD.mkdir(parents=True, exist_ok=True)
    # Made under another name: a test beside this one may look for it meanwhile.
    new = made.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(new), str(source)]
    # The load client inflates where zlib can be linked.
    if subprocess.run([*command, "-lz"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([*command, "-DWITHOUT_ZLIB"], check=True)
    new.replace(made)
    return made


@dataclass(frozen=True, slots=True)
class Audience:
    """`streams` connections, each of which follows `width` of `channels` channels."""

    streams: int
    channels: int = 1
    width: int = 1

    @property
    def names(self) -> list[str]:
        return [f"c{number}" for number in range(self.channels)]

    def followed_by(self, stream: int) -> list[int]:
        """The same formula as in load.c. With a prime number of channels, `width` different ones; and
        streams that begin at the same channel go on by other steps, so that few sets are the same."""
        step = 1 + stream // self.channels % max(self.channels - 1, 1)
        return [(stream + number * step) % self.channels for number in range(self.width)]

    def followers(self) -> list[int]:
        """Of each channel."""
        counts = [0] * self.channels
        for stream in range(self.streams):
            for channel in self.followed_by(stream):
                counts[channel] += 1
        return counts

    def deliveries(self, first: int, events: int) -> int:
        """Due of `events` events, of which number i goes to channel i modulo `channels`, from `first` on."""
        followers = self.followers()
        rounds, rest = divmod(events, self.channels)
        return rounds * sum(followers) + sum(followers[(first + i) % self.channels] for i in range(rest))


class Load(LineProcess):
    """The client, with all streams of a row."""

    def __init__(self, *, core: int) -> None:
        super().__init__([str(program("load"))], core=core)

    def open(
        self,
        audience: Audience,
        ports: Sequence[int],
        *,
        path: str = "/events?channel=",
        join: str = "&channel=",
        until: str = "open",
        in_flight: int = 256,
        accept_encoding: str = "",
    ) -> dict[str, Any]:
        """Open all streams, until each has its head or is live. AssertionError where some are refused."""
        line = (
            f"open count={audience.streams} modulo={audience.channels} width={audience.width} "
            f"port={','.join(map(str, ports))} path={path} join={join} until={until} "
            f"in_flight={in_flight} seconds={OPEN_SECONDS:.0f}"
        )
        if accept_encoding:
            line += f" accept_encoding={accept_encoding}"
        return self._opened(self.ask(line, seconds=OPEN_SECONDS + 10), audience.streams)

    def reopen(self, audience: Audience, port: int, *, in_flight: int, seconds: float) -> dict[str, Any]:
        """Open again what is closed, each stream with its last id."""
        line = f"reopen port={port} in_flight={in_flight} seconds={seconds:.0f}"
        return self._opened(self.ask(line, seconds=seconds + 10), audience.streams)

    def mark(self, *, sample: int = 1) -> None:
        self.ask(f"mark sample={sample}")

    def wait(self, deliveries: int, *, seconds: float) -> dict[str, Any]:
        """What was counted since mark, as soon as there are `deliveries`, at the latest after `seconds`."""
        return self.ask(f"wait deliveries={deliveries} seconds={seconds}", seconds=seconds + 10)

    def report(self) -> dict[str, Any]:
        return self.ask("report")

    def cut(self) -> dict[str, Any]:
        return self.ask("cut")

    @staticmethod
    def _opened(answer: dict[str, Any], wanted: int) -> dict[str, Any]:
        if answer["live"] < wanted:
            raise AssertionError(f"{answer['live']} of {wanted} streams became live: {answer}")
        return answer
