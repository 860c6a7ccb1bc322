"""The tables of docs/configuration.md, made from the fields of `Settings`.

`python -m tests.support.settings_reference` writes them anew, between two comments; the rest of the document
is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

from gateway.cli.bounds import limits_of, unit_of
from gateway.cli.configuration import flag_of
from gateway.settings import ENV_PREFIX, RELOADABLE, Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs/configuration.md"
BEGIN: Final = "<!-- made by python -m tests.support.settings_reference -->\n"
END: Final = "<!-- end of what is made -->\n"
_COLUMNS: Final = ("setting", "flag", "variable", "default", "limits", "reload", "meaning")


def updated(text: str) -> str:
    """The document with its tables as the code makes them."""
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"{DOCUMENT.name} has lost one of the two comments around its tables")
    return before + BEGIN + "\n" + tables() + "\n" + END + after


def tables() -> str:
    """A table for each group of settings, in the order of the fields."""
    groups: dict[str, list[str]] = {}
    for name, field in Settings.model_fields.items():
        group = str((field.json_schema_extra or {})["group"])  # type: ignore[index]
        groups.setdefault(group, []).append(_row(*_cells(name, field)))
    head = _row(*_COLUMNS) + _row(*("---",) * len(_COLUMNS))
    return "\n".join(f"### {group}\n\n{head}{''.join(rows)}" for group, rows in groups.items())


def _cells(name: str, field: FieldInfo) -> tuple[str, ...]:
    flag = flag_of(name)
    if field.annotation is bool:
        flag += f"`, `--no-{flag[2:]}"
    return (
        f"`{name}`",
        f"`{flag}`",
        f"`{ENV_PREFIX}{name.upper()}`",
        _default(name, field),
        _limits(name, field),
        "yes" if name in RELOADABLE else "",
        (field.description or "").replace("|", "\\|"),
    )


def _default(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, []):
        return "none"
    if isinstance(value, int | float):
        shown = str(value) if name.endswith("port") else f"{value:,g}" if value < 1e6 else f"{value:,}"
        unit = unit_of(name)
        return f"{shown} {unit}" if unit else shown
    return f"`{value}`"


def _limits(name: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    low, high = limits_of(name)
    return f"{low} to {high}" if low is not None else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
