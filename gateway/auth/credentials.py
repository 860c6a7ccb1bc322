"""What a request brings along to show who it is: at most one credential counts.

- `Authorization: Bearer` (RFC 6750, section 2.1). Other schemes are somebody else's, a proxy's for instance.
- A ticket in the query: it is worth little, and that only once.
- A cookie, for EventSource, which can send no header. A browser sends it by itself, also for pages of others,
  so it counts only for pages that may use it (`may_use_cookie`), and gives way to the other two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gateway.auth.refusals import Refusal, Refused

_BEARER: Final = re.compile(r"bearer(?![!#$%&'*+.^_`|~\w-]) *(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
"""The scheme's name ends where no character of a name follows (RFC 9110, sections 5.6.2 and 11.1). What is
wrong behind it is a wrong token, and not another scheme, which is somebody else's."""


class Carrier(Enum):
    """How a credential came. Also the label of the metric."""

    HEADER = "header"
    COOKIE = "cookie"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as it came, not looked at yet."""

    carrier: Carrier
    value: str = field(repr=False)


def bearer(authorization: Sequence[str]) -> str | None:
    """The token in the field's lines; None if there is no bearer's. It may be empty. Raises `Refused`."""
    if len(authorization) > 1:
        raise Refused(Refusal.SEVERAL, "Send one Authorization field.")
    match = _BEARER.fullmatch(authorization[0]) if authorization else None
    return None if match is None else match[1]


def cookie(fields: Sequence[str], name: str) -> str | None:
    """The cookie of this name (RFC 6265, section 5.4); None if there is none. Raises `Refused`.

    Two of one name are refused: one of them may have been planted by another host of the domain, and nothing
    says which.
    """
    pairs = [pair.strip(" \t").partition("=") for field in fields for pair in field.split(";")]
    values = [value for key, _, value in pairs if key == name]
    if len(values) > 1:
        raise Refused(
            Refusal.SEVERAL, "The browser has several cookies of the token's name: remove all but one."
        )
    if not values:
        return None
    value = values[0]
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def credential(
    authorization: Sequence[str], ticket: str | None, cookies: Sequence[str], cookie_name: str | None
) -> Credential | None:
    """The request's credential. A cookie is ambient, so it gives way. Raises `Refused`."""
    token = bearer(authorization)
    if token is not None and ticket is not None:
        raise Refused(Refusal.SEVERAL, "Send either a token or a ticket.")
    if token is not None:
        return Credential(Carrier.HEADER, token)
    if ticket is not None:
        return Credential(Carrier.TICKET, ticket)
    value = cookie(cookies, cookie_name) if cookie_name is not None else None
    return None if value is None else Credential(Carrier.COOKIE, value)


def may_use_cookie(
    origin: str | None, fetch_site: str | None, host: str | None, allowed_origins: Collection[str]
) -> bool:
    """Whether the page that made this request may use the browser's cookie.

    `fetch_site` is Sec-Fetch-Site, which a page can't forge; current browsers send it to https and loopback
    addresses. A page of an allowed origin may. So may one of the gateway's own origin, for whose GET a
    browser sends no Origin; and what is no browser, and has neither field. `*` allows nobody here.
    """
    if origin is not None:
        own = fetch_site == "same-origin" or (fetch_site is None and origin == f"http://{host}")
        return own or (origin != "*" and origin in allowed_origins)
    # `none`: the user typed the address. Without an Origin, the others are what a page embeds.
    return fetch_site in (None, "same-origin", "none")
