"""docs/configuration.md, held against the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway.cli.configuration import load
from gateway.settings import RELOADABLE, Settings
from tests.support.settings_reference import BEGIN, DOCUMENT, END, updated

if TYPE_CHECKING:
    from pathlib import Path

TEXT = DOCUMENT.read_text()


def test_the_tables_are_those_that_the_code_makes() -> None:
    """If not: python -m tests.support.settings_reference."""
    assert updated(TEXT) == TEXT


def test_a_change_by_hand_is_undone() -> None:
    changed = TEXT.replace("| 20,000 |", "| 10,000 |", 1)
    assert changed != TEXT
    assert updated(changed) == TEXT


def test_the_comments_around_the_tables_are_needed() -> None:
    for comment in (BEGIN, END):
        with pytest.raises(ValueError, match="lost one of the two comments"):
            updated(TEXT.replace(comment, ""))


def test_every_setting_has_a_row_with_all_cells() -> None:
    split = [line.removeprefix("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| `")]
    rows = {cells[0].strip("`"): cells[1:] for cells in split if len(cells) == 7}
    assert list(rows) == list(Settings.model_fields)
    assert {name for name, cells in rows.items() if cells[4] == "yes"} == RELOADABLE
    assert rows["max_streams"][1:4] == ["`FANLIGHT_MAX_STREAMS`", "20,000", "1 to 10,000,000"]
    assert rows["demo"][0] == "`--demo`, `--no-demo`"
    assert rows["compression"][3] == "`off`, `gzip`"


def test_the_example_of_a_file_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("FANLIGHT_"):
            monkeypatch.delenv(name)
    [example] = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    file = tmp_path / "fanlight.toml"
    file.write_text(example)
    settings = load(config=file)
    assert (settings.prefix, settings.workers, settings.max_streams) == ("shop", 4, 40_000)
    assert settings.allowed_origins == ["https://app.example.com", "https://www.example.com"]
