"""nginx with the configuration that the project ships, on other ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.processes import free_port, reap, spawn
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
READ_TIMEOUT_SECONDS = 60
"""Of a stream, as shipped."""


def find_nginx() -> str | None:
    """The nginx of this machine. Debian installs it where a user's PATH may not lead."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def rendered(
    backend_ports: Sequence[int],
    port: int,
    directory: Path,
    log: Path,
    read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
) -> str:
    """The shipped file with other addresses, another directory and perhaps another read timeout of streams,
    and nothing else changed; from the third backend on, each has a line like that of the second.

    AssertionError if something that is to be replaced is not in the file exactly so.
    """
    first, *others = backend_ports
    text = CONFIGURATION.read_text()
    [line] = [line for line in text.splitlines(keepends=True) if "server gateway-2:8080 " in line]
    text = text.replace(line, "".join(line.replace("gateway-2:8080", f"127.0.0.1:{p}") for p in others))
    for old, new, times in (
        ("listen 8080;", f"listen {Nginx.host}:{port};", 1),
        ("server gateway-1:8080 ", f"server 127.0.0.1:{first} ", 1),
        (" /tmp/", f" {directory}/", 6),
        ("/dev/stderr", str(log), 2),
        (f"proxy_read_timeout {READ_TIMEOUT_SECONDS}s;", f"proxy_read_timeout {read_timeout_seconds}s;", 1),
        ("/dev/stdout", str(log), 2),
    ):
        if text.count(old) != times:
            raise AssertionError(f"{old!r} stands {text.count(old)} times in {CONFIGURATION}, not {times}")
        text = text.replace(old, new)
    return text


class Nginx:
    """deploy/nginx.conf in front of two or more backends on the loopback interface, for a `with`."""

    host = "127.0.0.1"

    def __init__(
        self, backend_ports: Sequence[int], *, read_timeout_seconds: int = READ_TIMEOUT_SECONDS
    ) -> None:
        self.port = free_port()
        self.binary = find_nginx()
        self._backend_ports = backend_ports
        self._read_timeout_seconds = read_timeout_seconds
        self._directory = tempfile.TemporaryDirectory(prefix="fanlight-nginx-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            reap(self._process, seconds=10)
        self._directory.cleanup()

    @property
    def _log(self) -> Path:
        return Path(self._directory.name) / "nginx.log"

    def _start(self) -> Self:
        if self.binary is None:
            raise AssertionError("nginx is not installed")
        configuration = Path(self._directory.name) / "nginx.conf"
        directory = Path(self._directory.name)
        configuration.write_text(
            rendered(self._backend_ports, self.port, directory, self._log, self._read_timeout_seconds)
        )
        # Started by root, the workers would become nobody, who can't enter the directory.
        directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        command = [self.binary, "-p", self._directory.name, "-e", str(self._log), "-g", directives]
        self._process = spawn([*command, "-c", str(configuration)], log=self._log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return self
            time.sleep(0.01)
        raise AssertionError(f"nginx does not listen; its log:\n{self.log}")
