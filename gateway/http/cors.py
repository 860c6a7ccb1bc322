"""CORS (WHATWG Fetch, section 3.2): exact origins, with credentials.

The entry `*` in the settings stands for any origin, without credentials: for development.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

_ALLOWED_HEADERS = "Authorization, Cache-Control, Content-Type, Last-Event-ID, Traceparent"
_PREFLIGHT_SECONDS = "600"


def varied(headers: Mapping[str, str], field: str) -> dict[str, str]:
    """The headers of an answer that depends on this field of the request too (RFC 9110, section 12.5.5)."""
    vary = headers.get("Vary")
    return {**headers, "Vary": field if vary is None else f"{vary}, {field}"}


class Cors:
    """Which origins may read the answers."""

    def __init__(self, allowed_origins: Iterable[str]) -> None:
        named = frozenset(allowed_origins)
        self._any = "*" in named
        self._origins = named - {"*"}

    def headers(self, request_headers: Mapping[str, str]) -> dict[str, str]:
        """What every answer to this request carries.

        It depends on the origin also where this one is not allowed, and where none is: a page of the own
        origin may use its cookie. Caches have to know.
        """
        origin = request_headers.get("Origin")
        if origin is not None and origin in self._origins:
            return {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
                "Vary": "Origin",
            }
        if self._any:
            return {"Access-Control-Allow-Origin": "*", "Vary": "Origin"}
        return {"Vary": "Origin"}

    def preflight(self, request_headers: Mapping[str, str], methods: str) -> dict[str, str]:
        """What the answer to a preflight carries."""
        headers = self.headers(request_headers)
        if "Access-Control-Allow-Origin" in headers:
            headers |= {
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
                "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
            }
        return headers

    async def complete(self, request: web.Request, response: web.StreamResponse) -> None:
        """For errors that no handler has answered: no such path, no such method, a failure. An answer that
        is none keeps what its handler gave it, which may be nothing, on purpose."""
        if response.status >= 400:
            for name, value in self.headers(request.headers).items():
                response.headers.setdefault(name, value)
