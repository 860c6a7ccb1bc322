"""Who may import whom, as a table, and a checker that reads sources without running them.

An import under `if TYPE_CHECKING` counts like any other: a type from above is knowledge of above.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LAYERS: Final = (
    ("protocol",),
    ("auth", "check"),
    ("broker", "hub", "tracing"),
    ("http",),
    ("inspect", "reload"),
    ("node_metrics",),
    ("app",),
    ("lifecycle",),
    ("dev", "workers", "survey"),
    ("cli",),
)
"""Of the package `gateway`, from the bottom up. Those of one layer don't import each other."""

LEAVES: Final = frozenset({"settings", "logs", "metrics", "garbage", "loop_lag"})
"""May import `gateway.protocol` and no more of the gateway. Not for the pure ones."""

PURE: Final[Mapping[str, frozenset[str]]] = {
    "protocol": frozenset(),
    "auth": frozenset({"cryptography", "jwt"}),
    "check": frozenset(),
    "hub": frozenset(),
}
"""Without I/O, clock and chance, and the other projects that each may use: those that only compute."""

WIRE_CONTRACT: Final = frozenset({"channels", "control", "ids", "payload", "errors", "traceparent"})
"""What the pure layers may import of `publisher`."""

OF_THE_PUBLISHER: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"redis"}),
    "tracing": frozenset({"opentelemetry"}),  # where it is installed
}
"""The other projects that the publisher may use: anywhere, and in one module."""

OUTSIDE: Final = frozenset(
    {
        "asyncio",
        "concurrent",
        "datetime",
        "fcntl",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    }
)
"""Modules of the standard library that reach a clock, a socket, a file or chance."""


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    line: int


def imports(module: str, source: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import of `source`, wherever it stands, by absolute name. `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source, filename=module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                parts = parts[: len(parts) - (node.level - 1)]
                base = ".".join([*parts, base]) if base else ".".join(parts)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
            in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield Import(str(node.args[0].value), node.lineno)


def violations(sources: Mapping[str, str]) -> list[str]:
    """What breaks the rules among `sources`: module name -> text. A package is `name.__init__`."""
    return [
        f"{name}:{item.line} imports {item.module}: {reason}"
        for name, source in sorted(sources.items())
        for module in [name.removesuffix(".__init__")]
        for item in imports(module, source, is_package=module != name)
        if (reason := _objection(module, item.module)) is not None
    ]


def _objection(importer: str, imported: str) -> str | None:
    top, part = _split(importer)
    target, target_part = _split(imported)
    third_party = target not in sys.stdlib_module_names and target not in ("publisher", "gateway")
    if top == "publisher":
        if target == "gateway":
            return "the publisher never imports the gateway"
        if third_party and target not in OF_THE_PUBLISHER[""] | OF_THE_PUBLISHER.get(part, frozenset()):
            return "the publisher's one dependency is redis"
        return None
    if part and part not in LEAVES and _rank(part) is None:
        return f"gateway.{part} has no place in the table of tests/support/layering.py"
    if part in PURE:
        if (third_party and target not in PURE[part]) or target in OUTSIDE:
            return f"gateway.{part} does no I/O, and depends on no other project that does"
        if target == "publisher" and target_part not in WIRE_CONTRACT:
            return f"of the publisher, gateway.{part} takes the wire contract only"
    return _downwards(part, target_part) if target == "gateway" else None


def _downwards(part: str, target: str) -> str | None:
    if not part:
        return "gateway/__init__.py is below all: it imports nothing of the gateway" if target else None
    if part == target or not target:
        return None
    if part in LEAVES:
        return None if target == "protocol" else "a leaf imports gateway.protocol at most"
    rank, target_rank = _rank(part), _rank(target)
    if target in LEAVES:
        return f"gateway.{part} imports no leaf" if part in PURE else None
    if target_rank is None or rank is None:
        return None  # a name of gateway/__init__.py
    return None if target_rank < rank else "imports only go down"


def _split(name: str) -> tuple[str, str]:
    parts = name.split(".")
    return parts[0], parts[1] if len(parts) > 1 else ""


def _rank(part: str) -> int | None:
    return next((rank for rank, layer in enumerate(LAYERS) if part in layer), None)
