"""What a setting says of itself, for `--help` and for messages: its unit and its limits."""

from __future__ import annotations

from typing import Final

from gateway.settings import Settings

_UNITS: Final = {"seconds": "s", "bytes": "bytes", "ms": "ms"}


def unit_of(name: str) -> str | None:
    """The unit that a setting's name ends in; None for those without."""
    return _UNITS.get(name.rpartition("_")[2])


def limits_of(name: str) -> tuple[str | None, str | None]:
    """A setting's lowest and highest value, as text; None where there is no limit."""
    low = high = None
    for item in Settings.model_fields[name].metadata:
        if (bound := getattr(item, "ge", None)) is not None:
            low = f"{bound:,}"
        elif (bound := getattr(item, "gt", None)) is not None:
            low = f"above {bound:,}"
        if (bound := getattr(item, "le", None)) is not None:
            high = f"{bound:,}"
    return low, high
