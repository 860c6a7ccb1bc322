"""Settings: where a value comes from, and what is said when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.cli.bounds import limits_of, unit_of
from gateway.cli.configuration import SettingsError, flag_of, load
from gateway.http.current import Configuration
from gateway.settings import Settings, redact_url
from publisher import AsyncPublisher, Publisher
from tests.support.tokens import es256, jwks

NAMES = list(Settings.model_fields)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("FANLIGHT_"):
            monkeypatch.delenv(name)


def faults_of(flags: dict[str, object] | None = None, config: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(flags, config=config)
    return caught.value.faults


def toml(directory: Path, text: str) -> Path:
    path = directory / "fanlight.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_valid_and_those_that_the_documentation_tells() -> None:
    settings = load()
    assert settings == Settings()
    assert (settings.redis_url, settings.host, settings.port) == ("redis://127.0.0.1:6379/0", "0.0.0.0", 8080)
    assert (settings.admin_host, settings.admin_port) == ("127.0.0.1", 9090)
    assert settings.publish_token is None
    assert settings.max_stream_age_seconds < settings.retention_seconds


def test_flag_wins_over_variable_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toml(tmp_path, "port = 1001\nadmin_port = 1002\nretry_ms = 1003\n")
    monkeypatch.setenv("FANLIGHT_PORT", "2001")
    monkeypatch.setenv("FANLIGHT_ADMIN_PORT", "2002")
    settings = load({"port": "3001"}, config=config)
    found = (settings.port, settings.admin_port, settings.retry_ms, settings.max_streams)
    assert found == (3001, 2002, 1003, 20_000)
    assert settings.model_fields_set == {"port", "admin_port", "retry_ms"}


def test_the_file_may_be_named_by_a_variable_and_the_flag_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANLIGHT_CONFIG", str(toml(tmp_path, "port = 1001")))
    assert load().port == 1001
    other = tmp_path / "other.toml"
    other.write_text("port = 1002")
    assert load(config=other).port == 1002


def test_other_defaults_lose_against_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANLIGHT_HOST", "10.0.0.1")
    settings = load(defaults={"host": "127.0.0.1", "demo": True})
    assert (settings.host, settings.demo) == ("10.0.0.1", True)


def test_an_object_made_in_code_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANLIGHT_PORT", "2001")
    assert Settings().port == 8080


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANLIGHT_PUBLISH_TOKEN", "")
    monkeypatch.setenv("FANLIGHT_PORT", "")
    assert load() == Settings()


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


ORIGINS = ["https://a.example", "http://localhost:3000"]


@pytest.mark.parametrize(
    "given", [ORIGINS, [",".join(ORIGINS)], ", ".join(ORIGINS), [ORIGINS[0], f" {ORIGINS[1]} ,"]]
)
def test_origins_come_as_repeated_flags_or_with_commas(given: object) -> None:
    assert load({"allowed_origins": given}).allowed_origins == ORIGINS


def test_origins_of_a_variable_and_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(config=toml(tmp_path, f"allowed_origins = {ORIGINS}")).allowed_origins == ORIGINS
    monkeypatch.setenv("FANLIGHT_ALLOWED_ORIGINS", ",".join(ORIGINS))
    assert load().allowed_origins == ORIGINS


WRONG: list[tuple[str, Any, str]] = [
    ("port", "abc", "a whole number, 0 to 65,535, not 'abc'"),
    ("port", "8080.5", "a whole number, 0 to 65,535"),
    ("port", "65536", "0 to 65,535"),
    ("admin_port", "-1", "0 to 65,535"),
    ("retention_seconds", "43201", "a whole number of seconds, 1 to 43,200, not '43201'"),
    ("heartbeat_seconds", "0", "a number of seconds, 0.01 to 3,600"),
    ("heartbeat_seconds", "nan", "a number of seconds, 0.01 to 3,600"),
    ("drain_seconds", "inf", "a number of seconds, 0 to 600"),
    ("header_seconds", "0", "above 0 to 3,600"),
    ("write_buffer_bytes", "0", "a whole number of bytes, 1 to"),
    ("retry_ms", "", "a whole number of milliseconds, 1 to 600,000"),
    ("demo", "perhaps", "true or false"),
    ("log_format", "xml", "one of auto, json, console, not 'xml'"),
    ("log_level", "INFO!", "one of debug, info, warning, error"),
    ("prefix", "a{b}", "bad prefix 'a{b}'"),
    ("host", "http://a", "an IP address or a host name"),
    ("host", "", "an IP address or a host name"),
    ("publish_token", "two words", "visible ASCII"),
    ("publish_token", "", "visible ASCII"),
    ("redis_url", "127.0.0.1:6379", "expected a URL such as redis://127.0.0.1:6379/0"),
    ("redis_url", "http://127.0.0.1", "expected a URL such as"),
    ("redis_url", "redis://", "expected a URL such as"),
    ("redis_url", "redis+sentinel://h", "expected the name of the primary after the sentinels"),
    ("redis_url", "redis+sentinel://h/main/1", "expected database 0"),
    ("redis_url", "redis://h:99999", "expected a URL such as"),
    ("redis_url", "unix://", "expected a URL such as"),
    ("allowed_origins", "*.example", "'*.example' is not an origin"),
    ("allowed_origins", "https://a.example/", "is not an origin"),
    ("allowed_origins", "null", "is not an origin"),
    ("anonymous_subscribe", "public.*,a b", "bad pattern 'a b'"),
    ("anonymous_subscribe", "fanlight.x", "reserved"),
    ("personal_channel", "user", "such as user.{sub}"),
    ("personal_channel", "{sub}", "not alone"),
    ("jwt_secret", "x" * 31, "at least 32 bytes"),
    ("jwks_url", "http://id.example/jwks", "a URL such as https://"),
    ("jwks_url", "https://user:pass@id.example/jwks", "a URL such as https://"),
    ("jwks_url", "https://id.example/jwks#x", "a URL such as https://"),
    ("jwks_url", "https://", "a URL such as https://"),
    ("jwks_url", "file:///etc/keys", "a URL such as https://"),
    ("jwks_url", "https://id.example/\r\nX: y", "a URL such as https://"),
    ("max_token_bytes", "8001", "64 to 8,000"),
    ("otlp_endpoint", "collector:4318", "a URL such as http://collector:4318/v1/traces"),
    ("otlp_endpoint", "http://collector:4318", "a URL such as http://collector:4318/v1/traces"),
    ("otlp_endpoint", "http://key@collector:4318/v1/traces", "a URL such as http://"),
    ("otlp_endpoint", "grpc://collector:4317/v1/traces", "a URL such as http://"),
    ("otlp_endpoint", "http://collector:0/v1/traces", "a URL such as http://"),
    ("otlp_endpoint", "http://collector/v1/traces\r\nX: y", "a URL such as http://"),
    ("max_queued_spans", "0", "1 to 1,000,000"),
    ("ticket_seconds", "31", "1 to 30"),
    ("token_cookie", "a=b", "the name of a cookie"),
    ("token_cookie", "", "the name of a cookie"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_a_wrong_flag_is_told_in_one_line(name: str, value: Any, expected: str) -> None:
    [fault] = faults_of({name: value})
    assert fault.startswith(f"{name}: flag {flag_of(name)}: ")
    assert expected in fault
    assert "\n" not in fault


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p@h:6380/0", "unix:///run/redis.sock", "redis://[::1]:1"]
)
def test_redis_urls(url: str) -> None:
    assert load({"redis_url": url}).redis_url == url


def test_every_fault_is_told_at_once_with_where_it_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toml(tmp_path, "port = 'x'\nretry_ms = 5\nmax_stream = 3\n")
    monkeypatch.setenv("FANLIGHT_RETRY_MS", "soon")
    monkeypatch.setenv("FANLIGHT_MAXSTREAMS", "3")
    faults = faults_of({"stall_seconds": "-3"}, config)
    assert sorted(faults) == sorted(
        [
            f"max_stream: key max_stream in {config}: no such setting; did you mean max_streams?",
            "maxstreams: variable FANLIGHT_MAXSTREAMS: no such setting; did you mean FANLIGHT_MAX_STREAMS?",
            f"port: key port in {config}: expected a whole number, 0 to 65,535, not 'x'",
            "retry_ms: variable FANLIGHT_RETRY_MS: expected a whole number of milliseconds, 1 to 600,000, "
            "not 'soon'",
            "stall_seconds: flag --stall-seconds: expected a number of seconds, above 0 to 3,600, not '-3'",
        ]
    )


def test_variables_of_tests_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANLIGHT_TEST_REDIS", "redis-server")
    assert load() == Settings()


def test_what_kubernetes_sets_for_a_service_named_fanlight_is_recognised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANLIGHT_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("FANLIGHT_SERVICE_HOST", "10.0.0.1")
    faults = faults_of()
    assert len(faults) == 2
    assert all("enableServiceLinks: false" in fault for fault in faults)


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (
            {"retention_seconds": "1000"},
            "max_stream_age_seconds: default: expected less than retention_seconds, which is 1000 "
            "(flag --retention-seconds), not 1800.0",
        ),
        (
            {"max_publish_body_bytes": "1000"},
            "max_publish_body_bytes: flag --max-publish-body-bytes: expected at least max_event_bytes, "
            "which is 262144 (default), not 1000",
        ),
        (
            {"hot_tails_bytes": "5"},
            "hot_tail_bytes: default: expected at most hot_tails_bytes, which is 5 (flag --hot-tails-bytes), "
            "not 1048576",
        ),
        (
            {"admin_port": "8080"},
            "admin_port: flag --admin-port: expected another than port, which is 8080 (default), not 8080",
        ),
    ],
)
def test_settings_that_contradict_each_other(flags: dict[str, object], fault: str) -> None:
    assert faults_of(flags) == (fault,)


def test_ports_may_be_equal_on_different_addresses_and_when_both_are_free_ones() -> None:
    load({"host": "127.0.0.2", "admin_port": "8080"})
    load({"port": "0", "admin_port": "0"})


FILES = [
    ("port = ", "is not a TOML file"),
    ("[limits]\nport = 3", "limits: key limits in"),
    ("caf\xe9".encode("latin-1"), "is not a TOML file"),
]


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_a_file_that_is_wrong(tmp_path: Path, text: str | bytes, expected: str) -> None:
    config = tmp_path / "fanlight.toml"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    [fault] = faults_of(config=config)
    assert expected in fault


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.toml"
    assert faults_of(config=path) == (
        f"config: flag --config: cannot read {path}: No such file or directory",
    )
    monkeypatch.setenv("FANLIGHT_CONFIG", str(path))
    assert faults_of()[0].startswith("config: variable FANLIGHT_CONFIG: cannot read")


def test_no_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2"
    monkeypatch.setenv("FANLIGHT_REDIS_URL", f"http://user:{secret}@host")
    monkeypatch.setenv("FANLIGHT_PUBLISH_TOKEN", f"a {secret}")
    monkeypatch.setenv("FANLIGHT_JWT_SECRET", secret)
    assert secret not in "\n".join(faults_of())
    monkeypatch.delenv("FANLIGHT_REDIS_URL")
    monkeypatch.delenv("FANLIGHT_JWT_SECRET")
    monkeypatch.delenv("FANLIGHT_PUBLISH_TOKEN")
    config = toml(
        tmp_path, f"redis_url = ['redis://:{secret}@h']\npublish_token = ['{secret}']\ntoken = '{secret}'"
    )
    faults = faults_of(config=config)
    assert len(faults) == 3
    assert secret not in "\n".join(faults)
    settings = Settings(redis_url=f"redis://user:{secret}@host:1/0", publish_token=SecretStr(secret))
    assert secret not in repr(settings) + str(settings) + settings.redis_address
    assert settings.redis_address == "redis://host:1/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/0?password=p", "redis://h:1/0"),
        ("redis://u:p@p@h", "redis://h"),
        ("unix://u:p@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis://[::1", "(not a URL)"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize("name", ["anonymous_subscribe", "jwt_issuer", "jwt_audience"])
@pytest.mark.parametrize("given", ["a,b", ["a", "b"], [" a , b"], ["a,,b"]])
def test_lists_come_as_repeated_flags_or_with_commas(name: str, given: object) -> None:
    assert getattr(load({name: given}), name) == ["a", "b"]


def test_every_setting_of_a_worker_is_that_of_its_node() -> None:
    """Secrets and lists, too: they go over a pipe."""
    from gateway.workers.worker import Order

    settings = load(
        {"jwt_secret": "s" * 32, "anonymous_subscribe": "a,b.*", "jwks_url": "https://x.example/"}
    )
    order = Order(1, Configuration.of(settings, jwks(es256("a"))), Path("x"))
    loaded = Order.load(order.dump())
    assert loaded.configuration.settings == settings
    assert loaded.configuration.key_file == order.configuration.key_file


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_described_and_every_number_has_limits(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    assert re.search(r"\.$", field.description)
    assert isinstance(field.json_schema_extra, dict)
    assert field.json_schema_extra["group"]
    if field.annotation in (int, float):
        assert None not in limits_of(name)
    if name.endswith(("_seconds", "_bytes", "_ms")):
        assert unit_of(name)


@pytest.mark.parametrize("url", ["redis://h/1", "redis://h?db=2", "unix:///s?db=3"])
def test_a_database_other_than_0_is_refused(url: str) -> None:
    """Pub/sub knows no databases: events would go to one, and their messages to all."""
    with pytest.raises(ValidationError, match="keep installations apart by their prefix"):
        Settings(redis_url=url)
    with pytest.raises(ValueError, match="keep installations apart by their prefix"):
        Publisher(url)
    with pytest.raises(ValueError, match="keep installations apart by their prefix"):
        AsyncPublisher(url)
