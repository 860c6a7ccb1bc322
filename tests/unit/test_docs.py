"""What the documents say, held against the code: links, settings, gap reasons, metrics."""

from __future__ import annotations

import inspect
import re
import unicodedata
from pathlib import Path

import pytest

from gateway.auth.refusals import Refusal
from gateway.cli import COMMANDS
from gateway.cli.configuration import flag_of
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GapReason
from gateway.settings import ENV_PREFIX, Settings
from publisher import Publisher
from tests.support.metrics_reference import documented

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Not chosen"]

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
UNIT = re.compile(r"[a-z]+(?:_[a-z]+)*_(?:seconds|bytes|ms)")
METRIC = re.compile(r"\bfanlight_[a-z_]+\b")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """The fragments that GitHub makes of headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        kept = (c for c in heading.lower() if c in "-_ " or unicodedata.category(c)[0] in "LN")
        found.add("".join(kept).replace(" ", "-"))
    return found


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = path.parent / name if name else path
        leads = not name.startswith("/") and target.exists()
        if not leads or (fragment and fragment not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_link_leads_somewhere(name: str) -> None:
    assert broken_links(ROOT / name) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text("[a](no.md) [b](#no) [c](x.md#no) [d](#is-here) [e](https://x.example/)\n# Is here\n")
    assert broken_links(document) == ["no.md", "#no", "x.md#no"]


def test_all_documents_are_looked_at() -> None:
    assert {"README.md", "docs/protocol.md", "docs/decisions/README.md"} <= set(names(DOCUMENTS))
    assert sum(len(LINK.findall(prose(path))) for path in DOCUMENTS) > 50


def test_the_index_names_every_document() -> None:
    index = (ROOT / "docs/README.md").read_text()
    missing = [
        path.name
        for path in (ROOT / "docs").iterdir()
        if path.name != "README.md" and f"]({path.name}" not in index and not path.is_dir()
    ]
    assert missing == []


# Settings.

OPTIONS = set(inspect.signature(Publisher).parameters)
KNOWN = set(Settings.model_fields) | OPTIONS
SETTING_TABLES = ["README.md", "docs/architecture.md"]
OTHER_FLAGS = {"--config", "--help", "--json", "--keep-seconds", "--last", "--last-event-id", "--url"}
OTHER_FLAGS |= {"--type", "--idempotency-key", "--close", "--token-file"}
OTHER_FLAGS |= {"--strict"}
OTHER_FLAGS |= {"--subscribe", "--publish", "--sub", "--seconds", "--explain"}
OTHER_FLAGS |= {"--presence", "--prefix", "--once", "--limit", "--interval"}
OTHER_FLAGS |= {"--subject", "--token-id", "--channel", "--disconnect"}


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_setting_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    words = {word for code in CODE.findall(prose(ROOT / name)) for word in re.findall(r"[a-z_]+", code)}
    named = {word for word in words if UNIT.fullmatch(word) or word.startswith(("max_", "retention_"))}
    # The second is nginx's, the last a field of a log line.
    others = {"max_", "max_fails", CloseReason.MAX_AGE.value, "pause_seconds"}
    assert {word for word in named - KNOWN - others if not METRIC.fullmatch(word)} == set()
    variables = set(re.findall(rf"\b{ENV_PREFIX}([A-Z][A-Z_]+)", text)) - {
        "CONFIG",
        "TEST_REDIS",
        "TEST_HELM",
    }
    assert variables <= {setting.upper() for setting in Settings.model_fields}


def settings_in_tables(name: str) -> set[str]:
    """The settings in the tables that have a column of them."""
    found = set()
    for table in re.findall(r"(?:^\|.*\n)+", (ROOT / name).read_text(), re.MULTILINE):
        head, *rows = table.splitlines()
        columns = [cell.strip() for cell in head.strip("|").split("|")]
        if "setting" in columns:
            for row in rows[1:]:
                cell = row.strip("|").split("|")[columns.index("setting")]
                found |= set(CODE.findall(cell))
    return found


@pytest.mark.parametrize("name", SETTING_TABLES)
def test_tables_of_settings_hold_settings(name: str) -> None:
    found = settings_in_tables(name)
    assert len(found) > 5
    assert found <= set(Settings.model_fields)


def shown(default: object) -> str:
    """A default as the README shows it."""
    if default in (None, []):
        return "none"
    return f"{default:,g}" if isinstance(default, int | float) else f"`{default}`"


def test_the_defaults_in_the_readme_are_the_defaults() -> None:
    row = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]+) \|", re.MULTILINE)
    rows = row.findall((ROOT / "README.md").read_text())
    assert len(rows) > 5
    defaults = Settings.model_validate({})
    for cell, told in rows:
        assert ", ".join(shown(getattr(defaults, name)) for name in CODE.findall(cell)) == told, cell


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_flag_of_ours_that_is_shown_exists(name: str) -> None:
    flags = OTHER_FLAGS | {flag_of(setting) for setting in Settings.model_fields}
    ours = "|".join(COMMANDS)
    commands = re.findall(rf"\bfanlight (?:{ours})\b[^`\n]*", (ROOT / name).read_text())
    used = {flag for command in commands for flag in re.findall(r"(?<!\S)--[a-z][a-z-]+", command)}
    assert used <= flags


# What the gateway tells.


def rows_under(heading: str, document: str = "docs/protocol.md") -> set[str]:
    """The code in the first cells of the table in a section."""
    section = re.split(r"^#+ ", (ROOT / document).read_text(), flags=re.MULTILINE)
    [text] = [part for part in section if part.startswith(f"{heading}\n")]
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def test_the_gap_reasons_are_those_of_the_gateway() -> None:
    assert rows_under("fanlight.gap") == {reason.value for reason in GapReason}


def test_the_reasons_of_refusals_are_those_of_the_gateway() -> None:
    assert rows_under("Refusals") == {reason.value for reason in Refusal}


def test_the_close_reasons_are_those_of_the_gateway() -> None:
    assert rows_under("When a stream ends") == {reason.value for reason in CloseReason}


def test_the_metrics_that_are_named_exist() -> None:
    """By the reference, which is held against a real scrape."""
    named = {metric for path in DOCUMENTS for metric in METRIC.findall(path.read_text())} - {"fanlight_"}
    assert len(named) > 10
    assert named <= documented().keys()


# Decisions.


@pytest.mark.parametrize("name", names(DECISIONS))
def test_a_decision_has_its_form(name: str) -> None:
    path = ROOT / name
    text = path.read_text()
    number, title = path.name[:4], text.splitlines()[0]
    assert title.startswith(f"# {number}: ")
    assert re.search(r"^\*\*Status:\*\* (accepted|replaced by )", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"| [{number}]({path.name}) | {title[8:]} |" in (ROOT / "docs/decisions/README.md").read_text()


# Snippets.


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_python_snippets_are_python(name: str) -> None:
    text = (ROOT / name).read_text()
    for snippet in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        compile(snippet, name, "exec")


def test_the_readme_has_snippets() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(re.findall(r"^```python$", text, re.MULTILINE)) >= 3
    for language in ("sh", "js"):
        assert f"```{language}\n" in text
