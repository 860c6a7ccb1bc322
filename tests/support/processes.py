"""Child processes that don't outlive the test run, even one that is killed with SIGKILL.

One small watcher process holds the read end of a pipe whose write end only this process has. It is
told of each child, and when the pipe closes (however this process ended) it kills those still
there. PR_SET_PDEATHSIG would do the same on Linux alone, and fires when the *thread* that started
the child ends, which surprises whoever starts a server from a worker thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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

_lock = threading.Lock()
_watcher: subprocess.Popen[bytes] | None = None
_watcher_input = -1


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
    _tell(f"+{process.pid}\n")
    return process


def reap(process: subprocess.Popen[bytes], *, seconds: float) -> int:
    """Wait until `process` has ended, for at most `seconds`, then kill it. Returns its exit status."""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait(10)
    _tell(f"-{process.pid}\n")
    return status


def free_port() -> int:
    """A TCP port that was free on the loopback interface a moment ago."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
