"""The shipped scrape configuration, alerts and dashboard: by promtool, and by a real Prometheus that scrapes
two real nodes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.gateway_process import GatewayProcess
from tests.support.issuer import Issuer
from tests.support.prometheus import CONFIGURATION, RULE_TESTS, RULES, Prometheus
from tests.support.proxies import DEPLOY
from tests.support.sse import SseConnection
from tests.support.tokens import es256
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publisher import Publisher
    from tests.conftest import StartGateway

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.once,
]

DASHBOARD = DEPLOY / "grafana/dashboards/fanlight.json"
OPERATIONS = DEPLOY.parent / "docs/operations.md"
METRIC = re.compile(r"\b(?:fanlight|process)_[a-z_]+\b|\bup\b")
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
PANELS: list[dict[str, Any]] = [
    panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"
]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def promtool(*arguments: str) -> None:
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


# By promtool.


def test_configuration_and_rules_are_well_formed() -> None:
    promtool("check", "config", str(CONFIGURATION))  # its rules, too


def test_alerts_fire_when_they_should_and_not_otherwise() -> None:
    promtool("test", "rules", str(RULE_TESTS))


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = [alert["alert"] for alert in ALERTS]
    assert sorted(cases) == sorted((name, fires) for name in names for fires in (True, False))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_leads_to_its_section(alert: dict[str, Any]) -> None:
    document, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert DEPLOY.parent / document == OPERATIONS
    headings = re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert anchor == alert["alert"].lower()


def test_no_section_is_of_an_alert_that_is_not_there() -> None:
    headings = re.findall(r"^### (Fanlight\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in ALERTS]


# By a Prometheus.


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with Issuer(tmp_path_factory.mktemp("issuer")) as issuer:
        issuer.publish(es256("key-1"))
        yield issuer


@pytest.fixture(scope="module")
def monitored(share_gateway: StartGateway, issuer: Issuer) -> list[GatewayProcess]:
    """A node of one process, and one of two."""
    settings = {
        "jwks_url": issuer.url,
        "jwks_ca_file": str(issuer.ca_file),
        "probe_seconds": 0.5,
        "publish_token": GatewayProcess.PUBLISH_TOKEN,
    }
    return [share_gateway(**settings), share_gateway(**settings, workers=2)]


@pytest.fixture(scope="module")
def prometheus(monitored: list[GatewayProcess]) -> Iterator[Prometheus]:
    with Prometheus([gateway.admin_port for gateway in monitored]) as prometheus:
        eventually(lambda: len(prometheus.query("up == 1")) == 2, what="both nodes are scraped")
        yield prometheus


def names_in(expressions: list[str]) -> set[str]:
    """The metrics, without what is in braces."""
    return {name for each in expressions for name in METRIC.findall(re.sub(r"\{[^}]*\}", "", each))}


def test_all_that_rules_and_dashboard_ask_for_is_scraped(prometheus: Prometheus) -> None:
    wanted = names_in([alert["expr"] for alert in ALERTS] + [query for _, query in QUERIES])
    assert len(wanted) > 30
    missing = {name for name in wanted if not prometheus.query(f'{name}{{job="fanlight"}}')}
    assert missing == set()


def test_prometheus_evaluates_all_alerts_and_none_fires(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        rules = prometheus.rules()
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = eventually(evaluated, what="all rules have been evaluated")
    assert rules is not None
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in ALERTS}
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def asked(query: str) -> str:
    """As Grafana would ask, with a window that holds what two scrapes have brought."""
    return query.replace("$__rate_interval", "30s").replace("$instance", ".*")


async def test_every_panel_has_something_to_show(
    prometheus: Prometheus, monitored: list[GatewayProcess], shared_publisher: Publisher, channel: str
) -> None:
    def all_shown() -> bool:
        return not [title for title, query in QUERIES if not prometheus.query(asked(query))]

    async with (
        await SseConnection.open(f"{monitored[0].events_url}?channel={channel}") as first,
        await SseConnection.open(f"{monitored[1].events_url}?channel={channel}") as second,
    ):
        shared_publisher.publish(channel, "x")
        for connection in (first, second):
            await connection.until(lambda: len(connection.events) == 2)  # noqa: B023
        await aeventually(all_shown, what="each query has an answer")

        def open_streams() -> list[float]:
            """As of the last scrape of each node."""
            return [float(item["value"][1]) for item in prometheus.query(asked("sum(fanlight_streams_open)"))]

        await aeventually(lambda: open_streams() == [2.0], what="Prometheus has seen both streams")


def test_the_dashboard_is_one_that_grafana_can_show() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", DASHBOARD.read_text()))
    assert used == variables
