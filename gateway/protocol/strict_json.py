"""JSON from outside, as RFC 8259 has it: not what Python's parser takes beyond that."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn


def parse(text: str | bytes | bytearray) -> Any:
    """What the text says; bytes are UTF-8. ValueError for anything that is no JSON: NaN and Infinity, which
    others could not read again, are none, and what is nested too deeply is taken for none."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
