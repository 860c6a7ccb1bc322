"""What may be taken for a request's id: an id goes into logs and answers as it is."""

from __future__ import annotations

import re
from typing import Final

_WELL_FORMED: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._~+/=:@-]{0,127}", re.ASCII)


def is_well_formed(text: str) -> bool:
    """Whether it is one word of at most 128 characters, such as a UUID, or what tracers write."""
    return _WELL_FORMED.fullmatch(text) is not None
