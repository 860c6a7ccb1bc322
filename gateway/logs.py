"""Logs: structlog, as JSON lines or for a terminal, on stderr.

The standard library's logging (aiohttp, asyncio, redis) passes through the same processors, so every
line of the process has one form: an event, a level, the logger, an ISO 8601 timestamp in UTC, fields.
Whatever looks like a secret is replaced before it is written.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_FIELDS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "jwt_secret",
        "password",
        "publish_token",
        "secret",
        "set-cookie",
        "ticket",
        "token",
    }
)
_HIDDEN: Final = "***"
_URL_USER = re.compile(r"""(\b[a-z][a-z0-9+.-]{0,15}://)[^\s"'<>]{0,512}@""", re.IGNORECASE)
_BEARER = re.compile(r"(\bbearer\s+|\bticket=)[^\s'\",&]+", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]*(?:\.[\w-]*)?", re.ASCII)
"""Every JSON object in base64url that begins with a name begins so; the last part may be cut off."""


def configure(
    log_format: Literal["auto", "json", "console"] = "auto",
    log_level: str = "info",
    *,
    stream: TextIO | None = None,
) -> None:
    """Send all logs of this process to `stream` (stderr by default). May be called again."""
    out = sys.stderr if stream is None else stream
    console = out.isatty() if log_format == "auto" else log_format == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        redact,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
        if console
        else structlog.processors.JSONRenderer(sort_keys=False, default=str, ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(log_level)
    logging.captureWarnings(True)


def set_level(log_level: str) -> None:
    """The least level logged, from now on."""
    logging.getLogger().setLevel(log_level.upper())


def get_logger(name: str = "fanlight") -> structlog.stdlib.BoundLogger:
    """A logger: `log.info("stream ended", reason=..., seconds=...)`."""
    return structlog.stdlib.get_logger(name)


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace fields named like secrets; in any text, the user part of URLs, tokens and tickets."""
    return {key: _HIDDEN if key.lower() in _SECRET_FIELDS else _clean(value) for key, value in event.items()}


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _JWT.sub(_HIDDEN, _BEARER.sub(rf"\1{_HIDDEN}", _URL_USER.sub(rf"\1{_HIDDEN}@", value)))
    if isinstance(value, Mapping):
        return redact(None, "", dict(value))
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value
