"""One run of `fanlight dev`: ports, the server, the gateway with the demo's extras, what is printed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from gateway import lifecycle
from gateway.auth.keys import BadKeys
from gateway.dev import banner
from gateway.dev.answers import Answers
from gateway.dev.clock import tick
from gateway.dev.embedded import EmbeddedServer, NoServer, embedded_server, jwt_secret, publish_token
from gateway.dev.routes import Demo
from gateway.http.current import Configuration

if TYPE_CHECKING:
    from gateway.settings import Settings

DEFAULT_ADMIN_PORT: Final = 9090


class PortTaken(Exception):
    """Somebody listens there already. The message says what to do."""


def run_session(settings: Settings, *, keep_seconds: float) -> int:
    """Run until SIGINT or SIGTERM; return the exit status."""
    try:
        settings = _with_ports(settings)
        with contextlib.ExitStack() as stack:
            server: EmbeddedServer | None = None
            if "redis_url" not in settings.model_fields_set:
                server = stack.enter_context(embedded_server(keep_seconds=keep_seconds))
                settings = settings.model_copy(update={"redis_url": server.url})
            settings = _with_secrets(settings)
            status = _serve(settings, server, keep_seconds)
    except (PortTaken, NoServer, BadKeys) as error:
        print(f"fanlight dev: {error}", file=sys.stderr)
        return 1
    if server is not None and keep_seconds and sys.stderr.isatty():
        print(banner.farewell(keep_seconds), file=sys.stderr)
    return status


def _serve(settings: Settings, server: EmbeddedServer | None, keep_seconds: float) -> int:
    answers = Answers(settings)
    demo = Demo(settings, answers)

    def announce() -> None:
        text = banner.welcome(settings, server, keep_seconds=keep_seconds, colours=sys.stdout.isatty())
        print(text, flush=True)

    return lifecycle.serve(
        Configuration.read(settings),
        extra_routes=demo.add_routes,
        background=(lambda: tick(settings), answers.run),
        on_ready=announce,
    )


def _with_secrets(settings: Settings) -> Settings:
    """With a publish token and a secret for tokens, where none are set."""
    made = {}
    for name, kept in (("publish_token", publish_token), ("jwt_secret", jwt_secret)):
        if getattr(settings, name) is None:
            try:
                made[name] = SecretStr(kept())
            except (NoServer, OSError):
                made[name] = SecretStr(
                    secrets.token_urlsafe(24)
                )  # nowhere to keep it: good until the next start
    return settings.model_copy(update=made)


def _with_ports(settings: Settings) -> Settings:
    """Settings whose ports are free, and known: 0 is replaced. The admin port gives way where it was
    not asked for: 9090 is also Prometheus'."""
    port = _free_port(settings.host, settings.port)
    if port is None:
        raise PortTaken(
            f"port {settings.port} on {settings.host} is taken, perhaps by another fanlight dev; "
            f"stop that one, or take another port: fanlight dev --port {settings.port + 1}"
        )
    admin_port = _free_port(settings.admin_host, settings.admin_port)
    if admin_port is None and "admin_port" not in settings.model_fields_set:
        admin_port = _free_port(settings.admin_host, 0)
    if admin_port is None:
        raise PortTaken(f"port {settings.admin_port} on {settings.admin_host} (--admin-port) is taken")
    return settings.model_copy(update={"port": port, "admin_port": admin_port})


def _free_port(host: str, port: int) -> int | None:
    """`port` if it can be listened on, a free one for 0, None if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            found: int = probe.getsockname()[1]
            return found
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortTaken(f"can't listen on {host}, port {port}: {reason}") from None
