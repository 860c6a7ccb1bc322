"""`POST /disconnect`: end what is open of a subject, a token or a channel, on all nodes, and keep it closed.

Redis is told, and each node hears of it from there (`gateway.http.control`), this one too.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.refusals import Refusal, Refused
from gateway.http.authority import Undecided
from gateway.http.bodies import BodyTooSlow, read_body
from gateway.http.problems import detail_of, last, problem
from gateway.protocol import disconnecting
from gateway.protocol.limits import Limit, OverLimit
from gateway.protocol.request import BadRequest
from publisher import AsyncPublisher, PublishError, RedisUnreachable, RevocationsFull

if TYPE_CHECKING:
    from gateway.http.admission import Admission
    from gateway.http.authority import Authority
    from gateway.http.cors import Cors
    from gateway.http.current import Current
    from publisher.control import Target

_METHODS: Final = "POST, OPTIONS"
_JSON: Final = "application/json"
_RETRY_AFTER_SECONDS: Final = "1"
_UNREACHABLE: Final = "Redis gave no answer in time, and may or may not have it: send it again."
_NOT_GRANTED: Final = "The token does not allow to disconnect anybody: that takes fanlight.disconnect in it."


class Disconnect:
    """The handler of the disconnect resource."""

    def __init__(
        self,
        publisher: AsyncPublisher,
        authority: Authority,
        admission: Admission,
        cors: Cors,
        current: Current,
        *,
        counted_seconds: float,
    ) -> None:
        """`counted_seconds` is for how long a revocation counts."""
        self._publisher = publisher
        self._authority = authority
        self._admission = admission
        self._cors = cors
        self._current = current
        self._counted_seconds = counted_seconds
        self.full_total = 0
        """How many were refused because as many count as may."""

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/disconnect", self.post)
        app.router.add_options("/disconnect", self.options)

    async def options(self, request: web.Request) -> web.Response:
        headers = self._cors.preflight(request.headers, _METHODS)
        return web.Response(status=204, headers={"Allow": _METHODS, **headers})

    async def post(self, request: web.Request) -> web.Response:
        cors = self._cors.headers(request.headers)
        later = {"Retry-After": _RETRY_AFTER_SECONDS, **cors}
        if request.content_type != _JSON:
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send {_JSON}.", headers=cors)
        try:
            target = await self._target(request)
            revoked = await self._publisher.revoke(
                **{target.by.value: target.value}, seconds=self._counted_seconds
            )
        except Refused as error:
            return self._authority.answer(error, cors)
        except OverLimit as error:
            return self._admission.answer(error, cors)
        except BodyTooSlow:
            self._admission.hit(Limit.BODY_SECONDS)
            return last(problem(HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time.", headers=cors))
        except BadRequest as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error), headers=cors)
        except web.HTTPRequestEntityTooLarge:
            detail = "The body is too large: it names one subject, token_id or channel."
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=cors)
        except Undecided as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=later)
        except RedisUnreachable:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, _UNREACHABLE, headers=later)
        except PublishError as error:
            self.full_total += isinstance(error, RevocationsFull)
            return problem(HTTPStatus.INSUFFICIENT_STORAGE, detail_of(error), headers=cors)
        return web.json_response(
            {"id": revoked.id, "until": revoked.until}, headers={"Cache-Control": "no-store", **cors}
        )

    async def _target(self, request: web.Request) -> Target:
        """Whom the request is about, if it may. Raises `Refused`, `Undecided`, `OverLimit`, `BodyTooSlow`,
        `BadRequest`."""
        grant = await self._authority.service(request)
        if not grant.disconnect:
            raise Refused(Refusal.NOT_GRANTED, _NOT_GRANTED)
        target = disconnecting.parse(await read_body(request, self._current.settings.body_seconds))
        self._authority.check_again(grant)
        return target
