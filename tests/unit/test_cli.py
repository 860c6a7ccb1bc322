"""The command line without a gateway: flags, help, faults, and what is printed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import COMMANDS, main
from gateway.cli.arguments import build_parser
from gateway.cli.configuration import flag_of
from gateway.cli.lines import LineSplitter
from gateway.cli.screen import Screen, printable
from gateway.cli.tail import Refused, latency_ms, token_reader
from gateway.settings import Settings

NAMES = list(Settings.model_fields)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("FANLIGHT_"):
            monkeypatch.delenv(name)


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["serve", "check", "dev"])
def test_help_tells_each_setting_with_its_default_and_unit(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(command, capsys)
    for name, field in Settings.model_fields.items():
        assert f"{flag_of(name)} " in text or f"{flag_of(name)}," in text
        assert field.description
        assert field.description in text
    assert "(default 3,600 s; 1 to 43,200)" in text
    assert "(default 262,144 bytes; 1 to 16,777,216)" in text
    assert "(default 2,000 ms; 1 to 600,000)" in text


def test_dev_tells_its_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--host ADDRESS The address of the public port. (default 0.0.0.0)" in help_of("serve", capsys)
    assert "--host ADDRESS The address of the public port. (default 127.0.0.1)" in help_of("dev", capsys)


@pytest.mark.parametrize("command", ["publish", "tail"])
def test_the_other_commands_have_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert help_of(command, capsys).startswith(f"usage: fanlight {command} CHANNEL")


def test_without_a_command_it_tells_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert [command for command in COMMANDS if f"\n    {command}" not in text] == []


def test_a_flag_that_is_not_given_leaves_no_trace() -> None:
    options = vars(build_parser("serve").parse_args(["serve", "--port", "1", "--no-demo"]))
    assert {name: value for name, value in options.items() if name in NAMES} == {"port": "1", "demo": False}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serve", "--prot", "1"], "fanlight serve: unknown flag --prot, did you mean --port?"),
        (["serve", "--retention", "1"], "fanlight serve: unknown flag --retention"),
        (["serve", "again"], "fanlight serve: unknown argument again"),
        (["tail"], "fanlight tail: the following arguments are required: CHANNEL"),
        (["tail", "a", "--last", "x"], "fanlight tail: argument --last: expected a whole number, not 'x'"),
        (["dev", "--keep-seconds", "-1"], "expected a number of seconds from 0 to 86,400"),
        (["sevre"], "invalid choice: 'sevre'"),
    ],
)
def test_a_wrong_flag_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert told in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "dev", "publish"])
def test_wrong_settings_stop_the_start(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANLIGHT_PORT", "abc")
    monkeypatch.setenv("FANLIGHT_RETENTION", "3")
    assert main([command, *(["news", "x"] if command == "publish" else [])]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert any("variable FANLIGHT_PORT: expected a whole number" in line for line in lines)
    assert any("variable FANLIGHT_RETENTION: no such setting" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["publish", "bad name", "x"], "bad channel name"),
        (["publish", "news", "x", "--type", "fanlight.x"], "reserved"),
        (["publish", "news", "x", "--redis-url", "http://h"], "expected a URL such as"),
        (["publish", "news", "x", "--retention-seconds", "99999"], "43200"),
        (["tail", "bad name"], "bad channel name"),
        (["tail", "news", "--url", "ftp://h"], "--url: expected the gateway's address"),
    ],
)
def test_a_wrong_argument_is_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    text = capsys.readouterr().err
    assert told in text
    assert text.count("\n") == 1


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    program = "import sys, gateway.cli, gateway.cli.arguments; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "gateway.cli" in loaded
    assert not {"pydantic", "aiohttp", "structlog", "rich", "gateway.settings"} & set(loaded)


# --- tail's token


@pytest.mark.parametrize("text", ["a.b.c", " a.b.c\r\n", "a.b.c\n\n"])
def test_a_token_from_a_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    assert token_reader(str(file))() == "a.b.c"


@pytest.mark.parametrize("text", ["a.b.c\nX: y", "a.b.c\r\n\r\nGET /", "a\x01b", "a\x7fb", "\xe9"])
def test_what_is_no_line_of_a_header_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(Refused, match="cannot read a token from") as caught:
        token_reader(str(file))()
    assert text not in str(caught.value)


# --- tail's screen


def shown(json_lines: bool = False, channels: int = 1) -> tuple[Screen, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Screen(json_lines=json_lines, channels=channels, out=out, err=err), out, err


def test_an_event_has_id_type_data_and_latency() -> None:
    screen, out, _ = shown()
    screen.event("1-0-abcdef", "news", "message", "Hello", 3)
    screen.event("2-0-abcdef", "news", "article", "two\nlines", None)
    assert out.getvalue() == (
        "1-0-abcdef  message  Hello  (3 ms)\n2-0-abcdef  article  two\n    lines  (replayed)\n"
    )


def test_the_channel_is_shown_where_there_are_several() -> None:
    screen, out, _ = shown(channels=2)
    screen.event("1-0-abcdef", "news", "message", "Hello", 3)
    assert out.getvalue() == "1-0-abcdef  news  message  Hello  (3 ms)\n"


def test_json_lines_hold_everything() -> None:
    screen, out, _ = shown(json_lines=True)
    screen.event("1-0-abcdef", "news", "message", "é\n\x1b", 3)
    gap: dict[str, Any] = {"channel": None, "reason": "trimmed", "from": "1-0-abcdef", "to": None}
    screen.gap("1-0-abcdef", gap)
    screen.end("2-0-abcdef", "news")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"id": "1-0-abcdef", "channel": "news", "type": "message", "data": "é\n\x1b", "latency_ms": 3},
        {"id": "1-0-abcdef", "channel": None, "type": "fanlight.gap", "data": gap},
        {"id": "2-0-abcdef", "channel": "news", "type": "fanlight.end", "data": {"channel": "news"}},
    ]


def test_a_gap_says_where_why_and_from_where_to_where() -> None:
    screen, out, _ = shown()
    screen.gap(
        "1-0-abcdef", {"channel": "news", "reason": "trimmed", "from": "1-0-abcdef", "to": "2-0-abcdef"}
    )
    screen.gap("1-0-abcdef", {"channel": None, "reason": "unheard of"})
    assert out.getvalue().splitlines() == [
        "GAP in news: trimmed (the channel keeps fewer events than were missed), 1-0-abcdef to 2-0-abcdef",
        "GAP in all channels: unheard of",
    ]


def test_a_publisher_can_not_write_to_the_terminal() -> None:
    screen, out, err = shown(channels=2)
    screen.event("1-0-abcdef", "news", "a\x1b[2J", "b\x1b]0;title\x07\x9b31m", 3)
    screen.note("\x1b[2J")
    assert not {"\x1b", "\x07", "\x9b"} & set(out.getvalue() + err.getvalue())
    assert printable("tab\tok é 🦊") == "tab\tok é 🦊"


@pytest.mark.parametrize(
    ("id_", "expected"), [("1000-5-abcdef", 7), ("2000-0-abcdef", -993), ("x", None), ("", None)]
)
def test_latency_is_the_local_clock_against_the_id(id_: str, expected: int | None) -> None:
    assert latency_ms(id_, now_ms=1007) == expected


# --- standard input to lines


@given(
    st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"\n").replace(b"\1", b"\r\n")),
    st.integers(1, 7),
)
def test_lines_do_not_depend_on_where_the_input_is_cut(raw: bytes, size: int) -> None:
    splitter = LineSplitter(1000)
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.finish()
    expected = raw.removesuffix(b"\n").split(b"\n") if raw else []
    assert [line.data for line in lines] == [line.removesuffix(b"\r") for line in expected]
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))


def test_a_line_that_is_too_long_is_told_and_not_held() -> None:
    splitter = LineSplitter(4)
    lines = (
        splitter.feed(b"1234\r\n")
        + splitter.feed(b"123")
        + splitter.feed(b"45678\n12\n123456")
        + splitter.finish()
    )
    assert [(line.number, line.data) for line in lines] == [(1, b"1234"), (2, None), (3, b"12"), (4, None)]
