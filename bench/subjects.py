"""What is measured: Fanlight, and what it is compared with. Each runs on the gateway's core."""

from __future__ import annotations

import os
import pwd
import shutil
import string
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bench.load import program
from bench.machine import ROOT, CannotRun, cores, group_pids, on_core
from bench.peers import nodes
from bench.publishing import PublisherProcess
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DATA_BYTES = 200
_PEERS_PYTHON = ROOT / ".venv" / "peers" / "bin" / "python"
_REFERENCES = Path(__file__).resolve().parent / "references"


class Subject:
    """A gateway and its Redis server, for a `with`."""

    name: ClassVar[str]
    until: ClassVar = "head"
    """What the load client takes for a live stream: its head, or fanlight.open."""
    publisher: ClassVar = "plain"
    node: nodes.Node

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            with on_core(cores().load):
                self.server = stack.enter_context(RedisServer())
            with on_core(cores().subject):
                self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def make(self) -> nodes.Node:
        raise NotImplementedError

    def _start(self, stack: ExitStack) -> None:
        self.node = self.make()
        stack.callback(self.node.close)
        self.node.start()

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def pids(self) -> list[int]:
        return group_pids(self.node._running().pid)

    def address(self) -> str:
        """Of what its publishers publish to."""
        return self.server.url

    def publishing(self, channels: int, *, kind: str | None = None) -> PublisherProcess:
        return PublisherProcess(
            kind or self.publisher, self.address(), channels, DATA_BYTES, core=cores().load
        )


class Fanlight(Subject):
    name = "fanlight"
    until = "open"
    publisher = "library"

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def _start(self, stack: ExitStack) -> None:
        self.gateway = GatewayProcess(
            redis_url=self.server.url, publish_token=GatewayProcess.PUBLISH_TOKEN, **self._settings
        )
        stack.callback(self.gateway.close)
        self.gateway.start()

    def restart(self) -> None:
        """Start it again, on the same port, after a kill."""
        with on_core(cores().subject):
            self.gateway.start()

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def pids(self) -> list[int]:
        return [self.gateway.pid]

    def metric(self, name: str, *, label: str = "") -> float:
        """The sum of a metric over its labels, or over those samples that have this label's value."""
        _, text = self.gateway.admin_get("/metrics")
        lines = [line for line in text.decode().splitlines() if line.partition("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in lines if not label or f'="{label}"' in line)


class Bare(Subject):
    """The loop of `c/bare.c`. It makes its events itself, at the row's rate."""

    name = "bare"

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def make(self) -> nodes.Node:
        rate = self._rate

        class Loop(nodes.SseStarlette):
            name = Bare.name

            def command(self) -> Sequence[str]:
                return [str(program("bare")), str(self.port), str(rate), str(DATA_BYTES)]

        return Loop(self.server.url)


class QueueAndTask(Subject):
    name = "queue and task"

    def make(self) -> nodes.Node:
        class Server(nodes.SseStarlette):
            name = QueueAndTask.name

            def command(self) -> Sequence[str]:
                return [sys.executable, str(_REFERENCES / "queue_and_task.py")]

            def environment(self) -> Mapping[str, str]:
                return {**super().environment(), "PORT": str(self.port)}

        return Server(self.server.url)


class SseStarlette(Subject):
    name = "sse-starlette"

    def make(self) -> nodes.Node:
        if nodes.PYTHON_VARIABLE not in os.environ:
            if not _PEERS_PYTHON.exists():
                raise CannotRun("sse-starlette is not installed in .venv/peers (see bench/README.md)")
            os.environ[nodes.PYTHON_VARIABLE] = str(_PEERS_PYTHON)
        return nodes.SseStarlette(self.server.url)


class Nchan(Subject):
    name = "nchan"
    publisher = "nchan"

    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make(self) -> nodes.Node:
        module = os.environ.get(nodes.MODULE_VARIABLE, "/usr/lib/nginx/modules/ngx_nchan_module.so")
        if shutil.which("nginx") is None or not Path(module).exists():
            raise CannotRun("nginx with Nchan is not installed (Debian: libnginx-mod-nchan)")

        class Server(nodes.Nchan):
            def command(self) -> Sequence[str]:
                template = string.Template((_REFERENCES / "nchan.conf.template").read_text())
                configuration = self.directory / "nginx.conf"
                filled = template.substitute(
                    module=module,
                    user=pwd.getpwuid(os.geteuid()).pw_name,
                    directory=self.directory,
                    redis_url=self._redis_url,
                    port=self.port,
                )
                configuration.write_text(filled)
                return ["nginx", "-p", str(self.directory), "-c", str(configuration), "-e", "stderr"]

            @staticmethod
            def path(channels: Sequence[str]) -> str:
                return "/events?channel=" + ",".join(channels)

        return Server(self.server.url)
