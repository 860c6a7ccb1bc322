"""What a request is answered that is refused, or too much (RFC 9110, section 15.5; RFC 6750, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from gateway.auth.refusals import Refusal, Refused
from gateway.http.problems import problem
from gateway.protocol.limits import OverLimit

_SCHEME: Final = 'Bearer realm="fanlight"'
_STATUS: Final = {
    Refusal.SEVERAL: (HTTPStatus.BAD_REQUEST, "invalid_request"),
    Refusal.NOT_GRANTED: (HTTPStatus.FORBIDDEN, "insufficient_scope"),
    Refusal.ORIGIN: (HTTPStatus.FORBIDDEN, None),
    Refusal.MISSING: (HTTPStatus.UNAUTHORIZED, None),
}
_WRONG: Final = (HTTPStatus.UNAUTHORIZED, "invalid_token")


def too_many(error: OverLimit, headers: Mapping[str, str], *, seconds: float = 1.0) -> web.Response:
    """429 (RFC 6585, section 4). `seconds` is when to ask again where the limit doesn't say."""
    retry_after = str(max(1, math.ceil(error.seconds or seconds)))
    return problem(
        HTTPStatus.TOO_MANY_REQUESTS, error.detail, headers={"Retry-After": retry_after, **headers}
    )


def refusal(error: Refused, headers: Mapping[str, str]) -> web.Response:
    """A problem document with the reason, so that a page can tell an expired token from a forged one."""
    status, code = _STATUS.get(error.reason, _WRONG)
    challenge = _SCHEME if code is None else f'{_SCHEME}, error="{code}", error_description="{error.detail}"'
    if status is not HTTPStatus.FORBIDDEN or code is not None:
        headers = {hdrs.WWW_AUTHENTICATE: challenge, **headers}
    return problem(status, error.detail, headers=headers, reason=error.reason.value)
