"""Coverage-guided fuzzing of one parser, by atheris: `python -m tests.fuzz.parsers payload -runs=9999`

The parsers and their promises are those of `tests.support.parsers`. What follows the name is libFuzzer's. An
input that breaks a promise is printed, and kept in a file `crash-...`: it becomes an example of its parser.
Without a name, the names are printed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gateway", "publisher"]):
    from tests.support.parsers import EXAMPLES, PARSERS


def main(name: str, flags: list[str]) -> None:
    parse = PARSERS[name]
    with tempfile.TemporaryDirectory(prefix="fanlight-corpus-") as corpus:
        for number, raw in enumerate(EXAMPLES[parse]):
            (Path(corpus) / str(number)).write_bytes(raw)
        atheris.Setup([name, *flags, corpus], parse)
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(*PARSERS)
    else:
        main(sys.argv[1], sys.argv[2:])
