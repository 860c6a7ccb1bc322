"""`fanlight check`: whether Redis, the keys and this machine are fit for a node with these settings."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gateway.check.findings import Finding, Severity, failed, fault
from gateway.cli.configuration import SettingsError, load
from gateway.cli.screen import coloured, printable

if TYPE_CHECKING:
    import argparse

_COLOURS: Final = {Severity.OK: "32", Severity.NOTE: "36", Severity.WARNING: "33", Severity.FAULT: "1;31"}
_NARROWEST: Final = 60


def check(options: argparse.Namespace, flags: Mapping[str, object]) -> int:
    """Run it; return the exit status: 1 for a fault, and with `--strict` for a warning."""
    try:
        settings = load(flags, config=options.config)
    except SettingsError as error:
        findings = [fault("settings", text, "mend it: with it, no node starts") for text in error.faults]
    else:
        from gateway.survey import survey

        findings = survey(settings)
    if options.json:
        print(as_json(findings))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(as_lines(findings, colours=coloured(sys.stdout), width=width))
    return int(failed(findings, strict=options.strict))


def as_json(findings: Sequence[Finding]) -> str:
    """An object: how many of each severity, and all findings in order."""
    counts = Counter(finding.severity for finding in findings)
    return json.dumps(
        {
            "counts": {severity.value: counts[severity] for severity in Severity},
            "findings": [
                {
                    "subject": finding.subject,
                    "severity": finding.severity.value,
                    "text": finding.text,
                    "advice": finding.advice,
                }
                for finding in findings
            ],
        },
        ensure_ascii=False,
    )


def as_lines(findings: Sequence[Finding], *, colours: bool = False, width: int | None = None) -> str:
    """A line a finding, folded at `width`, and one that counts them."""
    indent = max(len(finding.subject) for finding in findings) + 11
    lines = []
    for finding in findings:
        mark = f"{finding.severity.value:<8}"
        if colours:
            mark = f"\x1b[{_COLOURS[finding.severity]}m{mark}\x1b[0m"
        said = printable(finding.text + (f" -> {finding.advice}" if finding.advice else ""))
        if width is not None and width - indent >= _NARROWEST // 2:
            said = textwrap.fill(said, width - indent).replace("\n", f"\n{' ' * (indent - 1)}")
        lines.append(f"{mark} {finding.subject:<{indent - 10}}{said}")
    counts = Counter(finding.severity for finding in findings)
    lines.append(", ".join(f"{counts[severity]} {severity.value}" for severity in Severity))
    return "\n".join(lines)
