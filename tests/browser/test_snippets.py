"""The snippets of the documents for users, run as they stand but for their addresses."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from publisher import Publisher
from tests.browser.requirements import require
from tests.support.gateway_process import GatewayProcess
from tests.support.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
BY_HAND = {"In Django", "In FastAPI", "In Celery", "By the script, in Redis", "React"}
"""Headings whose snippets need what the tests don't install."""

PRINTED: Mapping[tuple[str, str, str], list[str]] = {
    ("publishing.md", "Errors", "python"): ["no spaces was refused: "],
    ("publishing.md", "Over HTTP", "sh"): ['"id":', '"failed":1'],
    ("publishing.md", "Node", "js"): ["-"],
    ("subscribing.md", "Browsers", "js"): ["live\nload the order anew\nconnecting\nended\n"],
    ("subscribing.md", "Node", "js"): [
        "word 4\nover: 204\n",
        "message word 4\n",
        "\nover: all channels have ended",
    ],
    ("subscribing.md", "Python", "python"): ["message word 4\nfanlight.end "],
    ("subscribing.md", "curl", "sh"): ["data: word 0\n", "data: word 4\n"],
}
"""What is seen, among other things, by whoever runs all snippets of a language under a heading."""

AS_A_BROWSER = """
import { EventSource as Client } from "eventsource";
globalThis.EventSource = Client;
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
"""
"""What Node does not have of its own."""


class Snippet(NamedTuple):
    document: str
    heading: str
    language: str
    code: str


def snippets(document: str) -> Iterator[Snippet]:
    heading = ""
    for piece in re.finditer(
        r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$",
        (DOCS / document).read_text(),
        re.MULTILINE | re.DOTALL,
    ):
        if piece["language"]:
            yield Snippet(document, heading, piece["language"], piece["code"])
        else:
            heading = piece["heading"]


RUN: dict[tuple[str, str, str], list[str]] = {}
for snippet in [*snippets("publishing.md"), *snippets("subscribing.md")]:
    if snippet.language in ("python", "sh", "js") and snippet.heading not in BY_HAND:
        RUN.setdefault(snippet[:3], []).append(snippet.code)


@pytest.fixture(scope="module")
def here(redis_server: RedisServer) -> Iterator[Callable[[str], str]]:
    """Puts the addresses of a gateway into a snippet. What the documents follow has ended there, so that
    followers stop by themselves."""
    settings = {"jwt_secret": SECRET, "publish_token": GatewayProcess.PUBLISH_TOKEN, "retry_ms": 1}
    with (
        GatewayProcess(redis_url=redis_server.url, **settings) as gateway,
        Publisher(redis_server.url) as publisher,
        pytest.MonkeyPatch.context() as environment,
    ):
        words = [publisher.publish("answer.17", f"word {number}") for number in range(5)]
        for channel in ("answer.17", "orders.42"):
            publisher.close(channel)
        environment.setenv("PUBLISH_TOKEN", GatewayProcess.PUBLISH_TOKEN)
        environment.setenv("TOKEN", token(subscribe=["*"]))
        environment.setenv("LAST_EVENT_ID", words[1].id)

        def with_addresses(code: str) -> str:
            code = code.replace("redis://redis.internal:6379/0", redis_server.url)
            return code.replace("https://push.example.com", gateway.url)

        yield with_addresses


def output_of(*command: str) -> str:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("key", RUN, ids=lambda key: "-".join(key))
def test_a_snippet_does_what_it_says(
    key: tuple[str, str, str], here: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = ""
    for code in map(here, RUN[key]):
        match key:
            case (_, _, "python"):
                exec(compile(code, str(key), "exec"), {"__name__": "__main__"})  # noqa: S102
                printed += capsys.readouterr().out
            case (_, _, "sh"):
                require(shutil.which("curl"), "curl")
                printed += output_of("sh", "-ec", code)
            case _:
                clients = (HERE / "node_modules").exists()
                node = require(shutil.which("node") if clients else None, "node, then make node-clients")
                printed += output_of(node, "--input-type=module", "-e", AS_A_BROWSER + code)
    for expected in PRINTED.get(key, []):
        assert expected in printed


def test_what_is_expected_is_of_snippets_that_are_run() -> None:
    assert PRINTED.keys() <= RUN.keys()
    assert len(RUN) >= 9
