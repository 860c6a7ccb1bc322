"""`fanlight dev`: a server, a gateway and the demo page, for someone who wants to see it work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings import Settings

__all__ = ["run"]


def run(settings: Settings, *, keep_seconds: float = 60.0) -> int:
    """Run until SIGINT or SIGTERM; return the exit status. The embedded server stays for
    `keep_seconds` after that."""
    from gateway.dev.session import run_session  # late: the keeper imports this package too

    return run_session(settings, keep_seconds=keep_seconds)
