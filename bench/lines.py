"""Processes that are commanded by a line and answer with a line of JSON: the load client, the publishers."""

from __future__ import annotations

import json
import select
import subprocess
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

from bench.machine import ROOT, on_core

ANSWER_SECONDS = 30.0


class LineProcess:
    """One such process on one core, for a `with`."""

    def __init__(self, command: Sequence[str], *, core: int) -> None:
        self._command = command
        self._core = core

    def __enter__(self) -> Self:
        with on_core(self._core):
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str, *, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Send a command and wait for its answer. AssertionError if none comes within `seconds`."""
        self.tell(line)
        return self.answer(line, seconds=seconds)

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, line: str = "", *, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], seconds)[0]:
            raise AssertionError(f"{self._command[0]} did not answer {line!r} within {seconds} s")
        answer = output.readline()
        if not answer:
            raise AssertionError(f"{self._command[0]} ended at {line!r}")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise AssertionError(f"{self._command[0]} to {line!r}: {found['error']}")
        return found
