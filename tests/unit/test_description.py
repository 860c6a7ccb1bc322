"""The OpenAPI document says what the code does: its routes, its statuses, its limits, its closed sets."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import Gateway
from gateway.auth.refusals import Refusal
from gateway.http import admin, description, disconnect, events, publish, refusing, tickets
from gateway.http.current import Configuration, Current
from gateway.inspect import presence
from gateway.protocol import asking, publishing, request_id
from gateway.settings import Settings
from gateway.workers.admin import NodeAdmin
from publisher import errors, ids
from publisher.channels import MAX_CHANNEL_BYTES

if TYPE_CHECKING:
    from types import ModuleType

    from aiohttp import web

DOCUMENT: dict[str, Any] = json.loads(description.DOCUMENT)
SCHEMAS = DOCUMENT["components"]["schemas"]
METHODS = {"get", "head", "options", "post", "put", "delete", "patch", "trace"}


def operations(tag: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Those of one port, by method and path."""
    return {
        (method.upper(), path): operation
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in METHODS and operation["tags"] == [tag]
    }


def routes(app: web.Application) -> set[tuple[str, str]]:
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}


async def node() -> Gateway:
    current = Current(Configuration.of(Settings(), None))
    return Gateway(current, lambda coroutine, name: coroutine.close())  # type: ignore[arg-type, return-value]


async def test_every_route_of_the_public_port_is_described_and_no_other() -> None:
    gateway = await node()
    assert routes(gateway.public_app()) == set(operations("public"))
    await gateway.aclose()


async def test_every_route_of_the_admin_port_is_described_and_no_other() -> None:
    """Of a node of one process, and of one with workers."""
    gateway = await node()
    # aiohttp answers HEAD where there is GET, which goes without saying.
    described = set(operations("admin"))
    for app in (gateway.admin_app(), NodeAdmin([], lambda: ()).app()):
        assert {route for route in routes(app) if route[0] != "HEAD"} == described
    await gateway.aclose()


def statuses(*modules: ModuleType) -> set[int]:
    """The statuses that a module's code names: `HTTPStatus.X`, `status=200`, a tuple's."""
    found: set[int] = set()
    for module in modules:
        for item in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name):
                if item.value.id == "HTTPStatus":
                    found.add(int(HTTPStatus[item.attr]))
            elif isinstance(item, ast.keyword) and item.arg == "status":
                literals = (n.value for n in ast.walk(item.value) if isinstance(n, ast.Constant))
                found |= {value for value in literals if isinstance(value, int)}
    return found


@pytest.mark.parametrize(
    ("path", "modules"),
    [
        ("/events", (events, refusing)),
        ("/publish", (publish, refusing)),
        ("/ticket", (tickets, refusing)),
        ("/disconnect", (disconnect, refusing)),
        ("/presence", (presence, refusing)),
        ("/readyz", (admin,)),
    ],
)
def test_every_status_that_a_handler_answers_is_declared_and_no_other(
    path: str, modules: tuple[ModuleType, ...]
) -> None:
    """`default` is for what aiohttp answers, and for what fails: a problem document each time."""
    declared = set[str]()
    for method, operation in DOCUMENT["paths"][path].items():
        if method in METHODS:
            declared |= operation["responses"].keys()
            assert "default" in operation["responses"] or method == "options", (method, path)
    assert {int(status) for status in declared - {"default"}} == statuses(*modules) | {200}


def walk(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """All objects in the document, with where they are."""
    if isinstance(value, dict):
        yield at, value
        for name, item in value.items():
            yield from walk(item, f"{at}/{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from walk(item, f"{at}/{number}")


def test_limits_that_are_settings_are_their_defaults() -> None:
    named: set[str] = set()
    for at, schema in walk(DOCUMENT):
        for keyword, setting in schema.get("x-settings", {}).items():
            assert schema[keyword] == Settings.model_fields[setting].default, (at, keyword, setting)
            named.add(setting)
    assert named == {
        "max_channels_per_stream",
        "max_last_events",
        "max_presence_channels",
        "max_publish_batch",
        "ticket_seconds",
    }


def test_every_largest_value_is_a_setting_or_a_constant_of_the_contract() -> None:
    constants = {
        "/components/schemas/Channel/maxLength": MAX_CHANNEL_BYTES,
        "/components/schemas/EventId/maxLength": 128,
        "/components/schemas/PublishItem/properties/type/maxLength": 128,
        "/components/schemas/PublishItem/properties/idempotency_key/maxLength": 128,
        "/components/schemas/Problem/properties/status/maximum": 599,
        "/components/schemas/Target/maxProperties": 1,
        "/paths//inspect/snapshot/get/parameters/2/schema/maximum": asking.MOST_SHOWN,
    }
    bounds = {
        f"{at}/{keyword}": value
        for at, schema in walk(DOCUMENT)
        for keyword, value in schema.items()
        if keyword.startswith("max") and not at.endswith("x-settings")
        if keyword not in schema.get("x-settings", {})
    }
    assert bounds == constants


def test_closed_sets_are_those_of_the_code() -> None:
    assert SCHEMAS["Reason"]["enum"] == [reason.value for reason in Refusal]
    of_items = {"BadItem", "NotGranted"}
    of_publisher = {name for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert set(SCHEMAS["Failed"]["properties"]["error"]["properties"]["type"]["enum"]) == of_items | (
        of_publisher - {"PublishError", "BatchFailed", "InvalidRevocation", "RevocationsFull"}
    )
    assert SCHEMAS["PublishItem"]["properties"].keys() == publishing._FIELDS


def test_grammars_are_those_of_the_code() -> None:
    name = SCHEMAS["Channel"]["pattern"].removeprefix("^(?!fanlight\\.)").removesuffix("$")
    from publisher import channels

    assert channels._NAME.pattern == name
    assert SCHEMAS["RequestId"]["pattern"] == f"^{request_id._WELL_FORMED.pattern}$"
    assert f"^{ids._ID.pattern}$".replace("([0-9a-f]{6})", "[0-9a-f]{6}") == SCHEMAS["EventId"]["pattern"]


def test_every_answer_has_an_id() -> None:
    for _, item in walk(DOCUMENT["paths"]):
        for status, answer in item.get("responses", {}).items():
            assert "$ref" in answer or "X-Request-Id" in answer["headers"], (item["operationId"], status)
    for name, answer in DOCUMENT["components"]["responses"].items():
        assert "X-Request-Id" in answer["headers"], name


def test_every_reference_leads_somewhere() -> None:
    for at, item in walk(DOCUMENT):
        if "$ref" in item:
            target: Any = DOCUMENT
            for part in item["$ref"].removeprefix("#/").split("/"):
                assert part in target, (at, item)
                target = target[part]


def test_the_document_is_beside_the_others() -> None:
    from tests.support.fork_server import ROOT

    assert (ROOT / "docs" / "openapi.json").read_bytes() == description.DOCUMENT
