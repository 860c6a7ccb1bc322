"""`fanlight token`: make a token for development, or explain one.

A token is signed with the node's secret (HS256), that of a running `fanlight dev` where there is no other.
In production, tokens are made by whoever knows the users: it takes nothing of Fanlight.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

import jwt

from gateway.auth.claims import CLAIM
from gateway.auth.keys import BadKeys
from gateway.cli.configuration import SettingsError, load
from gateway.cli.screen import printable
from gateway.http.authority import takes_tokens
from gateway.http.current import Configuration
from gateway.protocol.patterns import InvalidPattern, Patterns

if TYPE_CHECKING:
    import argparse

    from gateway.settings import Settings


def token(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    try:
        settings = _with_dev_secret(load(config=options.config))
        Configuration.read(settings)
    except (SettingsError, BadKeys) as error:
        return complain(str(error), status=2)
    if options.explain is not None:
        from gateway.cli.token_explain import explain

        return explain(settings, options.explain)
    return _make(settings, options)


def _make(settings: Settings, options: argparse.Namespace) -> int:
    if settings.jwt_secret is None:
        return complain(
            "there is no secret to sign with: set FANLIGHT_JWT_SECRET to what the gateway has, or start "
            "fanlight dev",
            status=2,
        )
    try:
        own: dict[str, Any] = {
            name: Patterns(getattr(options, name)).texts
            for name in ("subscribe", "publish", "presence")
            if name != "presence" or options.presence
        }
    except InvalidPattern as error:
        return complain(str(error), status=2)
    if options.disconnect:
        own["disconnect"] = True
    if options.seconds > settings.max_token_life_seconds:
        most = f"{settings.max_token_life_seconds:,g} s (max_token_life_seconds)"
        return complain(f"{options.seconds:,} s; the gateway takes tokens that live for {most}", status=2)
    now = int(time.time())
    claims: dict[str, Any] = {
        "iat": now,
        "exp": now + options.seconds,
        "jti": secrets.token_hex(8),
        CLAIM: own,
    }
    if options.sub is not None:
        claims["sub"] = options.sub
    if settings.jwt_issuer:
        claims["iss"] = settings.jwt_issuer[0]
    if settings.jwt_audience:
        claims["aud"] = settings.jwt_audience[0]
    made = jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm="HS256")
    if len(made) > settings.max_token_bytes:
        return complain(f"{len(made):,} characters; the gateway takes {settings.max_token_bytes:,}", status=2)
    print(made)
    return 0


def _with_dev_secret(settings: Settings) -> Settings:
    """The secret of a running `fanlight dev`, where the settings hold nothing to check tokens with."""
    from pydantic import SecretStr

    from gateway.dev.embedded import NoServer, jwt_secret, running_url

    if takes_tokens(settings) or running_url() is None:
        return settings
    try:
        return settings.model_copy(update={"jwt_secret": SecretStr(jwt_secret())})
    except (NoServer, OSError):
        return settings


def complain(text: str, *, status: int) -> int:
    """Say it on stderr, a line each; return `status`."""
    for line in text.splitlines():
        print(f"fanlight token: {printable(line)}", file=sys.stderr)
    return status
