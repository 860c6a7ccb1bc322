"""`fanlight publish`: an event from the command line, or one for each line of standard input.

Ids go to stdout, one a line; all else to stderr.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from gateway.cli.configuration import SettingsError, load
from gateway.cli.publish_lines import check_json, complain, publish_lines
from publisher import InvalidEvent, Publisher, PublishError, RedisUnreachable
from publisher.channels import validate_channel
from publisher.events import encode_type, validate_idempotency_key

if TYPE_CHECKING:
    import argparse

    from gateway.settings import Settings

_NAMES: Final = ("redis_url", "redis_ca_file", "prefix")


def publish(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    flags = {name: value for name, value in vars(options).items() if name in _NAMES}
    try:
        settings = load(flags, config=options.config)
        validate_channel(options.channel)
        encode_type(options.type)
        if options.idempotency_key is not None:
            validate_idempotency_key(options.idempotency_key)
    except SettingsError as error:
        for fault in error.faults:
            complain(fault)
        return 2
    except InvalidEvent as error:
        return complain(str(error), status=2)
    named = "redis_url" in settings.model_fields_set
    try:
        with Publisher(
            settings.redis if named else default_url(settings),
            prefix=settings.prefix,
            retention_events=getattr(options, "retention_events", settings.retention_events),
            retention_seconds=getattr(options, "retention_seconds", settings.retention_seconds),
            max_event_bytes=settings.max_event_bytes,
        ) as publisher:
            return _publish(publisher, settings, options)
    except RedisUnreachable as error:
        hint = "" if named else "; name the server with --redis-url, or start fanlight dev"
        return complain(f"{error}{hint}")
    except InvalidEvent as error:  # the arguments' data, or a retention out of range
        return complain(str(error), status=2)
    except PublishError as error:
        return complain(str(error))


def _publish(publisher: Publisher, settings: Settings, options: argparse.Namespace) -> int:
    status = 0
    if options.data not in (None, "-"):
        if options.json:
            check_json(options.data)
        published = publisher.publish(
            options.channel, options.data, type=options.type, idempotency_key=options.idempotency_key
        )
        print(published.id, flush=True)
        if published.duplicate:
            complain("published before, under this id", status=0)
    elif options.data == "-" or not options.close:
        status = publish_lines(publisher, settings.max_event_bytes, options)
    if options.close:
        print(publisher.close(options.channel).id, flush=True)
    return status


def default_url(settings: Settings) -> str:
    """The server of a running `fanlight dev`, else the default."""
    from gateway.dev.embedded import running_url

    url = running_url()
    if url is not None and sys.stderr.isatty():
        print(f"(to the server of fanlight dev, {url})", file=sys.stderr)
    return url or settings.redis_url
