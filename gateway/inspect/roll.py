"""Which processes are known. Nobody announces itself, so it is who was heard lately.

One that does not answer is not left out: while Redis counts more listeners than there were answers it may be
there, and is silent; else it has gone.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

KEPT_SECONDS: Final = 300.0
_MOST: Final = 1024


@dataclass(frozen=True, slots=True)
class Known:
    """A process that was heard."""

    id: str
    name: str
    worker: int | None
    version: str
    heard_at: float


class Roll:
    """Of a bounded number; of more, the one that was heard last the longest ago is forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: OrderedDict[str, Known] = OrderedDict()

    def heard(self, known: Known) -> None:
        self._known.pop(known.id, None)
        self._known[known.id] = known
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def missing(self, answered: set[str], now: float) -> list[Known]:
        """Those of the last minutes that are not among who has answered."""
        while self._known and now - next(iter(self._known.values())).heard_at > KEPT_SECONDS:
            self._known.popitem(last=False)
        return [known for id_, known in self._known.items() if id_ not in answered]
