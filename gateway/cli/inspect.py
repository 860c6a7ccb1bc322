"""`fanlight inspect`: how all nodes are, on the terminal, asked again and again at the admin port of one.

It shows what the page shows (/inspect of that port); what is drawn of it is `gateway.cli.inspect_text`.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from gateway.cli.inspect_text import lines
from gateway.cli.screen import coloured, printable
from gateway.protocol.asking import InspectRequest
from gateway.protocol.request import BadRequest

if TYPE_CHECKING:
    import argparse
    from urllib.parse import SplitResult

_PATIENCE_SECONDS: Final = 15.0
_MOST_BYTES: Final = 16_777_216
_HOME, _TO_THE_END, _REST_OF_LINE = "\x1b[H", "\x1b[J", "\x1b[K"
_ANOTHER_SCREEN, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class NoAnswer(Exception):
    """Nobody, or something else, answers there. The text says what to do."""


def inspect(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    asked = [
        (name, str(value))
        for name, value in (
            ("channel", options.channel),
            ("prefix", options.prefix),
            ("limit", options.limit),
        )
        if value is not None
    ]
    try:
        InspectRequest.parse(asked)
        url = _checked(options.url)
    except (BadRequest, ValueError) as error:
        return complain(str(error), status=2)
    try:
        if options.json:
            print(json.dumps(snapshot(url, asked), ensure_ascii=False))
        elif options.once or not sys.stdout.isatty():
            print("\n".join(lines(snapshot(url, asked), _width(), colours=coloured(sys.stdout))))
        else:
            _watch(url, asked, max(options.interval, 0.2))
    except NoAnswer as error:
        return complain(str(error), status=1)
    return 0


def _watch(url: SplitResult, asked: list[tuple[str, str]], interval_seconds: float) -> None:
    """Until Ctrl-C, on a screen of its own. A node that does not answer for a while is asked again."""
    colours = coloured(sys.stdout)
    shown = lines(snapshot(url, asked), _width(), colours=colours)
    print(_ANOTHER_SCREEN, end="")
    try:
        while True:
            height = shutil.get_terminal_size().lines
            text = "".join(f"{line}{_REST_OF_LINE}\r\n" for line in shown[: height - 1])
            print(f"{_HOME}{text}{_TO_THE_END}", end="", flush=True)
            time.sleep(interval_seconds)
            try:
                shown = lines(snapshot(url, asked), _width(), colours=colours)
            except NoAnswer as error:
                shown = [printable(str(error)), "", *shown[2:]]
    finally:
        print(_BACK, end="", flush=True)


def snapshot(url: SplitResult, asked: list[tuple[str, str]]) -> dict[str, Any]:
    """What the node says. Raises `NoAnswer`."""
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", f"{url.path.rstrip('/')}/inspect/snapshot?{urlencode(asked)}")
        response = connection.getresponse()
        body = response.read(_MOST_BYTES)
    except TimeoutError:
        raise NoAnswer(f"{url.netloc} does not answer") from None
    except (OSError, HTTPException) as error:
        raise NoAnswer(f"nobody answers at {url.netloc}: {error}; is --url the admin port?") from None
    finally:
        connection.close()
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and response.status == 200 and "nodes" in answer:
        return answer
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if response.status in (200, 404) or detail is None:
        raise NoAnswer(f"{url.netloc} answered {response.status} to an inspector; is it the admin port?")
    raise NoAnswer(f"{url.netloc} answered {response.status}: {detail}")


def _checked(text: str) -> SplitResult:
    parts = urlsplit(text)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError(f"--url: expected an admin port such as http://127.0.0.1:9090, not {text!r}")
    return parts


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def complain(text: str, *, status: int) -> int:
    """Say it on stderr; return `status`."""
    print(f"fanlight inspect: {printable(text)}", file=sys.stderr)
    return status
