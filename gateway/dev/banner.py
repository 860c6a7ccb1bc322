"""What `fanlight dev` prints: what to open, and what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.dev.embedded import EmbeddedServer
    from gateway.settings import Settings


def welcome(settings: Settings, server: EmbeddedServer | None, *, keep_seconds: float, colours: bool) -> str:
    """The text for stdout once the gateway is ready. It holds the publish token."""
    base = base_url(settings.host, settings.port)
    admin = base_url(settings.admin_host, settings.admin_port)
    program = program_name()
    tail = f"{program} tail clock" + ("" if base == "http://127.0.0.1:8080" else f" --url {base}")
    publish = f'{program} publish news "Hello"'
    if server is None:
        publish += f" --redis-url {shlex.quote(settings.redis_address)}"
    if settings.prefix != "fanlight":
        publish += f" --prefix {settings.prefix}"
    token = settings.publish_token.get_secret_value() if settings.publish_token else ""
    follow = f"curl -N '{base}/events?channel=news'"
    curl = (
        f"curl {base}/publish -H 'Authorization: Bearer {token}' \\\n"
        """      -H 'Content-Type: application/json' -d '{"channel": "news", "data": "Hello"}'"""
    )

    def paint(text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if colours else text

    lines = [
        "",
        f"  {paint('Fanlight is running.', '1')} Open  {paint(base + '/', '1;4;36')}",
        "",
        "  Then, in another terminal:",
        "",
        f"    {paint(tail, '32')}",
        f"    {paint(publish, '32')}",
        f"    {paint(follow, '32')}",
        f"    {paint(curl, '32')}",
        "",
        paint(f"  Redis    {_redis(settings, server)}", "2"),
        paint(f"  Health   {admin}/readyz", "2"),
        paint(f"  Inspect  {admin}/inspect", "2"),
    ]
    if server is not None and keep_seconds:
        lines += [
            "",
            f"  Pull the plug: Ctrl-C or kill -9, start it again within {keep_seconds:g} s, and watch",
            "  the page resume without a hole.",
        ]
    return "\n".join([*lines, ""])


def farewell(keep_seconds: float) -> str:
    """The text for stderr after the end."""
    return (
        f"The embedded server stays for {keep_seconds:g} s: start fanlight dev again within that time, and "
        "open pages resume."
    )


def base_url(host: str, port: int) -> str:
    """An address that a browser on this machine can open."""
    if host in ("0.0.0.0", "::", "*"):  # noqa: S104 - compared
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def program_name() -> str:
    """How to call `fanlight` in another terminal of this directory: by its name where that finds it."""
    called = Path(sys.argv[0])
    if called.name != "fanlight":
        return f"{shlex.quote(sys.executable)} -m gateway.cli"
    found = shutil.which("fanlight")
    # `make dev` runs it out of a virtual environment that the other terminal has not activated.
    if found is not None and "VIRTUAL_ENV" not in os.environ and Path(found).resolve() == called.resolve():
        return "fanlight"
    path = called.resolve(strict=False)
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def _redis(settings: Settings, server: EmbeddedServer | None) -> str:
    if server is None:
        return settings.redis_address
    return f"{server.url}  (embedded, in memory{', still running from before' if server.reused else ''})"
