"""Imports only go down, the publisher stands alone, and the pure packages are pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.layering import imports, violations

ROOT = Path(__file__).resolve().parents[2]


def project_sources() -> dict[str, str]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for package in ("publisher", "gateway")
        for path in (ROOT / package).rglob("*.py")
    }


def test_the_project_keeps_the_order() -> None:
    assert violations(project_sources()) == []


def test_the_check_sees_the_project() -> None:
    sources = project_sources()
    assert {"publisher.channels", "gateway.protocol.sse", "gateway.cli.__init__"} <= set(sources)
    seen = {
        item.module
        for item in imports("gateway.protocol.publication", sources["gateway.protocol.publication"])
    }
    assert any(module.startswith("publisher.payload") for module in seen)


FORBIDDEN = [
    ("publisher.client", "import gateway"),
    ("publisher.client", "from gateway.protocol import sse"),
    ("publisher.client", "import aiohttp"),
    ("publisher.client", "import hiredis"),
    ("publisher.client", "def f() -> None:\n    from gateway import settings"),
    ("publisher.__init__", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gateway.hub"),
    ("publisher.client", "import importlib\nimportlib.import_module('gateway.hub')"),
    ("gateway.protocol.sse", "import asyncio"),
    ("gateway.protocol.sse", "import time"),
    ("gateway.protocol.sse", "from time import monotonic"),
    ("gateway.protocol.sse", "import socket"),
    ("gateway.protocol.sse", "import aiohttp"),
    ("gateway.protocol.sse", "import redis.asyncio"),
    ("gateway.protocol.sse", "from publisher import Publisher"),
    ("gateway.protocol.sse", "from gateway.hub import state"),
    ("gateway.protocol.sse", "from gateway import hub"),
    ("gateway.protocol.sse", "from ..hub import state"),
    ("gateway.protocol.__init__", "from ..broker.link import Link"),
    ("gateway.protocol.sse", "from gateway.settings import Settings"),
    ("gateway.hub.hub", "import asyncio"),
    ("gateway.hub.hub", "import redis"),
    ("gateway.hub.hub", "from aiohttp import web"),
    ("gateway.hub.hub", "from gateway.metrics import METRICS"),
    ("gateway.hub.hub", "from gateway.broker import link"),
    ("gateway.hub.hub", "from gateway.http import stream"),
    ("gateway.protocol.sse", "import jwt"),
    ("gateway.protocol.sse", "from gateway.auth import grants"),
    ("gateway.hub.hub", "import cryptography"),
    ("gateway.auth.keys", "import aiohttp"),
    ("gateway.auth.keys", "import time"),
    ("gateway.auth.keys", "from gateway.settings import Settings"),
    ("gateway.auth.keys", "from gateway.broker import tickets"),
    ("gateway.auth.keys", "from publisher import Publisher"),
    ("gateway.broker.link", "from gateway.hub import state"),
    ("gateway.broker.link", "from gateway.http import stream"),
    ("gateway.http.stream", "import gateway.app"),
    ("gateway.http.stream", "from gateway.inspect.presence import PresenceDesk"),
    ("gateway.inspect.node", "from gateway.app import Gateway"),
    ("gateway.app", "from gateway import lifecycle"),
    ("gateway.lifecycle", "from gateway.cli import main"),
    ("gateway.settings", "from gateway.broker import link"),
    ("gateway.logs", "from gateway.settings import Settings"),
    ("gateway.__init__", "from gateway.app import App"),
    ("gateway.elsewhere", "import json"),
]


@pytest.mark.parametrize(("module", "source"), FORBIDDEN)
def test_a_violation_is_found(module: str, source: str) -> None:
    found = violations({module: source})
    assert len(found) == 1
    assert found[0].startswith(f"{module}:")


ALLOWED = [
    ("publisher.client", "import json, socket\nimport redis.asyncio\nfrom publisher.ids import EventId"),
    ("publisher.client", "from . import ids\nfrom .channels import Channel"),
    (
        "gateway.protocol.sse",
        "import json, re, zlib\nfrom publisher.payload import decode\nfrom . import gaps",
    ),
    (
        "gateway.hub.hub",
        "from collections import deque\nfrom gateway.protocol import sse\nfrom . import state",
    ),
    (
        "gateway.broker.link",
        "import asyncio, hiredis\nfrom gateway.protocol import merge\nfrom gateway import metrics",
    ),
    ("gateway.http.stream", "import aiohttp\nfrom gateway.hub import hub\nfrom gateway.broker import link"),
    ("gateway.cli.__init__", "from gateway.lifecycle import run\nfrom .arguments import parse"),
    ("gateway.auth.keys", "import jwt\nfrom cryptography import x509\nfrom gateway.protocol import patterns"),
    ("gateway.broker.tickets", "from gateway.auth.grants import Grant"),
    ("gateway.inspect.node", "import asyncio\nfrom gateway.http.stream import EventStream"),
    ("gateway.workers.admin", "from gateway.inspect.pages import Pages"),
    ("gateway.metrics", "from gateway.protocol.closing import CloseReason"),
    ("gateway.app", "from gateway import __doc__"),
]


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_goes_down_is_allowed(module: str, source: str) -> None:
    assert violations({module: source}) == []
