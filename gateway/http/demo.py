"""The demo page: static files. Its configuration tells it what it may do."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import web

SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Demo:
    """The page at `/`, its files under `/demo/`. `fanlight dev` puts its own configuration before."""

    def __init__(self) -> None:
        self._files = Path(str(resources.files("gateway") / "demo"))

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/", self.index)
        app.router.add_get("/demo/config.json", self.config)
        app.router.add_static("/demo/", self._files)
        app.on_response_prepare.append(self._secure)

    async def index(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self._files / "index.html")

    async def config(self, _: web.Request) -> web.Response:
        """Outside of dev mode nobody is given a token."""
        return web.json_response({"publish": False, "dev": False}, headers={"Cache-Control": "no-store"})

    async def _secure(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.path == "/" or request.path.startswith("/demo/"):
            for name, value in SECURITY.items():
                response.headers.setdefault(name, value)
