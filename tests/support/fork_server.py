"""`fanlight` in processes that are forked, not started: what a start costs is nearly all imports.

One server for each test process. It has imported the gateway, and has neither threads nor an event loop, so
that a child of it is what a fresh interpreter would be after its imports: with a session, an environment, an
input, an output and a command line of its own, and no file of the server's. Measured: 0.09 s of CPU until a
gateway is ready, instead of 1.1. `tests/integration/test_cli.py` starts the real command, too.

The two talk over a socket of packets. A request holds what the child is to be, its three files, and a socket
on which the server tells the child's number and, when it has ended, its status. That is for Linux; elsewhere,
commands are started.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from tests.support.processes import watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
_MAX_REQUEST_BYTES: Final = 131_072
_NUMBER: Final = struct.Struct("!i")
_lock = threading.Lock()
_control: socket.socket | None = None


class ForkedProcess:
    """What tests use of `subprocess.Popen`, for a child of the fork server."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.returncode: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        if self.returncode is None and self._readable(0):
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not self._readable(timeout):
                raise subprocess.TimeoutExpired("a forked command", timeout or 0.0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _readable(self, timeout: float | None) -> bool:
        poll = select.poll()  # `select` knows no descriptor beyond 1,023, and a crowd takes thousands
        poll.register(self._told, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def _end(self) -> None:
        self.returncode = self._number()
        self._told.close()

    def _number(self) -> int:
        packet = self._told.recv(_NUMBER.size)
        if not packet:
            raise AssertionError("the server that forks gateways has ended")
        return int(_NUMBER.unpack(packet)[0])


def run_fanlight(
    words: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    errors: Path | None = None,
    stdin: bytes = b"",
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Run `fanlight` with `words`, from the checkout's folder, in `env`, or that of the tests without their
    settings. Its output is appended to `log`, and what it says on the standard error too, or to `errors`.
    Like what `spawn` starts it is watched, until `reap`."""
    run = _fork if sys.platform.startswith("linux") else _start
    with tempfile.TemporaryFile() as given, log.open("ab") as output, (errors or log).open("ab") as said:
        given.write(stdin)
        given.seek(0)
        process = run(words, without_settings() if env is None else env, (given, output, said))
    watch(process)
    return process


def without_settings() -> dict[str, str]:
    """This process's environment. The settings of whoever runs the tests must not leak into what they run."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FANLIGHT_")}


def _start(
    words: Sequence[str], env: Mapping[str, str], files: Sequence[IO[bytes]]
) -> subprocess.Popen[bytes]:
    given, output, errors = files
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words],
        stdin=given,
        stdout=output,
        stderr=errors,
        cwd=ROOT,
        env=dict(env),
        start_new_session=True,
    )


def _fork(words: Sequence[str], env: Mapping[str, str], files: Sequence[IO[bytes]]) -> ForkedProcess:
    told, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = json.dumps({"words": list(words), "env": dict(env)}).encode()
    with told:
        socket.send_fds(_server(), [request], [*(file.fileno() for file in files), told.fileno()])
    return ForkedProcess(ours)


def _server() -> socket.socket:
    """The socket of this process's server, which ends when the socket is closed."""
    global _control
    with _lock:
        if _control is None:
            theirs, _control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    cwd=ROOT,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            atexit.register(_dismiss, _control, process)
        return _control


def _dismiss(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    control.close()
    process.wait(10)


def _serve(control: socket.socket) -> None:
    """Fork what is asked for and tell how it ended, until nobody can ask. In a child it raises SystemExit."""
    ended, wake = os.pipe2(os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    children: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([control.fileno(), ended], [], [])
        if ended in readable:
            os.read(ended, 4096)
            _tell_ended(children)
        if control.fileno() in readable:
            packet, received, _, _ = socket.recv_fds(control, _MAX_REQUEST_BYTES, 4)
            if not packet:
                return
            *files, tell = received
            told = socket.socket(fileno=tell)
            pid = os.fork()
            if pid == 0:
                for held in (control, told, *children.values()):
                    held.detach()  # all are closed by their numbers
                _become(json.loads(packet), files)
            for file in files:
                os.close(file)
            told.send(_NUMBER.pack(pid))
            children[pid] = told


def _tell_ended(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as told:
            told.send(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be the command that was asked for, and end."""
    from gateway.cli import main

    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.exit(main(request["words"]))


def _import_all() -> None:
    """What `fanlight serve`, `dev`, `publish`, `tail` and `token` import by the time they are at work."""
    import gateway.cli.arguments
    import gateway.cli.configuration
    import gateway.cli.publish
    import gateway.cli.tail
    import gateway.cli.token
    import gateway.dev.session
    import gateway.lifecycle
    import gateway.logs
    import gateway.workers.supervisor  # noqa: F401

    gc.collect()
    gc.freeze()  # so that a child's collections leave the pages that it shares alone


if __name__ == "__main__":
    _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))
