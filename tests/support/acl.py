"""The users of Redis that docs/security.md gives, read out of the document, and taken apart."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
Rules = tuple[str, ...]
"""What follows the name in ACL SETUSER. One in parentheses is a selector."""


def documented_users(prefix: str, password: str) -> dict[str, Rules]:
    """Name and rules of each, with this prefix and password in place of the document's."""
    users: dict[str, Rules] = {}
    text = DOCUMENT.read_text().replace("\\\n", " ")
    for line in re.findall(r"^ *redis-cli .* ACL SETUSER (.*)$", text, re.MULTILINE):
        name, *rules = shlex.split(line)
        assert name not in users, "each user is given once, whole"
        users[name] = tuple(
            f">{password}" if rule.startswith(">") else rule.replace("{fanlight:0}", f"{{{prefix}:0}}")
            for rule in rules
        )
    return users


def each_without_a_right(rules: Rules) -> Iterator[tuple[str, Rules]]:
    """The rules without one command, key or channel each time; also of those within a selector."""
    for at, rule in enumerate(rules):
        if rule.startswith("("):
            parts = rule[1:-1].split()
            for inner, part in enumerate(parts):
                rest = " ".join(parts[:inner] + parts[inner + 1 :])
                yield f"{part} in {rule}", (*rules[:at], f"({rest})", *rules[at + 1 :])
        elif rule[0] in "+~%&":
            yield rule, (*rules[:at], *rules[at + 1 :])
