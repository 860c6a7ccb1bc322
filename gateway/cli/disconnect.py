"""`fanlight disconnect`: end what is open of a subject, a token or a channel, and keep it closed.

The id goes to stdout; all else to stderr.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.cli.configuration import SettingsError, load
from gateway.cli.publish import default_url
from gateway.cli.screen import printable
from publisher import InvalidChannel, InvalidRevocation, Publisher, PublishError, RedisUnreachable
from publisher.control import By, Target

if TYPE_CHECKING:
    import argparse

_NAMES: Final = ("redis_url", "redis_ca_file", "prefix")


def disconnect(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    flags = {name: value for name, value in vars(options).items() if name in _NAMES}
    named = {by.value: getattr(options, by.value) for by in By}
    try:
        settings = load(flags, config=options.config)
        Target.of(**named)
    except SettingsError as error:
        return complain("\n".join(error.faults), status=2)
    except (InvalidRevocation, InvalidChannel) as error:
        return complain(str(error), status=2)
    url = settings.redis if "redis_url" in settings.model_fields_set else default_url(settings)
    try:
        with Publisher(url, prefix=settings.prefix, max_revocations=settings.max_revocations) as publisher:
            revoked = publisher.revoke(**named)
    except RedisUnreachable as error:
        return complain(f"{error}; name the server with --redis-url, or start fanlight dev", status=1)
    except PublishError as error:
        return complain(str(error), status=1)
    print(revoked.id)
    print(f"counts until {datetime.fromtimestamp(revoked.until, UTC):%Y-%m-%d %H:%M:%S} UTC", file=sys.stderr)
    return 0


def complain(text: str, *, status: int) -> int:
    """Say it on stderr, a line each; return `status`."""
    for line in text.splitlines():
        print(f"fanlight disconnect: {printable(line)}", file=sys.stderr)
    return status
