"""What this process runs with now: its settings, and the keys that they hold or name.

Both are one frozen `Configuration`, which a reload replaces as a whole. Who uses a setting that
`gateway.settings.RELOADABLE` names asks `Current` for it at each use, and keeps no copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.auth import keys

if TYPE_CHECKING:
    from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings that were checked, and the keys that belong to them."""

    settings: Settings
    key_file: bytes | None = field(repr=False)
    """What `jwt_keys_file` held when it was read; None where there is none."""
    keys: tuple[keys.Key, ...] = field(repr=False)

    @classmethod
    def of(cls, settings: Settings, key_file: bytes | None) -> Configuration:
        """Raises `BadKeys`, which names the setting."""
        return cls(settings, key_file, _own_keys(settings, key_file))

    @classmethod
    def read(cls, settings: Settings) -> Configuration:
        """Read what the settings name. Raises `BadKeys`, which names the setting."""
        path = settings.jwt_keys_file
        try:
            key_file = None if path is None else Path(path).read_bytes()
        except OSError as error:
            raise keys.BadKeys(f"jwt_keys_file: cannot read {path}: {error.strerror}") from None
        return cls.of(settings, key_file)


class Current:
    """The one place where a process has its configuration."""

    __slots__ = ("configuration",)

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        """Replaced by reloads; what is read of it in one synchronous step belongs together."""

    @property
    def settings(self) -> Settings:
        return self.configuration.settings

    @property
    def keys(self) -> tuple[keys.Key, ...]:
        return self.configuration.keys


def _own_keys(settings: Settings, key_file: bytes | None) -> tuple[keys.Key, ...]:
    found: tuple[keys.Key, ...] = ()
    name = "jwt_secret"
    try:
        if settings.jwt_secret is not None:
            found += (keys.from_secret(settings.jwt_secret.get_secret_value().encode()),)
        name = "jwt_keys_file"
        if key_file is not None:
            found += keys.from_file(key_file)
    except keys.BadKeys as error:
        raise keys.BadKeys(f"{name}: {error}") from None
    return found
