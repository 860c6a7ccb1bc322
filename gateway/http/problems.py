"""Errors as problem details (RFC 9457): what is wrong, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web


def problem(
    status: HTTPStatus, detail: str, *, kind: str = "about:blank", headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error response. `detail` is for the caller's eyes: no internal names, no secrets."""
    body = {"type": kind, "title": status.phrase, "status": int(status), "detail": detail}
    return web.Response(
        status=int(status),
        text=json.dumps(body, ensure_ascii=False),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
