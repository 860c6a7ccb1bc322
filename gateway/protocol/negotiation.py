"""Whether a client takes gzip: the field Accept-Encoding (RFC 9110, section 12.5.3).

Strict: a browser's EventSource gives up for good on a coding that it did not offer, while a plain stream
serves everybody. So where there is a doubt, the answer is no.
"""

from __future__ import annotations

import re
from typing import Final

_OWS: Final = r"[ \t]*"
_ELEMENT: Final = re.compile(
    rf"{_OWS}(?P<coding>[!#$%&'*+.^_`|~0-9A-Za-z-]+)"
    rf"(?:{_OWS};{_OWS}[qQ]=(?P<weight>0(?:\.[0-9]{{0,3}})?|1(?:\.0{{0,3}})?))?{_OWS}"
)
_GZIP: Final = frozenset({"gzip", "x-gzip"})
"""Two names of one coding (RFC 9110, section 8.4.1.3)."""


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the field, its lines joined by commas, takes gzip, and not less than identity.

    An empty one, or none at all, offers nothing; nor does one that is not by the grammar. `*` stands for
    gzip where gzip is not named. Of a coding that is named twice the lower weight counts.
    """
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        if not element.strip(" \t"):
            continue  # a list may have empty elements (section 5.6.1.2)
        match = _ELEMENT.fullmatch(element)
        if match is None:
            return False
        coding = match["coding"].lower()
        coding = "gzip" if coding in _GZIP else coding
        weights[coding] = min(float(match["weight"] or 1), weights.get(coding, 1.0))
    gzip = weights.get("gzip", weights.get("*", 0.0))
    return 0 < gzip >= weights.get("identity", 0.0)
