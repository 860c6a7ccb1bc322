"""What only `fanlight dev` serves: the page's configuration with the publish token, and answers."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from gateway.dev.answers import Answers, NotReady, TooManyAnswers

if TYPE_CHECKING:
    from gateway.settings import Settings

MAX_PROMPT_CHARACTERS: Final = 2000
_MAX_BODY_BYTES: Final = 16_384


class Demo:
    """The dev mode's handlers."""

    def __init__(self, settings: Settings, answers: Answers) -> None:
        self._settings = settings
        self._answers = answers

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/demo/config.json", self.config)
        app.router.add_post("/demo/answer", self.answer)

    async def config(self, request: web.Request) -> web.Response:
        """What the page may do. The token goes to this machine's browsers only."""
        config: dict[str, object] = {"publish": True, "dev": True}
        token = self._settings.publish_token
        if token is not None and is_local(request.remote, request.headers.get("Host")):
            config["publish_token"] = token.get_secret_value()
        return web.json_response(config, headers={"Cache-Control": "no-store"})

    async def answer(self, request: web.Request) -> web.Response:
        """POST {"prompt": "..."} -> {"channel": "answer.<random>"}."""
        # A page of another site can't send this type without asking first, and is not allowed to.
        if request.content_type != "application/json":
            return problem(415, "Unsupported media type", "send application/json")
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > _MAX_BODY_BYTES:
                return problem(413, "Too large", f"send at most {_MAX_BODY_BYTES} bytes")
        try:
            prompt = json.loads(body)["prompt"]
        except (ValueError, KeyError, TypeError, RecursionError):
            prompt = None
        if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > MAX_PROMPT_CHARACTERS:
            return problem(
                400, "Bad prompt", f'send {{"prompt": "..."}} with 1 to {MAX_PROMPT_CHARACTERS} characters'
            )
        try:
            channel = await self._answers.begin(prompt)
        except TooManyAnswers:
            return problem(
                429, "Too many answers", "other answers are being written; try again", {"Retry-After": "5"}
            )
        except NotReady:
            return problem(503, "Not ready", "Redis does not answer; try again", {"Retry-After": "2"})
        return web.json_response({"channel": channel})


def is_local(remote: str | None, host: str | None) -> bool:
    """Whether a request comes from this machine and was meant for it. The Host header is checked for
    DNS rebinding: a name of somebody else's that was made to point to 127.0.0.1 is not local."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return _is_loopback(remote or "") and (name == "localhost" or _is_loopback(name))


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer after RFC 9457."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
