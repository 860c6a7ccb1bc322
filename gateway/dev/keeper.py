"""The process that keeps the embedded server of `fanlight dev`.

    python -m gateway.dev.keeper BINARY DIRECTORY

It starts the server, writes `server.json`, and stops it when nobody has held the lock on `users` for as
many seconds as `keep_seconds` says. So the server outlives a `fanlight dev` that was stopped or killed,
for a while; docs/decisions/ says why. The server dies with the keeper, however that ends (on Linux;
elsewhere the next `fanlight dev` clears it away).

Locks are flock(2): the kernel releases them with the process, also after SIGKILL.

    users    shared: every `fanlight dev` that uses the server; exclusive: the keeper, to stop
    keeper   exclusive: the keeper, while it lives
    start    exclusive: a `fanlight dev` that looks for a server or starts one
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO, Final

USERS: Final = "users.lock"
KEEPER: Final = "keeper.lock"
START: Final = "start.lock"
STATE: Final = "server.json"
KEEP: Final = "keep_seconds"
SERVER_LOG: Final = "server.log"

_POLL_SECONDS: Final = 0.25
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1


class Stopped(Exception):
    """SIGTERM."""


def main(binary: str, directory: Path) -> int:
    """Keep the server until nobody needs it. Returns an exit status."""
    signal.signal(signal.SIGTERM, _stop)
    lock = _lock_within(directory / KEEPER, seconds=2.0)
    if lock is None:
        return 1  # there is another keeper
    with lock, (directory / USERS).open("a") as users:
        server, port = _start(binary, directory)
        try:
            run_id = _ping_until(server, port)
            if run_id is None:
                return 1
            _write_state(directory, port=port, run_id=run_id, server_pid=server.pid)
            _wait_until_unused(server, users, directory)
        except Stopped:
            pass
        finally:
            # `users` is held exclusively here: whoever comes now waits until we are gone.
            (directory / STATE).unlink(missing_ok=True)
            _end(server)
    return 0


def _start(binary: str, directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with (directory / SERVER_LOG).open("wb") as log:
        # preexec_fn is safe here: this process has one thread.
        server = subprocess.Popen(  # noqa: S603 - the server that find_binary found
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
        )
    return server, port


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ping_until(server: subprocess.Popen[bytes], port: int) -> str | None:
    """The server's run_id once it answers; None if it ended or does not answer in time."""
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        if (run_id := ask_run_id(port)) is not None:
            return run_id
        time.sleep(0.01)
    return None


def ask_run_id(port: int) -> str | None:
    """The run_id of the server on a port of this machine, or None: nobody, or no such server."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"INFO server\r\n")
            answer = b""
            while b"run_id:" not in answer or not answer.endswith(b"\r\n"):
                piece = connection.recv(65_536)
                if not piece or len(answer) > 65_536:
                    return None
                answer += piece
    except OSError:
        return None
    return answer.partition(b"run_id:")[2].split(b"\r\n", 1)[0].decode("ascii", "replace")


def _write_state(directory: Path, **state: object) -> None:
    draft = directory / f"{STATE}.new"
    draft.write_text(json.dumps(state | {"keeper_pid": os.getpid()}))
    draft.replace(directory / STATE)


def _wait_until_unused(server: subprocess.Popen[bytes], users: IO[str], directory: Path) -> None:
    """Return, with `users` locked, when it has been free for long enough; or when the server ended."""
    unused_since: float | None = None
    while server.poll() is None:
        if lock(users, fcntl.LOCK_EX):
            now = time.monotonic()
            unused_since = unused_since or now
            if now - unused_since >= _keep_seconds(directory):
                return
            fcntl.flock(users, fcntl.LOCK_UN)
        else:
            unused_since = None
        time.sleep(_POLL_SECONDS)


def lock(file: IO[str], how: int) -> bool:
    """Try to lock, without waiting."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_within(path: Path, *, seconds: float) -> IO[str] | None:
    """An exclusive lock; who only looks whether it is held (shared, for an instant) is waited for."""
    deadline = time.monotonic() + seconds
    file = path.open("a")
    while not lock(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            file.close()
            return None
        time.sleep(0.01)
    return file


def _keep_seconds(directory: Path) -> float:
    try:
        return float((directory / KEEP).read_text())
    except (OSError, ValueError):
        return 0.0


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
