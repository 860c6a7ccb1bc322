"""Reverse proxies with the configurations that the project ships, on other ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from tests.support.processes import free_port, reap, spawn
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
READ_TIMEOUT_SECONDS = 60
"""Of a stream, as shipped."""


class Backend(NamedTuple):
    """A gateway's two ports, on the loopback interface."""

    port: int
    admin_port: int

    @classmethod
    def nobody(cls) -> Self:
        return cls(free_port(), free_port())


class Change(NamedTuple):
    """What a test replaces in a shipped file, and how often it stands there."""

    old: str
    new: str
    times: int = 1


def changed(path: Path, changes: Sequence[Change]) -> str:
    """The file's text with the changes. AssertionError if one does not stand there exactly so often: the
    test would run something else than what is shipped."""
    text = path.read_text()
    for old, new, times in changes:
        if text.count(old) != times:
            raise AssertionError(f"{old!r} stands {text.count(old)} times in {path}, not {times}")
        text = text.replace(old, new)
    return text


def lines_with(path: Path, part: str) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if part in line]


class ReverseProxy(ABC):
    """A shipped configuration in front of two or more backends, for a `with`."""

    host = "127.0.0.1"
    name: ClassVar[str]
    configuration: ClassVar[Path]

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        certificate: Path | None = None,
        read_timeout_seconds: int = READ_TIMEOUT_SECONDS,
    ) -> None:
        """`certificate` is a file with a certificate and its key; with it, `tls_port` speaks TLS."""
        self.port, self.tls_port = free_port(), free_port()
        self._backends = backends
        self._certificate = certificate
        self._read_timeout_seconds = read_timeout_seconds
        self._temporary = tempfile.TemporaryDirectory(prefix=f"fanlight-{self.name}-")
        self._directory = Path(self._temporary.name)
        self._log = self._directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def program(cls) -> str | None:
        """The one of this machine. Debian installs some where a user's PATH may not lead."""
        return shutil.which(cls.name) or shutil.which(cls.name, path="/usr/sbin:/usr/local/sbin")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://{self.host}:{self.tls_port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write the configuration; the arguments that it is started with."""

    def _environment(self) -> Mapping[str, str]:
        """What the configuration reads of the environment."""
        return {}

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
        self._temporary.cleanup()

    def _start(self) -> Self:
        program = self.program()
        if program is None:
            raise AssertionError(f"{self.name} is not installed")
        ports = [self.port] + ([self.tls_port] if self._certificate is not None else [])
        self._process = spawn(
            [program, *self._prepare()], log=self._log, env={**os.environ, **self._environment()}
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if all(self._listens(port) for port in ports):
                return self
            time.sleep(0.01)
        raise AssertionError(f"{self.name} does not listen; its log:\n{self.log}")

    def _listens(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, port)) == 0


class Nginx(ReverseProxy):
    name = "nginx"
    configuration = DEPLOY / "nginx.conf"

    def _prepare(self) -> list[str]:
        first, *others = self._backends
        [line] = lines_with(self.configuration, "server gateway-2:8080 ")
        more = "".join(line.replace("gateway-2:8080", f"127.0.0.1:{other.port}") for other in others)
        text = changed(
            self.configuration,
            [
                Change("listen 8080;", f"listen {self.host}:{self.port};"),
                Change("server gateway-1:8080 ", f"server 127.0.0.1:{first.port} "),
                Change(line, more),
                Change(" /tmp/", f" {self._directory}/", 6),
                Change("/etc/nginx/tls/", f"{self._directory}/tls/"),
                Change("/dev/stderr", str(self._log), 2),
                Change("/dev/stdout", str(self._log), 2),
                Change(
                    f"proxy_read_timeout {READ_TIMEOUT_SECONDS}s;",
                    f"proxy_read_timeout {self._read_timeout_seconds}s;",
                ),
            ],
        )
        (self._directory / "nginx.conf").write_text(text)
        (self._directory / "tls").mkdir()
        if self._certificate is not None:
            changes = [
                Change("listen 8443 ssl http2;", f"listen {self.host}:{self.tls_port} ssl http2;"),
                Change("/etc/nginx/tls/certificate.pem", str(self._certificate)),
                Change("/etc/nginx/tls/key.pem", str(self._certificate)),
            ]
            (self._directory / "tls/tls.conf").write_text(changed(DEPLOY / "nginx-tls.conf", changes))
        # Started by root, the workers would become nobody, who can't enter the directory.
        directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        paths = ["-p", str(self._directory), "-e", str(self._log), "-c", str(self._directory / "nginx.conf")]
        return [*paths, "-g", directives]


class Haproxy(ReverseProxy):
    name = "haproxy"
    configuration = DEPLOY / "haproxy.cfg"

    def _prepare(self) -> list[str]:
        first, *others = self._backends
        changes = [
            Change("maxconn 30000", "maxconn 1000"),  # which needs no more files than a test may open
            Change("bind :8080", f"bind {self.host}:{self.port}"),
            Change("bind :8443 ", f"bind {self.host}:{self.tls_port} "),
            Change(
                f"timeout server {READ_TIMEOUT_SECONDS}s", f"timeout server {self._read_timeout_seconds}s"
            ),
            Change("gateway-1:8080 port 9090", f"127.0.0.1:{first.port} port {first.admin_port}"),
            Change("gateway-1:8080 track", f"127.0.0.1:{first.port} track"),
        ]
        for line in lines_with(self.configuration, "gateway-2:8080 "):
            more = (
                line.replace("gateway-2:8080", f"127.0.0.1:{other.port}")
                .replace("port 9090", f"port {other.admin_port}")
                .replace("gateway-2", f"gateway-{number}")
                for number, other in enumerate(others, start=2)
            )
            changes.append(Change(line, "".join(more)))
        (self._directory / "haproxy.cfg").write_text(changed(self.configuration, changes))
        return ["-db", "-f", str(self._directory / "haproxy.cfg")]

    def _environment(self) -> Mapping[str, str]:
        return {} if self._certificate is None else {"TLS_CERTIFICATE": str(self._certificate)}


class Caddy(ReverseProxy):
    name = "caddy"
    configuration = DEPLOY / "Caddyfile"

    def _prepare(self) -> list[str]:
        to = " ".join(f"127.0.0.1:{backend.port}" for backend in self._backends)
        text = changed(
            self.configuration,
            [
                Change("http_port 8080", f"http_port {self.port}"),
                Change("https_port 8443", f"https_port {self.tls_port}"),
                Change("/etc/caddy/tls/", f"{self._directory}/tls/"),
                Change("gateway-1:8080 gateway-2:8080", to),
                Change(
                    f"read_timeout {READ_TIMEOUT_SECONDS}s", f"read_timeout {self._read_timeout_seconds}s"
                ),
            ],
        )
        (self._directory / "Caddyfile").write_text(text)
        (self._directory / "tls").mkdir()
        if self._certificate is not None:
            site = (
                f"{self.tls_url} {{\n\ttls {self._certificate} {self._certificate}\n\timport fanlight\n}}\n"
            )
            (self._directory / "tls/own.caddy").write_text(site)
        return ["run", "--adapter", "caddyfile", "--config", str(self._directory / "Caddyfile")]

    def _environment(self) -> Mapping[str, str]:
        home = str(self._directory)
        return {"SITE": self.url, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}


PROXIES: tuple[type[ReverseProxy], ...] = (Nginx, Haproxy, Caddy)
