"""A worker: one process of a node. Its first line on stdin is an `Order`.

stdin stays open for as long as the supervisor lives; when it ends, however that came, the worker drains.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr

from gateway import lifecycle, logs
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """What the supervisor tells a worker."""

    number: int
    settings: Settings
    admin: Path
    """Of the Unix socket for its admin port."""

    def dump(self) -> bytes:
        """One line, secrets in the clear: for a pipe, never for a command line or the environment."""
        values: dict[str, Any] = {}
        for name in Settings.model_fields:
            value = getattr(self.settings, name)
            values[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
        return json.dumps([self.number, values, str(self.admin)]).encode() + b"\n"

    @classmethod
    def load(cls, line: bytes) -> Order:
        number, values, admin = json.loads(line)
        return cls(number, Settings(**values), Path(admin))


def main() -> int:
    line = sys.stdin.buffer.readline()
    if not line:
        return 0  # the supervisor has gone already
    order = Order.load(line)
    logs.configure(order.settings.log_format, order.settings.log_level)
    structlog.contextvars.bind_contextvars(worker=order.number)
    return lifecycle.serve_worker(order.settings, order.admin, leash=sys.stdin.fileno())


if __name__ == "__main__":
    sys.exit(main())
