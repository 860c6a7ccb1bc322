"""Errors as problem details (RFC 9457): what is wrong, and what to do."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    kind: str = "about:blank",
    headers: Mapping[str, str] | None = None,
    **members: str,
) -> web.Response:
    """An error response. `detail` is for the caller's eyes: no internal names, no secrets. `members` are
    extensions, for programs (RFC 9457, section 3.2)."""
    body = {"type": kind, "title": status.phrase, "status": int(status), "detail": detail, **members}
    return web.Response(
        status=int(status),
        text=json.dumps(body, ensure_ascii=False),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What aiohttp refuses by itself (no such path, no such method) is a problem like any other."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return problem(HTTPStatus.NOT_FOUND, "There is nothing here. Event streams are at /events.")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{error.method} is not what this path takes; it takes {allowed}.",
            headers={"Allow": allowed},
        )
