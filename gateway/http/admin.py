"""The admin port: health and metrics, on an address of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from gateway.http import description
from gateway.metrics import CONTENT_TYPE, Exposition


class Admin:
    """`/livez`, `/readyz` and `/metrics`; and `/openapi.json`."""

    def __init__(
        self, exposition: Exposition, readiness: Callable[[], tuple[bool, Mapping[str, Any]]]
    ) -> None:
        """`readiness` tells whether the node takes new streams, and what it knows of itself."""
        self._exposition = exposition
        self._readiness = readiness

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)
        description.add_to(app)

    async def livez(self, _: web.Request) -> web.Response:
        """The process runs its loop. It stays so while Redis is away: a restart would not help."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        ready, body = self._readiness()
        return web.json_response(
            {"status": "ok" if ready else "unready", **body}, status=200 if ready else 503
        )

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._exposition.text(), headers={"Content-Type": CONTENT_TYPE})
