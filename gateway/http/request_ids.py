"""An id for each request: in its answer, in a problem document, and in the log lines that are about it.

An id that a client makes up would let it write into our logs, and be mistaken for another's request. So a
field of the request is taken from a trusted proxy only, and what it holds only if it is well formed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from gateway.protocol.addresses import Proxies
from gateway.protocol.request_id import is_well_formed

if TYPE_CHECKING:
    from aiohttp import web

HEADER: Final = "X-Request-Id"
_BYTES: Final = 8
_current: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""aiohttp handles each request in a task, and so in a context, of its own."""


def new() -> str:
    """An id for which nobody has asked."""
    return secrets.token_hex(_BYTES)


def current() -> str:
    """Of the request that is being answered; empty where there is none."""
    return _current.get()


class RequestIds:
    """Gives each request of a port its id."""

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        """ValueError for what is neither an address nor a network."""
        self._proxies = Proxies(trusted_proxies)

    def begin(self, request: web.BaseRequest) -> None:
        """In the task that answers it, before anything else."""
        headers = request.headers
        # What could not be read has an empty dict, which has no `getall`.
        _current.set(self.of(request.remote, headers.getall(HEADER, ()) if headers else ()))

    def of(self, peer: str | None, fields: Iterable[str]) -> str:
        """The id for a request of this peer, with these fields."""
        given = list(fields)
        if len(given) == 1 and is_well_formed(given[0]) and self._proxies.trusts(peer):
            return given[0]
        return new()
