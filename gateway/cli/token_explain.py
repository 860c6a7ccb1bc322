"""`fanlight token --explain`: what a token says, and what a gateway with these settings makes of it.

It is judged by what judges it in the gateway. Where the settings name an issuer, its keys are fetched.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.auth.claims import grant_of
from gateway.auth.keys import Algorithm, BadKeys, Key, fitting
from gateway.auth.refusals import Refused
from gateway.auth.tokens import Header, read_header, verify
from gateway.cli.screen import printable
from gateway.cli.token import complain
from gateway.http.authority import rules_of, takes_tokens
from gateway.http.current import Configuration, Current
from gateway.http.jwks import Jwks
from gateway.protocol.patterns import Patterns

if TYPE_CHECKING:
    from gateway.auth.grants import Grant
    from gateway.settings import Settings

_MOST_CHARACTERS = 100_000


def explain(settings: Settings, file: str) -> int:
    """Explain the token in a file, or on standard input for `-`. 0 if the gateway would take it, else 1."""
    try:
        text = sys.stdin.read(_MOST_CHARACTERS) if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return complain(f"cannot read {file}: {error}", status=2)
    token = text.strip()
    for name, segment in zip(("header", "claims"), token.split("."), strict=False):
        print(f"{name:<10}{_shown(segment)}")
    try:
        grant = _judge(settings, token)
    except (Refused, BadKeys) as error:
        told = f"{error.reason.value}: {error.detail}" if isinstance(error, Refused) else str(error)
        print(f"{'refused':<10}{told}")
        return 1
    print(f"{'expires':<10}{_when(grant.expires_at)}")
    print(f"{'subscribe':<10}{_listed(grant.subscribe)}")
    if settings.anonymous_subscribe:
        print(f"{'':<10}and as everybody: {', '.join(settings.anonymous_subscribe)}")
    print(f"{'publish':<10}{_listed(grant.publish)}")
    print(f"{'presence':<10}{_listed(grant.presence)}")
    if grant.disconnect:
        print("and may disconnect others")
    return 0


def _judge(settings: Settings, token: str) -> Grant:
    """Raises `Refused`, and `BadKeys` where there is nothing to check it with."""
    if not takes_tokens(settings):
        raise BadKeys(
            "the settings hold nothing to check it with: set FANLIGHT_JWT_SECRET or another of these"
        )
    header = read_header(token, settings.max_token_bytes)
    current = Current(Configuration.read(settings))
    keys = current.keys + _published(current, header)
    payload = verify(token, fitting(keys, header.algorithm, header.key_id))
    return grant_of(payload, rules_of(settings), time.time())


def _published(current: Current, header: Header) -> tuple[Key, ...]:
    url = current.settings.jwks_url
    if url is None or header.algorithm is Algorithm.HS256:
        return ()

    async def fetch() -> tuple[Key, ...]:
        jwks = Jwks(url, current)
        await jwks.fetch()
        if not jwks.keys:
            raise BadKeys(f"the keys at {url} can't be fetched")
        return jwks.keys

    return asyncio.run(fetch())


def _shown(segment: str) -> str:
    """A part of the token as JSON, whether or not its signature is good."""
    try:
        return json.dumps(json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))))
    except (ValueError, RecursionError):
        return f"(not JSON in base64url) {printable(segment[:40])}"


def _when(unix_seconds: float) -> str:
    left = f"in {unix_seconds - time.time():,.0f} s"
    try:
        return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC, {left}"
    except (OverflowError, ValueError, OSError):
        return left


def _listed(patterns: Patterns) -> str:
    return ", ".join(patterns.texts) or "nothing"
