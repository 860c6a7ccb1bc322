"""Where the settings come from, and what is said when they are wrong.

A value comes from, in this order: a flag (`--max-streams`), a variable (`FANLIGHT_MAX_STREAMS`), a key
of the TOML file named by `--config` or `FANLIGHT_CONFIG` (`max_streams = 5000`), the default.
A name that no setting has is a fault: a misspelt limit must not be silently without effect.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from gateway.cli.bounds import limits_of, unit_of
from gateway.settings import CROSS_CHECK, ENV_PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

__all__ = ["SettingsError", "flag_of", "load"]

CONFIG_VARIABLE: Final = "FANLIGHT_CONFIG"
_TEST_PREFIX: Final = "FANLIGHT_TEST_"
_SECRETS: Final = frozenset({"jwt_secret", "publish_token", "redis_url"})  # their values are in no message


def load(
    flags: Mapping[str, object] | None = None,
    *,
    config: str | Path | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings from `flags` (by setting name), the environment, the file, the defaults.

    `defaults` replaces some of the defaults of `Settings`. What was given by none of the four is not
    in the result's `model_fields_set`. `config` is the TOML file's path; None takes it from
    FANLIGHT_CONFIG, and without that there is none. Empty variables count as not set. Raises
    `SettingsError`.
    """
    flags = dict(flags or {})
    source = config or os.environ.get(CONFIG_VARIABLE) or None
    path = Path(source) if source else None
    file, faults = _read_file(path, by_flag=bool(config)) if path else ({}, [])
    faults += _unknown_variables(os.environ)
    variables = EnvSettingsSource(Settings)()
    origins = {name: f"key {name} in {path}" for name in file}
    origins |= {name: f"variable {ENV_PREFIX}{name.upper()}" for name in variables}
    origins |= {name: f"flag {flag_of(name)}" for name in flags}
    values = {**(defaults or {}), **file, **variables, **flags}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            faults += _explain(detail, values, origins)
        raise SettingsError(faults) from None
    if faults:
        raise SettingsError(faults)
    return settings


def flag_of(name: str) -> str:
    """The flag of a setting: `max_streams` -> `--max-streams`."""
    return "--" + name.replace("_", "-")


def _read_file(path: Path, *, by_flag: bool) -> tuple[dict[str, Any], list[str]]:
    named_by = "flag --config" if by_flag else f"variable {CONFIG_VARIABLE}"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, [f"config: {named_by}: cannot read {path}: {error.strerror}"]
    except ValueError as error:  # not UTF-8, or not TOML; tomllib says the line, and no value
        return {}, [f"config: {named_by}: {path} is not a TOML file: {error}"]
    known = set(Settings.model_fields)
    unknown = [name for name in values if name not in known]
    faults = [f"{name}: key {name} in {path}: no such setting{_nearest(name)}" for name in unknown]
    return {name: value for name, value in values.items() if name in known}, faults


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    faults = []
    for variable, value in sorted(environ.items()):
        if not variable.upper().startswith(ENV_PREFIX) or variable.upper().startswith(_TEST_PREFIX):
            continue
        if variable.upper() in known:
            continue
        name = variable[len(ENV_PREFIX) :].lower()
        hint = _service_link_hint(variable, value) or _nearest(name, ENV_PREFIX)
        faults.append(f"{name}: variable {variable}: no such setting{hint}")
    return faults


def _nearest(name: str, env_prefix: str = "") -> str:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), Settings.model_fields, n=1, cutoff=0.5)
    if not close:
        return ""
    return f"; did you mean {env_prefix + close[0].upper() if env_prefix else close[0]}?"


def _service_link_hint(variable: str, value: str) -> str:
    """Kubernetes gives every pod FANLIGHT_PORT=tcp://... and more once a Service is called `fanlight`."""
    if value.startswith(("tcp://", "udp://")) or re.search(r"_(SERVICE_(HOST|PORT)|PORT_\d+_TCP)", variable):
        return "; Kubernetes sets it for a Service named fanlight: set enableServiceLinks: false in the pod"
    return ""


def _explain(detail: ErrorDetails, values: Mapping[str, object], origins: Mapping[str, str]) -> list[str]:
    """Word one of pydantic's errors: the setting, where its value is from, what is expected."""
    if detail["type"] == CROSS_CHECK:
        faults: list[tuple[str, str, str]] = detail.get("ctx", {})["faults"]
        return [_explain_pair(*fault, values, origins) for fault in faults]
    name = str(detail["loc"][0])
    origin = origins.get(name, "default")
    if name not in Settings.model_fields:
        return [f"{name}: {origin}: no such setting{_nearest(name)}"]
    value = values.get(name)
    if detail["type"] == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
    else:
        message = f"expected {_expected(name)}"
        if name not in _SECRETS:
            message += f", not {value!r:.100}"
    hint = _service_link_hint("", value) if isinstance(value, str) else ""
    return [f"{name}: {origin}: {message}{hint}"]


def _explain_pair(
    name: str, relation: str, other: str, values: Mapping[str, object], origins: Mapping[str, str]
) -> str:
    has, other_has = (values.get(key, Settings.model_fields[key].default) for key in (name, other))
    return (
        f"{name}: {origins.get(name, 'default')}: expected {relation} {other}, "
        f"which is {other_has} ({origins.get(other, 'default')}), not {has}"
    )


def _expected(name: str) -> str:
    annotation = Settings.model_fields[name].annotation
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        kind = "a whole number" if annotation is int else "a number"
        unit = {"s": " of seconds", "ms": " of milliseconds", "bytes": " of bytes"}.get(
            unit_of(name) or "", ""
        )
        low, high = limits_of(name)
        return f"{kind}{unit}, {low} to {high}"
    choices = getattr(annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return "one of " + ", ".join(choices)
    return "a list of text" if annotation == list[str] else "text"
