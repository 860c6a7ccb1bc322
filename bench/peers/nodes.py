"""The processes of the two setups, with the life of a gateway: start, restart, pause, resume, close."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import signal
import string
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from tests.support.processes import free_port, reap, spawn
from tests.support.wait import eventually

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

_HERE = Path(__file__).resolve().parent
_HOST = "127.0.0.1"
MODULE_VARIABLE = "PEERS_NCHAN_MODULE"
PYTHON_VARIABLE = "PEERS_PYTHON"


class Node:
    """One process, or one group of processes, on a port that it keeps over restarts."""

    name: ClassVar[str]
    stop_signal: ClassVar = signal.SIGTERM
    stop_seconds: ClassVar = 10.0
    links: ClassVar = 0
    """How many connections to Redis it has before anybody subscribes."""

    def __init__(self, redis_url: str) -> None:
        self.port = free_port()
        self._redis_url = redis_url
        self._temporary = tempfile.TemporaryDirectory(prefix="fanlight-peer-")
        self.directory = Path(self._temporary.name)
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    @staticmethod
    def path(channels: Sequence[str]) -> str:
        """What a subscriber asks for."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """AssertionError with the log where it doesn't serve streams within 20 s."""
        self._process = spawn(self.command(), log=self._log, cwd=_HERE, env=self.environment())
        try:
            eventually(self.serves, seconds=20)
        except AssertionError:
            raise AssertionError(f"{self.name} did not come up:\n{self.log[-3000:]}") from None

    def serves(self) -> bool:
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=1)
        try:
            connection.request("GET", self.path(["ready"]), headers={"Accept": "text/event-stream"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def restart(self, *, crash: bool = False) -> None:
        """End it, in order or (with `crash`) by SIGKILL, and start it on the same port."""
        if crash:
            self._end_group()
        else:
            self._running().send_signal(self.stop_signal)
            reap(self._running(), seconds=self.stop_seconds)
            self._end_group()
        self.start()

    def pause(self) -> None:
        os.killpg(self._running().pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self._running().pid, signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self._end_group()
        self._temporary.cleanup()

    def _end_group(self) -> None:
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own, workers included
        reap(process, seconds=10)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError(f"{self.name} has not been started")
        return self._process


class SseStarlette(Node):
    """`app.py` under uvicorn. PEERS_PYTHON names the interpreter that has requirements.txt."""

    name = "sse-starlette"

    def command(self) -> Sequence[str]:
        python = os.environ.get(PYTHON_VARIABLE, sys.executable)
        options = ["--host", _HOST, "--port", str(self.port), "--log-level", "warning"]
        return [python, "-m", "uvicorn", "app:app", *options, "--timeout-graceful-shutdown", "3"]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "REDIS_URL": self._redis_url}

    @staticmethod
    def path(channels: Sequence[str]) -> str:
        return "/events?" + "&".join(f"channel={quote(channel)}" for channel in channels)


class Nchan(Node):
    """nginx with Nchan. Ended as Debian's unit does: SIGQUIT, five seconds, SIGKILL."""

    name = "Nchan"
    stop_signal = signal.SIGQUIT
    stop_seconds = 5.0
    links = 4  # for each of two workers, one for commands and one for pub/sub

    def command(self) -> Sequence[str]:
        template = string.Template((_HERE / "nginx.conf.template").read_text())
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            template.substitute(
                module=os.environ.get(MODULE_VARIABLE, "/usr/lib/nginx/modules/ngx_nchan_module.so"),
                user=pwd.getpwuid(os.geteuid()).pw_name,
                directory=self.directory,
                redis_url=self._redis_url,
                port=self.port,
            )
        )
        return ["nginx", "-p", str(self.directory), "-c", str(configuration), "-e", "stderr"]

    @staticmethod
    def path(channels: Sequence[str]) -> str:
        return "/events?channels=" + ",".join(quote(channel) for channel in channels)
