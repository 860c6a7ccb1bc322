"""A running gateway does what its OpenAPI document says.

Schemathesis makes up requests from the document alone: each bound of each parameter and body at its edge and
beyond it, methods that are not there, credentials left out and made up; and then others at random. It judges
every answer by the document too. Of a stream it reads the first event, and leaves.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from gateway.http import description
from tests.support.tokens import SECRET, claims, hs256
from tests.support.wait import PATIENCE_SECONDS

if TYPE_CHECKING:
    from schemathesis import Case, HookContext, Response, SerializationContext
    from schemathesis.core.failures import Failure
    from schemathesis.engine.recorder import ScenarioRecorder

    from tests.conftest import StartGateway
    from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.once

EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string"},
        "id": {"$ref": "#/components/schemas/EventId"},
        "retry": {"type": "integer"},
    },
    "required": ["event", "data"],
    "additionalProperties": False,
}
"""Each has a type. A gap has no id where the client's cursor was none."""
LIMITS = {"max_publish_batch": 20}
"""Bounds of the document that are settings. As many events as may be by default take seconds."""
PLENTY = {
    "max_new_streams_per_second": 10_000,
    "max_failed_credentials_per_second": 10_000,
    "max_tickets_per_second": 10_000,
    "max_publish_per_second": 10_000,
    "max_questions_per_second": 10_000,
    "presence_seconds": 1,
}
"""Nobody is refused for asking too often."""


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    """One that serves nobody without a token."""
    return share_gateway(**LIMITS, **PLENTY, jwt_secret=SECRET, anonymous_subscribe=None)


class Report:
    """How often an operation was answered by which status, and what of it is not as the document says."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.faults: dict[str, str] = {}

    def add(self, label: str, recorder: ScenarioRecorder) -> None:
        for interaction in recorder.interactions.values():
            self.answers[label, interaction.response.status_code if interaction.response else 0] += 1
        for check in (check for checks in recorder.checks.values() for check in checks):
            if check.failure_info is not None:
                failure = check.failure_info.failure
                fault = f"{label}: {check.name}: {failure.title}: {failure.message[:500]}"
                self.faults.setdefault(fault, check.failure_info.code_sample)

    def statuses(self, label: str) -> set[int]:
        return {status for name, status in self.answers if name == label}


def ask(url: str, tag: str, *, token: str | None = None, phases: tuple[str, ...], examples: int) -> Report:
    """Ask what the document says is on this port. `make explore` asks for much more, and anew each time."""
    # Here, so that nobody else has to wait for it.
    import schemathesis
    from schemathesis.engine import events, from_schema

    same = hypothesis.settings().derandomize
    config = schemathesis.Config.from_dict(
        {
            "base-url": url,
            "seed": 1 if same else random.getrandbits(32),
            "headers": {} if token is None else {"Authorization": f"Bearer {token}"},
            "continue-on-failure": True,
            "request-timeout": PATIENCE_SECONDS,
            "max-stream-events": 1,
            "generation": {"deterministic": same, "max-examples": examples if same else 20 * examples},
            "phases": {name: {"enabled": name in phases} for name in ("coverage", "fuzzing", "stateful")},
        }
    )
    schema = schemathesis.openapi.from_dict(document(), config=config).include(tag=tag)
    schema.hook(filter_failure)
    schemathesis.serializer("application/x-ndjson")(lines)
    report = Report()
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError), event.info.format()
        if isinstance(event, events.ScenarioFinished) and event.label is not None:
            report.add(event.label, event.recorder)
    if report.faults:
        raise AssertionError("\n\n".join(map("\n".join, report.faults.items())))
    return report


def document() -> dict[str, Any]:
    """The document, with this gateway's limits; as one of OpenAPI 3.2, which has a word for the events of a
    stream, and in which the schema of its body is meant as it is here."""

    def limited(schema: dict[str, Any]) -> dict[str, Any]:
        keywords = schema.get("x-settings", {})
        return schema | {word: LIMITS[name] for word, name in keywords.items() if name in LIMITS}

    parsed: dict[str, Any] = json.loads(description.DOCUMENT, object_hook=limited)
    stream = parsed["paths"]["/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    stream["itemSchema"] = EVENT
    return {**parsed, "openapi": "3.2.0"}


def filter_failure(_: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Whether it is one. Two things of a batch no schema can say: a bad item is refused in the batch's
    result, and each of an item's channels counts."""
    if case.path != "/publish":
        return True
    match failure.kind_title:
        case "Schema-violating request accepted":
            return not json.loads(response.text).get("failed")
        case "Schema-valid request rejected":
            return "at most 20 are allowed" not in response.text
        case _:
            return True


def lines(_: SerializationContext, value: object) -> bytes:
    """NDJSON, of which Schemathesis knows nothing."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def test_for_the_holder_of_a_token(gateway: GatewayProcess) -> None:
    everything = {"subscribe": ["*"], "publish": ["*"], "presence": ["*"], "disconnect": True}
    token = hs256().sign({**claims(seconds=3600), "fanlight": everything})
    report = ask(gateway.url, "public", token=token, phases=("coverage", "fuzzing"), examples=10)
    assert report.statuses("GET /events") >= {200, 400, 401, 405}
    assert report.statuses("HEAD /events") >= {200, 400, 401}
    assert report.statuses("POST /publish") >= {200, 400, 401, 405, 415}
    assert report.statuses("POST /ticket") >= {200, 401, 405}
    assert report.statuses("GET /presence") >= {200, 400, 401, 405}
    assert report.statuses("POST /disconnect") >= {200, 400, 401, 405, 415}


def test_for_anybody(gateway: GatewayProcess) -> None:
    """Nothing but preflights is answered with success."""
    report = ask(gateway.url, "public", phases=("fuzzing",), examples=5)
    served = {label for label, status in report.answers if status < 400}
    names = ("events", "presence", "publish", "ticket", "disconnect")
    assert served == {f"OPTIONS /{name}" for name in names}
    assert 401 in report.statuses("GET /events")


def test_on_the_admin_port(gateway: GatewayProcess) -> None:
    report = ask(gateway.admin_url, "admin", phases=("coverage", "fuzzing"), examples=2)
    for path in ("livez", "readyz", "metrics", "openapi.json"):
        assert report.statuses(f"GET /{path}") == {200, 405}
    assert report.statuses("GET /inspect/snapshot") == {200, 400, 405}
