"""What the deployment files say of settings and of each other, held against both."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from gateway.settings import ENV_PREFIX, Settings
from publisher.sentinel.url import SentinelUrl
from tests.support.proxies import DEPLOY

ROOT = DEPLOY.parent
DEFAULTS = Settings.model_validate({})
FILES = [
    "Dockerfile",
    "deploy/compose.yaml",
    "deploy/compose.sentinel.yaml",
    "deploy/systemd/fanlight.service",
]
CHART = DEPLOY / "helm/fanlight"
SUPERVISOR_GRACE_SECONDS = 10


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_a_setting(file: str) -> None:
    names = set(re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)", (ROOT / file).read_text()))
    assert names
    assert names <= {name.upper() for name in Settings.model_fields}


# Proxies. What they do is shown by tests/integration/test_proxies.py; here are the numbers.


def numbers(file: str, pattern: str) -> list[float]:
    found = re.findall(pattern, (DEPLOY / file).read_text(), re.MULTILINE)
    assert found, f"nothing like {pattern} in {file}"
    return [float(number) for number in found]


READ_TIMEOUTS = [
    ("nginx.conf", r"^\s*proxy_read_timeout (\d+)s;"),
    ("haproxy.cfg", r"^\s*timeout server (\d+)s$"),
    ("Caddyfile", r"^\s*read_timeout (\d+)s$"),
]


@pytest.mark.parametrize(("file", "pattern"), READ_TIMEOUTS)
def test_a_proxy_outwaits_a_heartbeat(file: str, pattern: str) -> None:
    assert max(numbers(file, pattern)) > 2 * DEFAULTS.heartbeat_seconds


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("nginx.conf", r"^\s*send_timeout (\d+)s;"), ("haproxy.cfg", r"^\s*timeout client (\d+)s$")],
)
def test_a_proxy_cuts_no_client_before_the_gateway_would(file: str, pattern: str) -> None:
    assert numbers(file, pattern) == [DEFAULTS.stall_seconds]


def test_nginx_passes_the_largest_body() -> None:
    [megabytes] = numbers("nginx.conf", r"client_max_body_size (\d+)m;")
    assert megabytes * 1024 * 1024 == DEFAULTS.max_publish_body_bytes


def test_haproxy_notices_a_drain_in_time() -> None:
    [[interval, falls]] = re.findall(r"check inter (\d+)s fall (\d+)", (DEPLOY / "haproxy.cfg").read_text())
    assert int(interval) * int(falls) < DEFAULTS.drain_wait_seconds


# Compose.


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


KEYS = {
    *("image", "build", "environment", "command", "volumes", "ports", "depends_on", "healthcheck", "user"),
    *("stop_grace_period", "restart", "read_only", "tmpfs", "cap_drop", "security_opt", "ulimits"),
}


@pytest.mark.parametrize("name", services())
def test_a_service_is_well_formed(name: str) -> None:
    document, service = compose(), services()[name]
    assert set(service) <= KEYS
    assert set(service.get("depends_on", ())) <= set(document["services"])
    image = service["image"]
    assert "build" in service or re.search(r":[a-z]*\d+\.\d+", image), f"{image} has no version"
    for mount in service.get("volumes", ()):
        source, target, *_ = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), f"{source} is mounted, and is not there"
            assert mount.endswith(":ro")
        else:
            assert source in document["volumes"]


def test_only_the_proxy_is_open_to_the_net() -> None:
    published = {
        name for name, s in services().items() for p in s.get("ports", ()) if not p.startswith("127.0.0.1:")
    }
    assert published == {"nginx"}


def test_a_container_has_more_time_to_stop_than_a_drain_takes() -> None:
    for name in ("gateway-1", "gateway-2"):
        seconds = float(services()[name]["stop_grace_period"].removesuffix("s"))
        assert seconds >= DEFAULTS.drain_wait_seconds + DEFAULTS.drain_seconds + 5


def test_a_container_may_open_a_file_for_each_stream() -> None:
    assert services()["gateway-1"]["ulimits"]["nofile"] >= DEFAULTS.max_streams + 100


@pytest.mark.parametrize("file", ["nginx.conf", "haproxy.cfg", "Caddyfile", "prometheus/prometheus.yml"])
def test_the_gateways_have_the_names_and_ports_of_compose(file: str) -> None:
    named = set(re.findall(r"\b(gateway-\d+):(\d+)", (DEPLOY / file).read_text()))
    port = DEFAULTS.admin_port if file.startswith("prometheus") else DEFAULTS.port
    assert named == {(name, str(port)) for name in services() if name.startswith("gateway-")}


def test_compose_with_sentinels_names_what_it_starts() -> None:
    document = yaml.safe_load((DEPLOY / "compose.sentinel.yaml").read_text())
    added = document["services"]
    for name, service in added.items():
        assert set(service) <= KEYS
        if name.startswith("gateway-"):
            url = SentinelUrl.parse(service["environment"]["FANLIGHT_REDIS_URL"])
            sentinels = {(other, 26379) for other in added if other.startswith("sentinel-")}
            assert set(url.sentinels) == sentinels
        elif name.startswith("sentinel-"):
            [monitored] = re.findall(r"sentinel monitor (\S+) (\S+) 6379 2", service["command"][-1])
            assert monitored == (url_service(added), "redis")
        else:
            command = service["command"]
            assert command[command.index("--replica-announce-ip") + 1] == name
            assert command[command.index("--min-replicas-to-write") + 1] == "1"
            assert "noeviction" in command
            if name != "redis":  # the rest is in compose.yaml
                assert command[-3:] == ["--replicaof", "redis", "6379"]
                assert service["image"] == services()["redis"]["image"]
                assert service["volumes"][0].partition(":")[0] in document["volumes"]


def url_service(added: dict[str, dict[str, Any]]) -> str:
    return SentinelUrl.parse(added["gateway-1"]["environment"]["FANLIGHT_REDIS_URL"]).service


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    mounts = dict(mount.split(":")[:2] for mount in services()["grafana"]["volumes"])
    provisioning = DEPLOY / "grafana/provisioning"
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services()
    [provider] = yaml.safe_load((provisioning / "dashboards/fanlight.yml").read_text())["providers"]
    assert provider["options"]["path"] == mounts["./grafana/dashboards"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounts['./grafana/dashboards']}/fanlight.json"
    assert (DEPLOY / "grafana/dashboards/fanlight.json").exists()


# The image.


def test_the_image_runs_without_root_and_is_told_to_stop() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", text, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["fanlight"\]$', text, re.MULTILINE), "a shell would keep the signal"


def test_the_image_is_built_from_what_is_not_ignored() -> None:
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for name in line.split()[:-1]
    }
    kept = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


# The unit.


def test_a_service_of_systemd_has_time_and_files_enough() -> None:
    text = (DEPLOY / "systemd/fanlight.service").read_text()
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    drain_seconds = DEFAULTS.drain_wait_seconds + DEFAULTS.drain_seconds
    assert float(seconds) > drain_seconds + SUPERVISOR_GRACE_SECONDS
    [files] = re.findall(r"^LimitNOFILE=(\d+)$", text, re.MULTILINE)
    assert int(files) >= DEFAULTS.max_streams + 100


# The chart. It is rendered by tests/unit/test_helm.py, where helm is installed.

OWN_SETTINGS = {"redis_url", "jwt_secret", "publish_token", "host", "port", "admin_host", "admin_port"}
"""Those of the chart, and the secrets."""


def test_the_chart_takes_the_settings_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    named = set(schema["properties"]["settings"]["propertyNames"]["enum"])
    assert named == set(Settings.model_fields) - OWN_SETTINGS


def test_the_values_are_those_of_the_schema() -> None:
    def check(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is False:
            assert set(values) <= set(properties), path
        for name, value in values.items():
            if isinstance(value, dict) and name in properties:
                check(value, properties[name], f"{path}.{name}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    check(values, schema, "values")
    assert Settings.model_validate(values["settings"])


def test_the_chart_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_all_files_of_deploy_are_named_in_its_index() -> None:
    index = (DEPLOY / "README.md").read_text()
    for path in sorted(DEPLOY.iterdir()):
        if path.name != "README.md":
            assert f"]({path.name}" in index, path.name
