"""`POST /ticket`: a ticket for one `GET /events`, for who holds a token."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.refusals import Refusal, Refused
from gateway.broker.tickets import TicketsAway
from gateway.http.authority import Undecided
from gateway.http.problems import problem
from gateway.protocol.limits import OverLimit

if TYPE_CHECKING:
    from gateway.broker.tickets import Tickets
    from gateway.http.admission import Admission
    from gateway.http.authority import Authority
    from gateway.http.cors import Cors

_METHODS: Final = "POST, OPTIONS"
_RETRY_AFTER_SECONDS: Final = "1"
_NOTHING: Final = "The token does not allow to subscribe to any channel, so a ticket would be of no use."


class TicketOffice:
    """The handler of the tickets' resource. The body of a request is not looked at."""

    def __init__(self, tickets: Tickets, authority: Authority, admission: Admission, cors: Cors) -> None:
        self._tickets = tickets
        self._authority = authority
        self._admission = admission
        self._cors = cors

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/ticket", self.post)
        app.router.add_options("/ticket", self.options)

    async def options(self, request: web.Request) -> web.Response:
        headers = self._cors.preflight(request.headers, _METHODS)
        return web.Response(status=204, headers={"Allow": _METHODS, **headers})

    async def post(self, request: web.Request) -> web.Response:
        cors = self._cors.headers(request.headers)
        try:
            grant = await self._authority.bearer(request)
            if not grant.subscribe:
                raise Refused(Refusal.NOT_GRANTED, _NOTHING)
            self._admission.ticket(grant.subject)
            ticket, seconds = await self._tickets.issue(grant)
        except Refused as error:
            return self._authority.answer(error, cors)
        except OverLimit as error:
            return self._admission.answer(error, cors)
        except (Undecided, TicketsAway):
            retry = {"Retry-After": _RETRY_AFTER_SECONDS, **cors}
            detail = "Redis, or the issuer of the token, can't be asked now; try again."
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=retry)
        return web.json_response(
            {"ticket": ticket, "expires_in": seconds}, headers={"Cache-Control": "no-store", **cors}
        )
