"""Logs: one form for all of the process, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_a_json_object_with_a_utc_timestamp() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    logs.get_logger("fanlight.test").info("stream ended", reason="drain", seconds=1.5)
    [line] = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert (line.pop("event"), line.pop("level")) == ("stream ended", "info")
    assert line == {"logger": "fanlight.test", "reason": "drain", "seconds": 1.5}


def test_the_standard_library_goes_the_same_way() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    logging.getLogger("aiohttp.server").error("Error handling %s", "request", extra={"peer": "::1"})
    [line] = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert (line.pop("event"), line.pop("level")) == ("Error handling request", "error")
    assert line == {"logger": "aiohttp.server", "peer": "::1"}


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    logs.configure("auto", stream=terminal)
    logs.get_logger().info("hello")
    logs.configure("auto", stream=pipe)
    logs.get_logger().info("hello")
    assert "hello" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()
    assert lines(pipe)[0]["event"] == "hello"


def test_what_is_below_the_level_is_not_written() -> None:
    out = io.StringIO()
    logs.configure("json", "warning", stream=out)
    log = logs.get_logger()
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_is_written(log_format: Any) -> None:
    out = io.StringIO()
    logs.configure(log_format, stream=out)
    log = logs.get_logger()
    log.info("connected", url="redis://user:hunter2@host:1/0", headers={"Authorization": "Bearer hunter2"})
    log.info("asked by redis://:hunter2@host", publish_token="hunter2", seen=["Bearer hunter2"])
    logging.getLogger("aiohttp").info("Authorization: Bearer %s", "hunter2")
    log.info("asked", path="/events?channel=a&ticket=hunter2&last=1", jwt_secret="hunter2", ticket="hunter2")
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIyIjoxfQ.aHVudGVyMg"
    log.info(f"cookie a={jwt}; b", values=[jwt, {"x": f"<{jwt[:30]}>"}])
    try:
        raise ValueError("cannot connect to redis://:hunter2@host")
    except ValueError:
        log.exception("failed")
    text = out.getvalue()
    assert "hunter2" not in text
    assert "eyJ" not in text
    assert "ticket=***&last=1" in text
    assert "redis://***@host" in text
    assert "cannot connect" in text
