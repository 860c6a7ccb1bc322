"""The command line: `fanlight serve`, `check`, `dev`, `publish`, `disconnect`, `tail`, `token` and
`inspect`.

Importing this is cheap; what a subcommand needs is imported when it runs. Exit status: 0 for success,
1 for a failure that was told on stderr, 2 for wrong flags, settings or data, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.settings import Settings

COMMANDS = ("serve", "check", "dev", "publish", "disconnect", "tail", "token", "inspect")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fanlight` with `argv` (by default the process's) and return its exit status.

    Raises SystemExit only after `--help`, `--version` or a wrong flag.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("gateway", "publisher"):
            raise
        print(f"fanlight: {error.name} is not installed: pip install 'fanlight[gateway]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`fanlight tail clock | head`). Python flushes stdout at
        # exit and would complain; what a killed `cat` gives the shell is 128 + SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(words: list[str]) -> int:
    from gateway.cli.arguments import build_parser

    command = next((word for word in words if word in COMMANDS), None)
    parser = build_parser(command)
    options = parser.parse_args(words)
    match options.command:
        case "serve":
            return _serve(options)
        case "check":
            from gateway.cli.check import check

            return check(options, _flags(options))
        case "dev":
            return _dev(options)
        case "publish":
            from gateway.cli.publish import publish

            return publish(options)
        case "disconnect":
            from gateway.cli.disconnect import disconnect

            return disconnect(options)
        case "tail":
            from gateway.cli.tail import tail

            return tail(options)
        case "token":
            from gateway.cli.token import token

            return token(options)
        case "inspect":
            from gateway.cli.inspect import inspect

            return inspect(options)
        case _:
            parser.print_help()
            return 0


def _serve(options: argparse.Namespace) -> int:
    import asyncio
    import signal

    asked_to_reload = asyncio.Event()
    signal.signal(
        signal.SIGHUP, lambda *_: asked_to_reload.set()
    )  # from now on: by default it ends a process
    from gateway import logs
    from gateway.cli.configuration import SettingsError, load

    def read() -> Settings:
        return load(_flags(options), config=options.config)

    try:
        settings = read()
    except SettingsError as error:
        return refuse_settings(error.faults)
    logs.configure(settings.log_format, settings.log_level)
    from gateway.auth.keys import BadKeys
    from gateway.http.authority import NOBODY, serves_nobody
    from gateway.http.current import Configuration
    from gateway.http.jwks import tls_context
    from gateway.reload import Reloading

    try:
        configuration = Configuration.read(settings)
        if settings.jwks_ca_file is not None:  # the system's own take 30 ms to load
            tls_context(settings.jwks_ca_file)  # for the faults alone
    except BadKeys as error:
        return refuse_settings([str(error)])
    if serves_nobody(settings):
        logs.get_logger("access").warning("nobody_may_subscribe", hint=NOBODY)
    reloading = Reloading(read, asked_to_reload)
    if settings.workers > 1:
        from gateway import workers

        return workers.serve(configuration, reloading)
    from gateway import lifecycle

    return lifecycle.serve(configuration, reloading=reloading)


def _dev(options: argparse.Namespace) -> int:
    from gateway import logs
    from gateway.cli.arguments import DEV_DEFAULTS
    from gateway.cli.configuration import SettingsError, load

    try:
        settings = load(_flags(options), config=options.config, defaults=DEV_DEFAULTS)
    except SettingsError as error:
        return refuse_settings(error.faults)
    if settings.workers > 1:
        return refuse_settings(["workers: fanlight dev runs one process; fanlight serve runs more"])
    logs.configure(settings.log_format, settings.log_level)
    from gateway import dev

    return dev.run(settings, keep_seconds=options.keep_seconds)


def _flags(options: argparse.Namespace) -> dict[str, object]:
    """The settings among the options: flags that were not given are absent."""
    from gateway.settings import Settings

    return {name: value for name, value in vars(options).items() if name in Settings.model_fields}


def refuse_settings(faults: Sequence[str]) -> int:
    """Tell each fault in a line of its own; the exit status for wrong settings."""
    for fault in faults:
        print(f"fanlight: {fault}", file=sys.stderr)
    return 2
