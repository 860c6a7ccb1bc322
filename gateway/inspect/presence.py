"""`GET /presence`: how many streams follow some channels, over all nodes; for tokens that allow it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.refusals import Refused
from gateway.http.authority import Undecided
from gateway.http.problems import problem
from gateway.inspect.line import Away
from gateway.protocol.asking import presence_channels
from gateway.protocol.limits import OverLimit
from gateway.protocol.request import BadRequest

if TYPE_CHECKING:
    from gateway.http.admission import Admission
    from gateway.http.authority import Authority
    from gateway.http.cors import Cors
    from gateway.http.current import Current
    from gateway.inspect.inspector import Inspector
    from publisher.channels import Channel

_METHODS: Final = "GET, OPTIONS"
_RETRY_AFTER_SECONDS: Final = "1"
_AWAY: Final = "The other nodes can't be asked now: this one has no connection to Redis; try again."


class PresenceDesk:
    """The handler of the presence resource."""

    def __init__(
        self,
        inspector: Inspector,
        authority: Authority,
        admission: Admission,
        cors: Cors,
        current: Current,
    ) -> None:
        self._inspector = inspector
        self._authority = authority
        self._admission = admission
        self._cors = cors
        self._current = current

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/presence", self.get, allow_head=False)
        app.router.add_options("/presence", self.options)

    async def options(self, request: web.Request) -> web.Response:
        headers = self._cors.preflight(request.headers, _METHODS)
        return web.Response(status=204, headers={"Allow": _METHODS, **headers})

    async def get(self, request: web.Request) -> web.Response:
        cors = self._cors.headers(request.headers)
        later = {"Retry-After": _RETRY_AFTER_SECONDS, **cors}
        try:
            channels = await self._channels(request)
            self._inspector.inquiries.allow()
            presence = await self._inspector.presence(channels)
        except BadRequest as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error), headers=cors)
        except Refused as error:
            return self._authority.answer(error, cors)
        except OverLimit as error:
            return self._admission.answer(error, cors)
        except Undecided as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=later)
        except Away:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, _AWAY, headers=later)
        return web.json_response(
            {
                "channels": presence.streams,
                "complete": presence.complete,
                "nodes": {"listening": presence.listening, "answered": presence.answered},
            },
            headers={"Cache-Control": "no-store", **cors},
        )

    async def _channels(self, request: web.Request) -> tuple[Channel, ...]:
        """Which it asks about, if it may. Raises `BadRequest`, `Refused`, `Undecided`, `OverLimit`."""
        try:
            query = list(request.query.items())
        except ValueError:
            raise BadRequest("the query is not UTF-8, percent-encoded") from None
        grant = await self._authority.service(request)
        channels = presence_channels(query, most=self._current.settings.max_presence_channels)
        grant.check_presence(channels)
        self._authority.check_again(grant)
        return channels
