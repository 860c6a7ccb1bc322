"""What these tests need from the machine: without it they are skipped, except in CI, where they fail."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--in-process-gpu",  # one process less to start: 0.5 s of CPU
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def require(found: str | None, what: str) -> str:
    """`found`, if there is something; else the test is skipped, or fails where CI is set."""
    if found is not None:
        return found
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(f"needs {what}")
    pytest.fail(f"needs {what}; nothing is skipped in CI", pytrace=False)


def installed_chromium() -> str:
    """The installed Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return require(found, "chromium on PATH (Debian, Ubuntu: apt install chromium)")
