"""`gateway.reload`: what comes of settings that were read anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from gateway import reload
from gateway.http.current import Configuration, Current
from gateway.reload import Outcome, Reloading, Reloads, change
from gateway.settings import RELOADABLE, Settings, SettingsError
from tests.support.tokens import es256, jwks
from tests.support.wait import PATIENCE_SECONDS


def configuration(key_file: bytes | None = None, **values: Any) -> Configuration:
    return Configuration.of(Settings(**values), key_file)


A, B = SecretStr("a" * 32), SecretStr("b" * 32)
STEPS: list[tuple[dict[str, Any], dict[str, Any], list[str], list[str]]] = [
    ({}, {}, [], []),
    ({"max_streams": 5}, {"max_streams": 6}, ["max_streams"], []),
    ({"max_streams": 5}, {}, ["max_streams"], []),
    ({"jwt_secret": A}, {"jwt_secret": B}, ["jwt_secret"], []),
    ({"jwt_secret": A}, {"jwt_secret": A}, [], []),
    ({"publish_token": A}, {}, ["publish_token"], []),
    ({}, {"port": 1}, [], ["port"]),
    ({}, {"jwks_url": "https://id.example/jwks", "log_level": "debug"}, ["log_level"], ["jwks_url"]),
]


@pytest.mark.parametrize(("before", "found", "changed", "need_restart"), STEPS)
def test_what_can_change_does_and_the_rest_is_told(
    before: dict[str, Any], found: dict[str, Any], changed: list[str], need_restart: list[str]
) -> None:
    now = configuration(**before)
    step = change(now, configuration(**found))
    assert (list(step.changed), list(step.need_restart)) == (changed, need_restart)
    expected = Settings(**(before | {name: getattr(Settings(**found), name) for name in changed}))
    assert step.configuration.settings == expected


def test_a_file_that_holds_other_keys_is_a_change() -> None:
    now, found = (configuration(jwks(es256(name)), jwt_keys_file="/keys.json") for name in "ab")
    step = change(now, found)
    assert step.changed == ("jwt_keys_file",)
    assert step.configuration.keys == found.keys
    assert change(now, now).changed == ()


def test_values_that_do_not_fit_those_that_stay_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "RELOADABLE", {"max_stream_age_seconds"})
    found = configuration(max_stream_age_seconds=5000, retention_seconds=7200)
    with pytest.raises(
        SettingsError, match=r"less than retention_seconds, until a restart changes retention"
    ):
        change(configuration(), found)


def test_what_is_reloadable_are_settings_and_no_address() -> None:
    assert set(Settings.model_fields) >= RELOADABLE
    assert not RELOADABLE & {"redis_url", "prefix", "port", "admin_port", "workers"}


async def test_whatever_goes_wrong_nothing_changes() -> None:
    current = Current(configuration(max_streams=5))
    answers: list[Any] = [
        SettingsError(["wrong"]),
        OSError("gone"),
        ZeroDivisionError(),
        Settings(jwt_keys_file="/nowhere"),
        Settings(jwt_secret=SecretStr("-----BEGIN PRIVATE KEY----- and so on")),
    ]
    before = current.configuration

    def reread() -> Settings:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Settings)
        return answer

    reloads = Reloads(current, Reloading(reread))
    read_at = values(reloads)["fanlight_settings_read_timestamp_seconds"]
    for number in range(1, len(answers) + 1):
        assert await reloads.reload() is Outcome.REFUSED
        assert current.configuration is before
        assert values(reloads)["refused"] == number
    assert values(reloads)["fanlight_settings_read_timestamp_seconds"] == read_at
    answers.append(Settings(max_streams=6))
    assert await reloads.reload() is Outcome.APPLIED
    assert current.settings.max_streams == 6
    assert values(reloads)["applied"] == 1
    assert values(reloads)["fanlight_settings_read_timestamp_seconds"] > read_at


async def test_a_reload_that_was_asked_for_before_the_loop_began_is_made() -> None:
    current, reloading = Current(configuration()), Reloading(lambda: Settings(max_streams=7))
    reloading.asked.set()
    applied = asyncio.Event()
    task = asyncio.create_task(Reloads(current, reloading).run(applied.set))
    await asyncio.wait_for(applied.wait(), PATIENCE_SECONDS)
    assert current.settings.max_streams == 7
    task.cancel()


def values(reloads: Reloads) -> dict[str, float]:
    samples = [sample for family in reloads.metrics() for sample in family.samples]
    return {sample.labels.get("outcome", sample.name): sample.value for sample in samples}
