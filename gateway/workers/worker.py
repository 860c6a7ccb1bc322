"""A worker: one process of a node. Its first line on stdin is an `Order`; each further one replaces it.

stdin stays open for as long as the supervisor lives; when it ends, however that came, the worker drains.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr

from gateway import lifecycle, logs
from gateway.http.current import Configuration
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """What the supervisor tells a worker."""

    number: int
    configuration: Configuration
    """With what a file held when the node read it: that counts for all workers, whenever they start."""
    admin: Path
    """Of the Unix socket for its admin port."""

    def dump(self) -> bytes:
        """One line, secrets in the clear: for a pipe, never for a command line or the environment."""
        values: dict[str, Any] = {}
        for name in Settings.model_fields:
            value = getattr(self.configuration.settings, name)
            values[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
        key_file = self.configuration.key_file
        keys = None if key_file is None else base64.b64encode(key_file).decode()
        return json.dumps([self.number, values, keys, str(self.admin)]).encode() + b"\n"

    @classmethod
    def load(cls, line: bytes) -> Order:
        number, values, keys, admin = json.loads(line)
        key_file = None if keys is None else base64.b64decode(keys)
        return cls(number, Configuration.of(Settings(**values), key_file), Path(admin))


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's, which passes on what comes of it
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()  # and nothing of the line after it
    if not line:
        return 0  # the supervisor has gone already
    order = Order.load(line)
    settings = order.configuration.settings
    logs.configure(settings.log_format, settings.log_level)
    structlog.contextvars.bind_contextvars(worker=order.number)
    return lifecycle.serve_worker(
        order.number,
        order.configuration,
        order.admin,
        sys.stdin.fileno(),
        lambda line: Order.load(line).configuration,
    )


if __name__ == "__main__":
    sys.exit(main())
