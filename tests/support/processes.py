"""Child processes that don't outlive the test run, even one that is killed with SIGKILL.

One small watcher process holds the read end of a pipe whose write end only this process has. It is
told of each child, and when the pipe closes (however this process ended) it kills those still
there. PR_SET_PDEATHSIG would do the same on Linux alone, and fires when the *thread* that started
the child ends, which surprises whoever starts a server from a worker thread.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_WATCHER = """
import os, signal, sys
alive = set()
for line in sys.stdin:
    sign, pid = line[0], int(line[1:])
    (alive.add if sign == "+" else alive.discard)(pid)
for pid in alive:
    try:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""

_HOST = "127.0.0.1"
_FIRST_PORT, _LAST_PORT, _BLOCK = 11_000, 32_000, 500
"""Above 10080, the last of the ports that browsers refuse to connect to (WHATWG Fetch, "bad port")."""

_lock = threading.Lock()
_claims: list[socket.socket] = []  # closed with the process
_ports: Iterator[int] | None = None
_watcher: subprocess.Popen[bytes] | None = None
_watcher_input = -1


class Process(Protocol):
    """A child, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | Any: ...  # Popen's is
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...


def spawn(
    command: Sequence[str], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command`; its output is appended to `log`. It has a session of its own, so Ctrl-C
    reaches the tests only, and they stop it in their order."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    watch(process)
    return process


def watch(process: Process) -> None:
    """Have it killed when this process has ended. `reap` ends that."""
    _tell(f"+{process.pid}\n")


def reap(process: Process, *, seconds: float) -> int:
    """Wait until `process` has ended, for at most `seconds`, then kill it. Returns its exit status."""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait(10)
    _tell(f"-{process.pid}\n")
    return status


def free_port() -> int:
    """A TCP port of this process's own on the loopback interface, where nothing listens.

    From below the range out of which the system numbers outgoing connections: one of those may take a
    port while the server that it was given to is down to be restarted.
    """
    global _ports
    with _lock:
        if _ports is None:
            _ports = _claim()
        for _ in range(_BLOCK):
            port = next(_ports)
            with contextlib.closing(socket.socket()) as probe:
                if _takes(probe, port):
                    return port
    raise AssertionError("none of this process's ports is free")


def _claim() -> Iterator[int]:
    """A block of ports that no other test process has, again and again. Its first port is the claim: it
    stays bound for as long as this process lives."""
    for first in range(_FIRST_PORT, _LAST_PORT - _BLOCK, _BLOCK):
        claim = socket.socket()
        if _takes(claim, first):
            _claims.append(claim)
            return itertools.cycle(range(first + 1, first + _BLOCK))
        claim.close()
    raise AssertionError("all blocks of ports are taken by other test processes")


def _takes(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind((_HOST, port))
    except OSError:
        return False
    return True


def _tell(line: str) -> None:
    global _watcher, _watcher_input
    with _lock:
        if _watcher is None:
            read, _watcher_input = os.pipe()
            _watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCHER], stdin=read, start_new_session=True
            )
            os.close(read)
            atexit.register(_dismiss)
        os.write(_watcher_input, line.encode())


def _dismiss() -> None:
    """Close the pipe: the watcher kills what a careless test left behind, and ends."""
    os.close(_watcher_input)
    if _watcher is not None:
        _watcher.wait(10)
