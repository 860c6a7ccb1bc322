"""The inspector on the admin port: a page of static files, and the object that it shows.

The page is a sibling of the demo page, whose colours and controls it has. Nothing on it acts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.http.demo import SECURITY
from gateway.http.problems import problem
from gateway.http.refusing import too_many
from gateway.protocol.asking import InspectRequest
from gateway.protocol.limits import OverLimit
from gateway.protocol.request import BadRequest

if TYPE_CHECKING:
    from gateway.http.admission import Admission
    from gateway.inspect.inspector import Inspector

_SHARED: Final = (
    "theme.css",
    "theme.js",
    "demo.css",
    "toggle.js",
    "frames.js",
    "panes.js",
    "fanlight.svg",
)
"""Of the demo page."""
_HEADERS: Final = {**SECURITY, "Cross-Origin-Resource-Policy": "same-origin"}
Snapshot = Callable[[web.Request], Awaitable[web.Response]]


class Pages:
    """`/inspect`, its files and `/inspect/snapshot`, which `snapshot` answers."""

    def __init__(self, snapshot: Snapshot) -> None:
        package = Path(str(resources.files("gateway")))
        own = (package / "inspect" / "page").iterdir()
        shared = (package / "demo" / name for name in _SHARED)
        self._files = {path.name: path for path in (*own, *shared)}
        self._snapshot = snapshot

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/inspect", self.page)
        app.router.add_get("/inspect/snapshot", self._snapshot)
        app.router.add_get("/inspect/{file}", self.file)

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self._files["inspect.html"], headers=_HEADERS)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One of a known set: what is asked for becomes no path."""
        path = self._files.get(request.match_info["file"])
        if path is None:
            return problem(HTTPStatus.NOT_FOUND, "There is no such file. The inspector is at /inspect.")
        return web.FileResponse(path, headers=_HEADERS)


class SnapshotDesk:
    """The handler of the object, in a process that asks for itself."""

    def __init__(self, inspector: Inspector, admission: Admission) -> None:
        self._inspector = inspector
        self._admission = admission

    async def get(self, request: web.Request) -> web.Response:
        try:
            asked = InspectRequest.parse(list(request.query.items()))
            self._inspector.inquiries.allow()
        except (BadRequest, ValueError) as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        except OverLimit as error:
            self._admission.hit(error.limit)
            return too_many(error, {})
        headers = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
        return web.json_response(await self._inspector.snapshot(asked), headers=headers)
