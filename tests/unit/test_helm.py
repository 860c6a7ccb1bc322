"""The chart, as helm renders it. Nothing is installed anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from gateway.settings import ENV_PREFIX, Settings
from tests.support.proxies import DEPLOY

CHART = DEPLOY / "helm/fanlight"
HELM = os.environ.get("FANLIGHT_TEST_HELM") or shutil.which("helm")

pytestmark = pytest.mark.skipif(HELM is None, reason="needs helm, on PATH or named by FANLIGHT_TEST_HELM")

EVERYTHING = [
    "ingress.enabled=true",
    "ingress.tlsSecretName=certificate",
    "autoscaling.enabled=true",
    "networkPolicy.enabled=true",
    "serviceMonitor.enabled=true",
    "secretName=fanlight",
]


OLDEST = "1.25.0"
"""Of Kubernetes, by Chart.yaml. A helm that was built without knowing takes an older one for granted."""


def helm(*sets: str) -> subprocess.CompletedProcess[str]:
    """Each of `sets` is a path and a YAML value: `--set` makes a string of a fraction."""
    assert HELM is not None
    pairs = [each.partition("=") for each in sets]
    arguments = [
        argument
        for path, _, value in pairs
        for argument in ("--set-json", f"{path}={json.dumps(yaml.safe_load(value))}")
    ]
    command = [HELM, "template", "test", str(CHART), "--kube-version", OLDEST, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def rendered(*sets: str) -> dict[str, dict[str, Any]]:
    """The objects, by kind and name."""
    result = helm(*sets)
    assert result.returncode == 0, result.stderr
    objects = [each for each in yaml.safe_load_all(result.stdout) if each]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}


@pytest.fixture(scope="module")
def everything() -> dict[str, dict[str, Any]]:
    return rendered(*EVERYTHING, "settings.max_publish_body_bytes=16000000", "settings.demo=true")


def pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment/test"]["spec"]["template"]["spec"]
    return spec


def test_little_is_made_unless_it_is_asked_for() -> None:
    assert set(rendered()) == {
        "Deployment/test",
        "Service/test",
        "Service/test-admin",
        "PodDisruptionBudget/test",
    }


def test_everything_is_made_that_is_asked_for(everything: dict[str, dict[str, Any]]) -> None:
    asked = {"Ingress/test", "HorizontalPodAutoscaler/test", "NetworkPolicy/test", "ServiceMonitor/test"}
    assert asked <= set(everything)
    assert "replicas" not in everything["Deployment/test"]["spec"], "the autoscaler's"


def test_the_variables_are_settings_that_the_gateway_takes(everything: dict[str, dict[str, Any]]) -> None:
    [container] = pod(everything)["containers"]
    variables = {each["name"].removeprefix(ENV_PREFIX).lower(): each["value"] for each in container["env"]}
    settings = Settings.model_validate(variables)
    assert (settings.max_publish_body_bytes, settings.demo, settings.max_streams) == (
        16_000_000,
        True,
        20_000,
    )
    assert settings.admin_host == "0.0.0.0"
    assert container["envFrom"] == [{"secretRef": {"name": "fanlight"}}]


@pytest.mark.parametrize(("wait_seconds", "drain_seconds", "grace_seconds"), [(5, 20, 40), (0.5, 60.2, 76)])
def test_a_pod_has_more_time_to_stop_than_its_drain_takes(
    wait_seconds: float, drain_seconds: float, grace_seconds: int
) -> None:
    objects = rendered(
        f"settings.drain_wait_seconds={wait_seconds}", f"settings.drain_seconds={drain_seconds}"
    )
    assert pod(objects)["terminationGracePeriodSeconds"] == grace_seconds


def test_a_release_of_our_name_starts(everything: dict[str, dict[str, Any]]) -> None:
    """Kubernetes would put the Service's FANLIGHT_PORT=tcp://... into its pods, which no gateway takes."""
    assert pod(everything)["enableServiceLinks"] is False


def test_a_pod_may_do_little(everything: dict[str, dict[str, Any]]) -> None:
    spec = pod(everything)
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_drain_is_noticed_before_it_ends_streams(everything: dict[str, dict[str, Any]]) -> None:
    [container] = pod(everything)["containers"]
    probe = container["readinessProbe"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert probe["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert probe["periodSeconds"] * probe["failureThreshold"] < values["settings"]["drain_wait_seconds"]


def test_selectors_find_the_pods(everything: dict[str, dict[str, Any]]) -> None:
    template = everything["Deployment/test"]["spec"]["template"]
    labels, ports = template["metadata"]["labels"], template["spec"]["containers"][0]["ports"]
    selectors = [
        everything["Deployment/test"]["spec"]["selector"]["matchLabels"],
        everything["Service/test"]["spec"]["selector"],
        everything["Service/test-admin"]["spec"]["selector"],
        everything["PodDisruptionBudget/test"]["spec"]["selector"]["matchLabels"],
        everything["NetworkPolicy/test"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    services = [everything[name] for name in ("Service/test", "Service/test-admin")]
    assert {port["targetPort"] for each in services for port in each["spec"]["ports"]} <= {
        port["name"] for port in ports
    }
    wanted = everything["ServiceMonitor/test"]["spec"]["selector"]["matchLabels"]
    assert [wanted.items() <= each["metadata"]["labels"].items() for each in services] == [False, True]


def test_the_scraped_job_has_the_name_that_the_rules_know(everything: dict[str, dict[str, Any]]) -> None:
    label = everything["ServiceMonitor/test"]["spec"]["jobLabel"]
    assert everything["Service/test-admin"]["metadata"]["labels"][label] == "fanlight"


def test_more_pods_come_before_all_are_full(everything: dict[str, dict[str, Any]]) -> None:
    [metric] = everything["HorizontalPodAutoscaler/test"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "fanlight_streams_open"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "12000"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("settings.max_steams=5", "max_steams"),
        ("settings.jwt_secret=x", "jwt_secret"),
        ("replicas=none", "replicas"),
        ("ingres.enabled=true", "ingres"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(wrong: str, told: str) -> None:
    result = helm(wrong)
    assert result.returncode != 0
    assert f"'{told}'" in result.stderr or f"/{told}'" in result.stderr
