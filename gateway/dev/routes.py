"""What only `fanlight dev` serves: the page's configuration with the publish token, and answers."""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from gateway.dev.answers import MAX_ANSWERS, Answers, NotReady, TooManyAnswers
from gateway.http.cors import Cors
from gateway.http.problems import problem
from gateway.protocol import strict_json

if TYPE_CHECKING:
    from gateway.settings import Settings

MAX_PROMPT_CHARACTERS: Final = 2000
_MAX_BODY_BYTES: Final = 16_384


class Demo:
    """The dev mode's handlers."""

    def __init__(self, settings: Settings, answers: Answers) -> None:
        self._settings = settings
        self._answers = answers
        self._cors = Cors(settings.allowed_origins)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/demo/config.json", self.config)
        app.router.add_post("/demo/answer", self.answer)
        app.router.add_options("/demo/answer", self.preflight)

    async def config(self, request: web.Request) -> web.Response:
        """What the page may do. The token goes to this machine's browsers, and there to our own page
        only: this answer has no CORS headers."""
        config: dict[str, object] = {"publish": True, "dev": True}
        token = self._settings.publish_token
        if token is not None and is_local(request.remote, request.headers.get("Host")):
            config["publish_token"] = token.get_secret_value()
        return web.json_response(config, headers={"Cache-Control": "no-store"})

    async def preflight(self, request: web.Request) -> web.Response:
        """CORS, for docs/examples/answer.html opened as a file."""
        return web.Response(
            status=HTTPStatus.NO_CONTENT, headers=self._cors.preflight(request.headers, "POST")
        )

    async def answer(self, request: web.Request) -> web.Response:
        """POST {"prompt": "..."} -> {"channel": "answer.<random>"}."""
        response = await self._answer(request)
        response.headers.update(self._cors.headers(request.headers))
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > _MAX_BODY_BYTES:
                return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {_MAX_BODY_BYTES} bytes")
        try:
            prompt = strict_json.parse(body)["prompt"]
        except (ValueError, KeyError, TypeError):
            prompt = None
        if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > MAX_PROMPT_CHARACTERS:
            detail = f'send {{"prompt": "..."}} with 1 to {MAX_PROMPT_CHARACTERS} characters'
            return problem(HTTPStatus.BAD_REQUEST, detail)
        try:
            channel = await self._answers.begin(prompt)
        except TooManyAnswers:
            detail = f"{MAX_ANSWERS} other answers are being written; try again in a few seconds"
            return problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={"Retry-After": "5"})
        except NotReady:
            detail = "Redis does not answer; try again"
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})
        return web.json_response({"channel": channel}, headers={"Cache-Control": "no-store"})


def is_local(remote: str | None, host: str | None) -> bool:
    """Whether a request comes from this machine and was meant for it. The Host header is checked for
    DNS rebinding: a name of somebody else's that was made to point to 127.0.0.1 is not local."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return _is_loopback(remote or "") and (name == "localhost" or _is_loopback(name))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
