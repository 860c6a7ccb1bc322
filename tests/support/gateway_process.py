"""A gateway as a process of its own: to kill, to restart on the same ports, to read the log of."""

from __future__ import annotations

import http.client
import json
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tests.support.fork_server import run_fanlight
from tests.support.processes import free_port, reap
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.support.processes import Process


class GatewayProcess:
    """`fanlight serve` on two free ports, with `settings` as its flags.

    A bool becomes `--name` or `--no-name`, a list one flag for each item, None no flag. Everybody may
    subscribe, unless `anonymous_subscribe` says otherwise. `start()`, or entering the context, returns when
    /readyz answers 200. Ports stay the same over restarts.
    """

    PUBLISH_TOKEN: ClassVar = "test-publish-token"
    host = "127.0.0.1"

    def __init__(self, **settings: Any) -> None:
        self.port = int(settings.pop("port", 0) or free_port())
        self.admin_port = int(settings.pop("admin_port", 0) or free_port())
        self.settings: dict[str, Any] = {
            "host": self.host,
            "log_format": "json",
            "drain_wait_seconds": 0,  # there is no balancer
            "anonymous_subscribe": "*",
        } | settings
        self._directory = tempfile.TemporaryDirectory(prefix="fanlight-gateway-")
        self._log = Path(self._directory.name) / "gateway.log"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The public listener, without a path."""
        return f"http://{self.host}:{self.port}"

    @property
    def events_url(self) -> str:
        return f"{self.url}/events"

    @property
    def publish_url(self) -> str:
        return f"{self.url}/publish"

    @property
    def admin_url(self) -> str:
        return f"http://{self.host}:{self.admin_port}"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def log(self) -> str:
        """All that it has printed, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def log_records(self) -> list[dict[str, Any]]:
        """The log's JSON lines. Lines that are not JSON objects (a traceback) are left out."""
        records = []
        for line in self.log.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                records.append(record)
        return records

    def start(self, *, wait: bool = True) -> Self:
        """Start it; with `wait`, until it is ready. AssertionError with its log if it is not."""
        if self.alive():
            raise AssertionError("the gateway is running already")
        flags = [*_flags(self.settings), f"--port={self.port}", f"--admin-port={self.admin_port}"]
        self._process = run_fanlight(["serve", *flags], log=self._log)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Until /readyz answers 200. AssertionError with the log after `seconds`, or if it ended."""
        deadline = time.monotonic() + seconds
        answer: object = "nothing"
        while self.alive() and time.monotonic() < deadline:
            try:
                status, body = self.admin_get("/readyz")
            except OSError as error:
                answer = error
            else:
                if status == 200:
                    return
                answer = f"{status} {body!r}"
            time.sleep(0.01)
        what = "is not ready" if self.alive() else f"ended with status {self._running().returncode}"
        raise AssertionError(f"the gateway {what} (/readyz: {answer}); its log:\n{self.log}")

    def admin_get(self, path: str) -> tuple[int, bytes]:
        """GET from the admin listener: status and body. OSError if nothing answers."""
        connection = http.client.HTTPConnection(self.host, self.admin_port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"broken answer: {error!r}") from error
        finally:
            connection.close()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM: drain and end. Returns the exit status; killed after `seconds` (status -9)."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> int:
        """SIGKILL: a crash."""
        return self._end(signal.SIGKILL, PATIENCE_SECONDS)

    def restart(self, *, crash: bool = False, wait: bool = True) -> None:
        """End it (with `crash`, by SIGKILL) and start it on the same ports."""
        if crash:
            self.kill()
        else:
            self.terminate()
        self.start(wait=wait)

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause` (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it runs, and remove its log. May be called twice."""
        if self._process is not None:
            self.kill()
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
        return f"<GatewayProcess {self.url} {'up' if self.alive() else 'down'}>"

    def _end(self, how: signal.Signals, seconds: float) -> int:
        process = self._running()
        process.send_signal(how)
        return reap(process, seconds=seconds)

    def _running(self) -> Process:
        if self._process is None:
            raise AssertionError("the gateway has not been started")
        return self._process


def _flags(settings: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            flags.extend(f"--{flag}={item}" for item in value)
        else:
            flags.append(f"--{flag}={value}")
    return flags
