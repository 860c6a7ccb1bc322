"""Prometheus with the configuration that the project ships, on other ports."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.support.processes import free_port, reap, spawn
from tests.support.proxies import DEPLOY, Change, changed
from tests.support.wait import eventually

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

CONFIGURATION = DEPLOY / "prometheus/prometheus.yml"
RULES = DEPLOY / "prometheus/rules.yml"
RULE_TESTS = DEPLOY / "prometheus/rules.test.yml"


class Prometheus:
    """Scrapes two nodes each second, for a `with`."""

    def __init__(self, admin_ports: Sequence[int]) -> None:
        self.port = free_port()
        first, second = admin_ports
        self._temporary = tempfile.TemporaryDirectory(prefix="fanlight-prometheus-")
        self._directory = Path(self._temporary.name)
        self._configuration = changed(
            CONFIGURATION,
            [
                Change("gateway-1:9090", f"127.0.0.1:{first}"),
                Change("gateway-2:9090", f"127.0.0.1:{second}"),
                Change("_interval: 10s", "_interval: 1s", 2),
            ],
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self._directory / "prometheus.yml").write_text(self._configuration)
        shutil.copy(RULES, self._directory)
        command = [
            "prometheus",
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        self._process = spawn(command, log=self._directory / "log")
        try:
            eventually(self._ready, what="prometheus is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            reap(self._process, seconds=10)
        self._temporary.cleanup()

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except URLError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query. HTTPError if it is wrong."""
        answer = self._get("query", query=expression)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("rules")["data"]["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(parameters)}"
        with urlopen(url, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        assert found["status"] == "success"
        return found
