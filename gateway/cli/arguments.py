"""The flags. Those of `serve` and `dev` are made from the fields of `Settings`, so that no setting is
without a flag, and none is described twice.

A flag that is not given leaves no trace in the result: only so do the environment and the file count.
Values stay text; `Settings` checks them, as it checks a variable's.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args, get_origin

from publisher.channels import MAX_CHANNEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

DEV_DEFAULTS: Final[dict[str, Any]] = {
    "host": "127.0.0.1",
    "demo": True,
    "allowed_origins": ["*"],  # an example opened as a file, a page of another development server
    "anonymous_subscribe": ["*"],
    "drain_wait_seconds": 0.0,
    "drain_seconds": 0.2,  # nobody waits for a balancer here
}
"""Where `fanlight dev` differs from `fanlight serve`. Its Redis and its secrets it makes itself."""

KEEP_SECONDS: Final = 60.0
_METAVARS: Final = {
    "redis_url": "URL",
    "redis_ca_file": "FILE",
    "host": "ADDRESS",
    "admin_host": "ADDRESS",
    "allowed_origins": "ORIGIN",
    "anonymous_subscribe": "PATTERN",
    "personal_channel": "TEMPLATE",
    "jwt_secret": "SECRET",
    "jwt_keys_file": "FILE",
    "jwks_url": "URL",
    "jwks_ca_file": "FILE",
    "token_cookie": "NAME",
    "publish_token": "TOKEN",
}
_SOURCES: Final = (
    "Each setting is also a variable (--max-streams: FANLIGHT_MAX_STREAMS) and a key of the TOML file\n"
    "(max_streams). A flag wins over the variable, the variable over the file. Give secrets by a\n"
    "variable or the file: other users of the machine can read flags."
)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size((100, 24)).columns, 100)
        super().__init__(prog, max_help_position=32 if width >= 80 else 12, width=width)


class _Parser(argparse.ArgumentParser):
    """A wrong flag is one line, not the usage of forty flags; it suggests the nearest."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = getattr(options, "parser", self)
            parser.refuse(rest[0])
        return options

    def refuse(self, word: str) -> NoReturn:
        name = word.partition("=")[0]
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        close = difflib.get_close_matches(name, flags, n=1, cutoff=0.6) if name.startswith("-") else []
        self.error(
            f"unknown {'flag' if name.startswith('-') else 'argument'} {name}"
            + (f", did you mean {close[0]}?" if close else "")
        )


class _Version(argparse.Action):
    """Looked up only when asked for: reading the distribution's metadata takes longer than the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.exit(0, f"fanlight {version()}\n")


def version() -> str:
    """The installed distribution's version."""
    from importlib import metadata

    try:
        return metadata.version("fanlight")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser. The settings become flags only for the `command` that needs them: the import of
    pydantic takes longer than a publish."""
    parser = _Parser(
        prog="fanlight",
        description="Push events from backend services to browsers: Server-Sent Events out of Redis.",
        epilog="fanlight COMMAND --help tells the flags of a command; that of serve, all settings.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_serve(commands, settings=command == "serve")
    _add_check(commands, settings=command == "check")
    _add_dev(commands, settings=command == "dev")
    _add_publish(commands)
    _add_disconnect(commands)
    _add_tail(commands)
    _add_token(commands)
    _add_inspect(commands)
    return parser


def _add(commands: Any, name: str, help: str, **options: Any) -> _Parser:
    parser: _Parser = commands.add_parser(name, help=help, **options)
    parser.set_defaults(parser=parser)
    return parser


def _add_serve(commands: Any, *, settings: bool) -> None:
    parser = _add(
        commands,
        "serve",
        "run a gateway",
        usage="fanlight serve [--config FILE] [SETTING ...]",
        description="Run a gateway: GET /events and POST /publish on the public port; /livez, /readyz and\n"
        "/metrics on the admin port. SIGTERM or Ctrl-C drains it.",
        epilog=_SOURCES,
    )
    _add_config(parser)
    if settings:
        _add_settings(parser, {})


def _add_check(commands: Any, *, settings: bool) -> None:
    parser = _add(
        commands,
        "check",
        "tell whether Redis, keys and machine are fit for serve",
        usage="fanlight check [--config FILE] [--json] [--strict] [SETTING ...]",
        description="Look at what a gateway with these settings would depend on, and tell what to change:\n"
        "Redis (version, rights, memory, latency), keys and certificates, limits of the kernel,\n"
        "ports. It changes nothing. Exit status 1 if there is a fault.",
        epilog=_SOURCES,
    )
    _add_config(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 for a warning, too")
    if settings:
        _add_settings(parser, {})


def _add_dev(commands: Any, *, settings: bool) -> None:
    parser = _add(
        commands,
        "dev",
        "run everything on this machine, to try it: server, gateway, demo page",
        usage="fanlight dev [--config FILE] [SETTING ...]",
        description="Run a gateway with the demo page and with publishing, on the loopback interface.\n"
        "Without --redis-url it brings its own server, in memory.",
        epilog=_SOURCES,
    )
    _add_config(parser)
    parser.add_argument(
        "--keep-seconds",
        type=_seconds,
        default=KEEP_SECONDS,
        metavar="SECONDS",
        help="How long the embedded server outlives this command, so that open pages resume when it is "
        f"started again. (default {KEEP_SECONDS:g}; 0 to 86,400)",
    )
    if settings:
        made = {"redis_url": "its own server", "publish_token": "a random one", "jwt_secret": "a random one"}
        _add_settings(parser, DEV_DEFAULTS | made)


def _add_publish(commands: Any) -> None:
    parser = _add(
        commands,
        "publish",
        "publish an event, or a line of standard input an event",
        usage="fanlight publish CHANNEL [DATA] [FLAG ...]",
        description="Publish DATA to CHANNEL and print the event's id. Without DATA, or with -, every line\n"
        "of standard input is an event. Exit status 1 if anything was not published.",
        epilog="FANLIGHT_REDIS_URL, FANLIGHT_PREFIX and the TOML file count here as well. Where none of\n"
        "these names a server, that of a running fanlight dev is used.",
    )
    parser.add_argument(
        "channel",
        metavar="CHANNEL",
        help=f"1 to {MAX_CHANNEL_BYTES} characters of A-Z a-z 0-9 _ - . : / @ ~",
    )
    parser.add_argument("data", metavar="DATA", nargs="?", help="the event's data, as it is (UTF-8)")
    parser.add_argument("--type", metavar="TYPE", help="the event's type (default: message)")
    parser.add_argument(
        "--idempotency-key",
        metavar="KEY",
        help="publish once, however often it is tried; for standard input, the key of a line is KEY:NUMBER",
    )
    parser.add_argument("--json", action="store_true", help="check that the data is JSON; refuse it if not")
    parser.add_argument(
        "--close", action="store_true", help="end the channel (after DATA, if given): nothing can follow"
    )
    _add_config(parser)
    _add_server(parser)
    for flag, metavar, kind, text in (
        ("--retention-events", "N", _count, "about how many events the channel keeps (default 10,000)"),
        (
            "--retention-seconds",
            "SECONDS",
            _count,
            "how long after its last event it keeps them (default 3,600)",
        ),
    ):
        parser.add_argument(flag, metavar=metavar, type=kind, default=argparse.SUPPRESS, help=text)


def _add_disconnect(commands: Any) -> None:
    parser = _add(
        commands,
        "disconnect",
        "end the streams of a subject, a token or a channel, and keep them closed",
        usage="fanlight disconnect --subject SUBJECT | --token-id JTI | --channel CHANNEL [FLAG ...]",
        description="End what is open, on all gateways, within a second, and refuse the tokens that were\n"
        "issued up to now until they have expired. Those issued afterwards are good.",
        epilog="The server is found as by fanlight publish.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--subject", metavar="SUBJECT", help="of all tokens with this sub")
    target.add_argument("--token-id", metavar="JTI", help="of the token with this jti")
    target.add_argument("--channel", metavar="CHANNEL", help="of all who follow this channel")
    _add_config(parser)
    _add_server(parser)


def _add_server(parser: argparse.ArgumentParser) -> None:
    for flag, metavar, text in (
        ("--redis-url", "URL", "the server (default redis://127.0.0.1:6379/0)"),
        ("--redis-ca-file", "FILE", "certificates, in PEM, that a rediss:// server is trusted by"),
        ("--prefix", "PREFIX", "what every key of the installation begins with (default fanlight)"),
    ):
        parser.add_argument(flag, metavar=metavar, default=argparse.SUPPRESS, help=text)


def _add_tail(commands: Any) -> None:
    parser = _add(
        commands,
        "tail",
        "follow channels, over HTTP",
        usage="fanlight tail CHANNEL ... [FLAG ...]",
        description="Show the events of channels as they arrive: id, type, data, latency (by this machine's\n"
        "clock). Reconnects and resumes by itself; ends when all the channels are closed.",
    )
    parser.add_argument("channels", metavar="CHANNEL", nargs="+", help="a channel to follow")
    parser.add_argument(
        "--url",
        metavar="URL",
        default="http://127.0.0.1:8080",
        help="the gateway (default http://127.0.0.1:8080)",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--last", metavar="N", type=_count, help="begin with the newest N events of each channel"
    )
    start.add_argument("--last-event-id", metavar="ID", help="resume after this event")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.add_argument(
        "--token-file", metavar="FILE", help="send the token in this file, or on standard input for -"
    )


def _add_token(commands: Any) -> None:
    parser = _add(
        commands,
        "token",
        "make a token for development, or explain one",
        usage="fanlight token [--subscribe PATTERN] [--publish PATTERN] [--presence PATTERN] [--disconnect]\n"
        "                      [--sub SUBJECT] [--seconds N]\n"
        "       fanlight token --explain FILE",
        description="Print a token that is signed with the gateway's secret (jwt_secret; HS256), or with\n"
        "that of a running fanlight dev. With --explain, tell what a token says, and whether the\n"
        "gateway takes it: exit status 1 if it does not.",
        epilog="The settings come from FANLIGHT_... variables and the TOML file, as those of fanlight serve.",
    )
    for flag, text in (
        ("--subscribe", "a channel, or a pattern, to follow"),
        ("--publish", "to publish to"),
        ("--presence", "of which it may ask how many follow it"),
    ):
        parser.add_argument(
            flag, metavar="PATTERN", action="append", default=[], help=f"{text}; may be given again"
        )
    parser.add_argument("--disconnect", action="store_true", help="it may disconnect others")
    parser.add_argument("--sub", metavar="SUBJECT", help="whose token it is")
    parser.add_argument(
        "--seconds", metavar="N", type=_count, default=3600, help="how long it is good (default 3,600)"
    )
    parser.add_argument(
        "--explain", metavar="FILE", help="explain the token in this file; - for standard input"
    )
    _add_config(parser)


def _add_inspect(commands: Any) -> None:
    parser = _add(
        commands,
        "inspect",
        "show all nodes, channels, laggards and what has changed",
        usage="fanlight inspect [--channel CHANNEL | --prefix PREFIX] [--once] [--json] [FLAG ...]",
        description="Ask a gateway's admin port how all nodes are, and show it, again and\n"
        "again until Ctrl-C; once where the output is no terminal.",
        epilog="The same as a page: /inspect on the admin port.",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        default="http://127.0.0.1:9090",
        help="the admin port of any node (default http://127.0.0.1:9090)",
    )
    of = parser.add_mutually_exclusive_group()
    of.add_argument("--channel", metavar="CHANNEL", help="this channel only, followed or not")
    of.add_argument("--prefix", metavar="PREFIX", help="channels whose names begin so")
    parser.add_argument(
        "--limit", metavar="N", type=_count, help="how many channels (default 20, at most 100)"
    )
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_seconds, default=2.0, help="how often to ask (default 2)"
    )
    parser.add_argument("--once", action="store_true", help="show it once")
    parser.add_argument("--json", action="store_true", help="print it once, as a JSON object")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help="A TOML file with settings. (variable FANLIGHT_CONFIG)"
    )


def _add_settings(parser: argparse.ArgumentParser, defaults: Mapping[str, Any]) -> None:
    from gateway.settings import Settings

    groups: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        group = str((field.json_schema_extra or {})["group"])  # type: ignore[index]
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        _add_setting(
            groups[group], name, field, defaults.get(name, field.get_default(call_default_factory=True))
        )


def _add_setting(group: Any, name: str, field: FieldInfo, default: object) -> None:
    from gateway.cli.configuration import flag_of

    options: dict[str, Any] = {
        "dest": name,
        "default": argparse.SUPPRESS,
        "help": f"{field.description} ({_facts(name, default)})".replace("%", "%%"),
    }
    if field.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["metavar"] = _metavar(name, field)
        if field.annotation == list[str]:
            options["action"] = "append"
    group.add_argument(flag_of(name), **options)


def _facts(name: str, default: object) -> str:
    """A setting's default with its unit, and its limits."""
    from gateway.cli.bounds import limits_of, unit_of

    if isinstance(default, bool):
        return "default yes" if default else "default no"
    if default in (None, []):
        return "default: none"
    if isinstance(default, list):
        return f"default {','.join(default)}"
    if not isinstance(default, (int, float)):
        return f"default {default}"
    if name.endswith("port"):  # a port is a name, not a number: no thousands separator
        return f"default {default}"
    shown = f"{default:,}" if isinstance(default, int) else f"{default:,g}"
    unit, (low, high) = unit_of(name), limits_of(name)
    return f"default {shown}{f' {unit}' if unit else ''}; {low} to {high}"


def _metavar(name: str, field: FieldInfo) -> str:
    from gateway.cli.bounds import unit_of

    if name in _METAVARS:
        return _METAVARS[name]
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    if field.annotation in (int, float):
        return {"s": "SECONDS", "bytes": "BYTES", "ms": "MS"}.get(unit_of(name) or "", "N")
    return name.rpartition("_")[2].upper()


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"expected a number of seconds from 0 to 86,400, not {text!r}")
    return value
