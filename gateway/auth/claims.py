"""What a verified token says (JWT, RFC 7519): whether it holds now and here, and what its bearer may do.

    {"iat": 1799999400, "exp": 1800000000, "sub": "42", "jti": "9f3c",
     "fanlight": {"subscribe": ["orders.42", "public.*"], "publish": [], "presence": [], "disconnect": false}}

`exp` is required. A claim of a wrong type refuses the token; claims that are not named here are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.auth.grants import Grant
from gateway.auth.refusals import Refusal, Refused
from gateway.protocol import strict_json
from gateway.protocol.patterns import InvalidPattern, Patterns, PersonalChannel
from publisher.control import MAX_NAME_CHARACTERS, MAX_TOKEN_LIFE_SECONDS

CLAIM: Final = "fanlight"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a node asks of every token. Without `issuers`, any will do; without `audiences`, only none."""

    issuers: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    leeway_seconds: float = 0.0
    """By how much an issuer's clock may be ahead: for `nbf` and `iat`. `exp` is exact."""
    personal: PersonalChannel | None = None
    max_life_seconds: float = MAX_TOKEN_LIFE_SECONDS
    """A revocation counts for so long. A token that could outlive it is refused."""


def grant_of(payload: bytes, rules: Rules, now: float) -> Grant:
    """What the payload of a verified token grants at `now` (Unix seconds). Raises `Refused`."""
    claims = _object(payload)
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise Refused(Refusal.CLAIMS, "The token has no exp, which it must have.")
    if expires_at <= now:
        raise Refused(Refusal.EXPIRED, "The token has expired: get a new one.")
    issued_at = _time(claims, "iat")
    for name, begins_at in (("nbf", _time(claims, "nbf")), ("iat", issued_at)):
        if begins_at is not None and begins_at > now + rules.leeway_seconds:
            raise Refused(
                Refusal.NOT_YET_VALID, f"The token is not valid yet, by its {name}: check the clocks."
            )
    # By the issuer's clock alone where it can be: else that clock may be ahead of this one.
    begun_at = now + rules.leeway_seconds if issued_at is None else issued_at
    if expires_at - begun_at > rules.max_life_seconds:
        raise Refused(
            Refusal.LONG_LIVED,
            f"The token lives for more than {rules.max_life_seconds:g} s (max_token_life_seconds), for which "
            "it could not be revoked: make its exp earlier.",
        )
    _check_issuer(claims, rules)
    _check_audience(claims, rules)
    subject, token_id = _name(claims, "sub"), _name(claims, "jti")
    own = claims.get(CLAIM, {})
    if not isinstance(own, dict):
        raise Refused(Refusal.CLAIMS, f"The token's claim {CLAIM} is not an object.")
    subscribe, publish = _patterns(own, "subscribe"), _patterns(own, "publish")
    presence = _patterns(own, "presence")
    channel = rules.personal.of(subject) if rules.personal is not None and subject else None
    if channel is not None:
        subscribe |= Patterns([channel])
    disconnect = own.get("disconnect", False)
    if not isinstance(disconnect, bool):
        raise Refused(Refusal.CLAIMS, f"{CLAIM}.disconnect in the token is neither true nor false.")
    return Grant(subscribe, publish, expires_at, subject, token_id, issued_at, disconnect, presence)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        claims = strict_json.parse(payload)
    except ValueError:
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


def _name(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None or (isinstance(value, str) and len(value) <= MAX_NAME_CHARACTERS):
        return value
    detail = f"The token's {name} is not a string of at most {MAX_NAME_CHARACTERS} characters."
    raise Refused(Refusal.CLAIMS, detail)


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
