"""The unit, held against systemd's own judgement. Nothing is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.proxies import DEPLOY, Change, changed

if TYPE_CHECKING:
    from pathlib import Path

UNIT = DEPLOY / "systemd/fanlight.service"
MOST_EXPOSED = 2.0
"""Of 10; below 4 systemd calls a service well protected."""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The shipped unit, with a program that is there."""
    path = tmp_path / "fanlight.service"
    path.write_text(
        changed(UNIT, [Change("ExecStart=/opt/fanlight/bin/fanlight ", f"ExecStart={sys.executable} ")])
    )
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def test_systemd_understands_all_of_it(unit: Path) -> None:
    result = analyze("verify", "--man=no", "--recursive-errors=no", str(unit))
    assert (result.returncode, result.stderr) == (0, "")


def test_what_systemd_does_not_understand_is_found(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("LimitNOFILE=", "LimitNoFiles="))
    result = analyze("verify", "--man=no", "--recursive-errors=no", str(unit))
    assert "LimitNoFiles" in result.stderr


def test_little_is_exposed(unit: Path) -> None:
    result = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:g}", str(unit))
    assert result.returncode == 0, result.stdout
