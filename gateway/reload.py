"""Settings that change while streams are open: on SIGHUP.

1. Read. Flags and variables stay those of the start; the TOML file, and the file with keys, are read anew.
2. Check all of it as at the start, and once more what would come of it: the new values of what can change
   now (`gateway.settings.RELOADABLE`) beside the old ones of all else.
3. Replace the configuration: one assignment. Nothing has changed before it, and nothing can fail after it.

Whatever is wrong with what was read, the node goes on as before, and says why.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from pydantic import ValidationError

from gateway import logs
from gateway.auth.keys import BadKeys
from gateway.http.current import Configuration, Current
from gateway.metrics import counters, gauge
from gateway.settings import RELOADABLE, Settings, SettingsError

if TYPE_CHECKING:
    from prometheus_client.core import Metric


@dataclass(frozen=True, slots=True)
class Reloading:
    """What whoever starts a process gives it, so that it can reload."""

    read: Callable[[], Settings]
    """Reads the settings as at the start. Raises `SettingsError`."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a SIGHUP from before there was a loop: it may be about what was changed since `read`."""


class Outcome(Enum):
    """How a reload ended."""

    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload makes of what it has read."""

    configuration: Configuration
    changed: tuple[str, ...]
    """The settings that are others now; `jwt_keys_file` also where the file holds other keys."""
    need_restart: tuple[str, ...]
    """Those that were given other values, and keep the old ones."""


def change(now: Configuration, found: Configuration) -> Change:
    """From what runs and what was read to what shall run. Raises `SettingsError` where the new values don't
    fit the old ones that stay."""
    differ = [
        name
        for name in Settings.model_fields
        if getattr(now.settings, name) != getattr(found.settings, name)
        or (name == "jwt_keys_file" and now.key_file != found.key_file)
    ]
    values = {
        name: getattr((found if name in RELOADABLE else now).settings, name) for name in Settings.model_fields
    }
    need_restart = tuple(name for name in differ if name not in RELOADABLE)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        until = f"until a restart changes {', '.join(need_restart)}"
        raise SettingsError([f"{detail['msg']}, {until}" for detail in error.errors()]) from None
    configuration = Configuration(settings, found.key_file, found.keys)
    return Change(configuration, tuple(name for name in differ if name in RELOADABLE), need_restart)


class Reloads:
    """The reloads of a process."""

    def __init__(self, current: Current, reloading: Reloading) -> None:
        self._current = current
        self._read_settings = reloading.read
        self._asked = reloading.asked
        self._log = logs.get_logger("reload")
        self._outcomes: Counter[Outcome] = Counter()
        self._read_at = time.time()

    async def run(self, then: Callable[[], None]) -> None:
        """Reload on each SIGHUP, and call `then` when that was applied, for as long as the node lives."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)
        while True:
            await self._asked.wait()
            self._asked.clear()
            if await self.reload() is Outcome.APPLIED:
                then()

    async def reload(self) -> Outcome:
        """Once, now. What goes wrong is told in the log."""
        outcome = Outcome.REFUSED
        try:
            found = await asyncio.to_thread(self._read)  # a file may be on a disk that takes its time
            step = change(self._current.configuration, found)
        except (SettingsError, BadKeys) as error:
            self._log.error("reload_refused", faults=str(error).splitlines())
        except Exception:  # a mistake of ours, too, costs no stream
            self._log.exception("reload_failed")
        else:
            outcome = Outcome.APPLIED
            self._apply(step)
        self._outcomes[outcome] += 1
        return outcome

    def _read(self) -> Configuration:
        return Configuration.read(self._read_settings())

    def _apply(self, step: Change) -> None:
        self._current.configuration = step.configuration
        self._read_at = time.time()
        logs.set_level(step.configuration.settings.log_level)
        if step.need_restart:
            hint = "these keep their old values until the node is restarted"
            self._log.warning("settings_need_restart", settings=list(step.need_restart), hint=hint)
        self._log.info("reloaded", changed=list(step.changed))

    def metrics(self) -> Iterable[Metric]:
        outcomes = {outcome.value: float(self._outcomes[outcome]) for outcome in Outcome}
        yield counters("reloads", "Reloads of the settings, by outcome.", "outcome", outcomes)
        yield gauge("settings_read_timestamp_seconds", "When the settings in use were read.", self._read_at)
