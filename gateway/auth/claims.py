"""What a verified token says (JWT, RFC 7519): whether it holds now and here, and what its bearer may do.

    {"exp": 1800000000, "sub": "42", "fanlight": {"subscribe": ["orders.42", "public.*"], "publish": []}}

`exp` is required. A claim of a wrong type refuses the token; claims that are not named here are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.auth.grants import Grant
from gateway.auth.refusals import Refusal, Refused
from gateway.protocol.patterns import InvalidPattern, Patterns, PersonalChannel

CLAIM: Final = "fanlight"
_MOST_SUBJECT: Final = 256


@dataclass(frozen=True, slots=True)
class Rules:
    """What a node asks of every token. Without `issuers`, any will do; without `audiences`, only none."""

    issuers: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    leeway_seconds: float = 0.0
    """By how much an issuer's clock may be ahead: for `nbf` and `iat`. `exp` is exact."""
    personal: PersonalChannel | None = None


def grant_of(payload: bytes, rules: Rules, now: float) -> Grant:
    """What the payload of a verified token grants at `now` (Unix seconds). Raises `Refused`."""
    claims = _object(payload)
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise Refused(Refusal.CLAIMS, "The token has no exp, which it must have.")
    if expires_at <= now:
        raise Refused(Refusal.EXPIRED, "The token has expired: get a new one.")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + rules.leeway_seconds:
            raise Refused(
                Refusal.NOT_YET_VALID, f"The token is not valid yet, by its {name}: check the clocks."
            )
    _check_issuer(claims, rules)
    _check_audience(claims, rules)
    subject = claims.get("sub")
    if subject is not None and not (isinstance(subject, str) and len(subject) <= _MOST_SUBJECT):
        raise Refused(
            Refusal.CLAIMS, f"The token's sub is not a string of at most {_MOST_SUBJECT} characters."
        )
    own = claims.get(CLAIM, {})
    if not isinstance(own, dict):
        raise Refused(Refusal.CLAIMS, f"The token's claim {CLAIM} is not an object.")
    subscribe, publish = _patterns(own, "subscribe"), _patterns(own, "publish")
    channel = rules.personal.of(subject) if rules.personal is not None and subject else None
    if channel is not None:
        subscribe |= Patterns([channel])
    return Grant(subscribe, publish, expires_at, subject)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise Refused(Refusal.MALFORMED, "The token's payload is not a JSON object.")
    return claims


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2). Text that looks like a number is none, nor is a truth value."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        seconds = math.nan
    else:
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    if not math.isfinite(seconds):
        raise Refused(Refusal.CLAIMS, f"The token's {name} is not a number of seconds.")
    return seconds


def _check_issuer(claims: Mapping[str, Any], rules: Rules) -> None:
    issuer = claims.get("iss")
    if rules.issuers and not (isinstance(issuer, str) and issuer in rules.issuers):
        raise Refused(Refusal.ISSUER, "The token's iss is none of those that the gateway takes.")


def _check_audience(claims: Mapping[str, Any], rules: Rules) -> None:
    """A token that was made for others is refused also where no audience is set (RFC 7519, section 4.1.3)."""
    audience = claims.get("aud")
    if audience is None and not rules.audiences:
        return
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise Refused(Refusal.AUDIENCE, "The token's aud is not a string or a list of strings.")
    if rules.audiences.isdisjoint(named):
        detail = "The token's aud does not name this gateway, whose own name is the setting jwt_audience."
        raise Refused(Refusal.AUDIENCE, detail)


def _patterns(own: Mapping[str, Any], name: str) -> Patterns:
    texts = own.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(Refusal.CLAIMS, f"{CLAIM}.{name} in the token is not a list of strings.")
    try:
        return Patterns(texts)
    except InvalidPattern:
        detail = f"{CLAIM}.{name} in the token has an entry that is neither a channel nor a pattern."
        raise Refused(Refusal.CLAIMS, detail) from None
