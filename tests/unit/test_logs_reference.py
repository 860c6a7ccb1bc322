"""docs/logs.md lists every log event of the source, with its levels and fields."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
LOGGERS = {"log", "_log"}
LEVELS = {name: name for name in ("debug", "info", "warning", "error")} | {"exception": "error"}
ROW = re.compile(r"^\| `([^`]+)` \| ([a-z, ]+) \|([^|]*)\| ([^|]+) \|", re.MULTILINE)


class Said(NamedTuple):
    """Of a log event: its levels, and the fields that each of its lines has."""

    levels: frozenset[str]
    fields: frozenset[str]


def is_logger(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("get_logger", "logs.get_logger")
    return (isinstance(node, ast.Attribute) and node.attr in LOGGERS) or (
        isinstance(node, ast.Name) and node.id in LOGGERS
    )


def log_calls(tree: ast.AST) -> Iterator[tuple[str, Said]]:
    """A method may be chosen by a condition: `(log.warning if bad else log.info)(...)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        chosen = [node.func.body, node.func.orelse] if isinstance(node.func, ast.IfExp) else [node.func]
        methods = [
            method.attr
            for method in chosen
            if isinstance(method, ast.Attribute) and method.attr in LEVELS and is_logger(method.value)
        ]
        if not methods:
            continue
        event = node.args[0] if node.args else None
        assert isinstance(event, ast.Constant), f"line {node.lineno}: an event is a literal"
        assert isinstance(event.value, str)
        fields = {keyword.arg or "**" for keyword in node.keywords}
        fields |= {"exception"} if "exception" in methods else set()
        yield event.value, Said(frozenset(LEVELS[method] for method in methods), frozenset(fields))


def in_the_source() -> dict[str, Said]:
    found: dict[str, Said] = {}
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for event, said in log_calls(ast.parse(path.read_text(), str(path))):
            assert found.setdefault(event, said) == said, f"{event} has one meaning ({path})"
    return found


def in_the_reference() -> dict[str, Said]:
    return {
        event: Said(frozenset(levels.split(", ")), frozenset(re.findall(r"`(\w+)`", fields)))
        for event, levels, fields, _ in ROW.findall((ROOT / "docs/logs.md").read_text())
    }


def test_the_reference_is_the_source() -> None:
    source, reference = in_the_source(), in_the_reference()
    assert len(source) > 20
    assert {event: reference.get(event) for event in source} == source
    assert reference.keys() - source.keys() == set()


def test_every_way_to_log_is_seen() -> None:
    text = """
log.info("a", x=1)
self._log.exception("b")
get_logger("n").warning("c", y=2, z=3)
(log.warning if bad else self._log.info)("d")
other.info("e")
"""
    found = dict(log_calls(ast.parse(text)))
    assert found == {
        "a": Said(frozenset({"info"}), frozenset({"x"})),
        "b": Said(frozenset({"error"}), frozenset({"exception"})),
        "c": Said(frozenset({"warning"}), frozenset({"y", "z"})),
        "d": Said(frozenset({"warning", "info"}), frozenset()),
    }


def test_loggers_have_names_that_are_looked_for() -> None:
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and is_logger(node.value):
                assert all(map(is_logger, node.targets)), f"{path}:{node.lineno}"
