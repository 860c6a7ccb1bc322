"""Errors as problem details (RFC 9457): what is wrong, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web

from gateway.http import request_ids
from publisher import PublishError, RedisRefused, RedisUnreachable

_DETAILS: Final = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path. Event streams are at /events.",
    HTTPStatus.EXPECTATION_FAILED: "The only expectation that is met is 100-continue.",
}

_UNREACHABLE: Final = (
    "Redis gave no answer in time: the event may or may not have been published. Send it again, under the "
    "same idempotency key."
)
_REFUSED: Final = "Redis refused to take the event; the gateway's log says why."


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
    if request_id := request_ids.current():
        body["request_id"] = request_id
    return web.Response(
        status=int(status),
        text=json.dumps(body, ensure_ascii=False),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def of_aiohttp(error: web.HTTPException) -> web.Response:
    """What aiohttp refuses by itself (no such path, no such method) is a problem like any other."""
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{error.method} is not what this path takes; it takes {allowed}."
        return problem(status, detail, headers={"Allow": allowed})
    return problem(status, _DETAILS.get(status, f"{status.description or status.phrase}."))


def detail_of(error: PublishError) -> str:
    """What a caller is told of it. Redis' own words name hosts and users, which are for the log."""
    match error:
        case RedisUnreachable():
            return _UNREACHABLE
        case RedisRefused():
            return _REFUSED
    return str(error)


def last(answer: web.Response) -> web.Response:
    """The connection's last answer: what is still to come of the request is not waited for."""
    answer.force_close()
    return answer
