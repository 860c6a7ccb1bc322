"""What is said of the surroundings, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad it is, from nothing to: a node would not do its work."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; or could not be found out."""
    WARNING = "warning"
    """Works now, and will fail under load, or one day."""
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. It holds nothing secret."""

    subject: str
    severity: Severity
    text: str
    advice: str = ""
    """What to change; empty where nothing has to be."""


def ok(subject: str, text: str) -> Finding:
    return Finding(subject, Severity.OK, text)


def note(subject: str, text: str, advice: str = "") -> Finding:
    return Finding(subject, Severity.NOTE, text, advice)


def warning(subject: str, text: str, advice: str) -> Finding:
    return Finding(subject, Severity.WARNING, text, advice)


def fault(subject: str, text: str, advice: str) -> Finding:
    return Finding(subject, Severity.FAULT, text, advice)


def failed(findings: Iterable[Finding], *, strict: bool = False) -> bool:
    """Whether there is a fault; with `strict`, or a warning."""
    bad = {Severity.FAULT, Severity.WARNING} if strict else {Severity.FAULT}
    return any(finding.severity in bad for finding in findings)
