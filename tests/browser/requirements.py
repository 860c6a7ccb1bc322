"""What these tests need from the machine: without it they are skipped, except in CI, where they fail."""

from __future__ import annotations

import os

import pytest


def require(found: str | None, what: str) -> str:
    """`found`, if there is something; else the test is skipped, or fails where CI is set."""
    if found is not None:
        return found
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(f"needs {what}")
    pytest.fail(f"needs {what}; nothing is skipped in CI", pytrace=False)
