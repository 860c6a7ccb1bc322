"""What both ports take and answer, for tools: `openapi.json`, an OpenAPI 3.1 document.

It is written by hand; a test holds it against the routes, the statuses and the settings' limits.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from aiohttp import web

DOCUMENT: Final = resources.files("gateway.http").joinpath("openapi.json").read_bytes()


async def describe(_: web.Request) -> web.Response:
    """The document. It is for whoever runs the gateway, so it is on the admin port."""
    return web.Response(body=DOCUMENT, content_type="application/json")


def add_to(app: web.Application) -> None:
    app.router.add_get("/openapi.json", describe)
