"""`POST /publish`: publishing over HTTP, for those who have no publisher library.

Off where there is neither a publish token, which allows every channel, nor a key for tokens, whose claims
say which. Items of a batch are answered one by one, in order: a bad one never costs a good one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from gateway.auth.credentials import bearer
from gateway.auth.refusals import Refusal, Refused
from gateway.http.authority import EVERYTHING, Undecided
from gateway.http.batch import Batch, NotGranted, Result
from gateway.http.bodies import BodyTooSlow, read_body
from gateway.http.problems import detail_of, last, problem
from gateway.logs import get_logger
from gateway.protocol.limits import Limit, OverLimit
from gateway.protocol.publishing import BadItem, Item, PublishRequest
from gateway.protocol.request import BadRequest
from publisher import (
    AsyncPublisher,
    ChannelClosed,
    DataTooLarge,
    InvalidEvent,
    Published,
    RedisRefused,
    RedisUnreachable,
)
from publisher.traceparent import Traceparent

if TYPE_CHECKING:
    from multidict import CIMultiDict, CIMultiDictProxy

    from gateway.auth.grants import Grant
    from gateway.http.admission import Admission
    from gateway.http.authority import Authority
    from gateway.http.cors import Cors
    from gateway.http.current import Current

_METHODS: Final = "POST, OPTIONS"
_NDJSON: Final = "application/x-ndjson"
_JSON: Final = "application/json"
_RETRY_AFTER_SECONDS: Final = "1"
_OFF: Final = (
    "Publishing over HTTP is off on this gateway: it has no publish token, and no key to check tokens with."
)
_TELL_AGAIN_SECONDS: Final = 60.0


class Publish:
    """The handler of the publish resource."""

    def __init__(
        self,
        publisher: AsyncPublisher,
        authority: Authority,
        admission: Admission,
        cors: Cors,
        current: Current,
    ) -> None:
        self._publisher = publisher
        self._authority = authority
        self._admission = admission
        self._cors = cors
        self._current = current
        self._max_items = current.settings.max_publish_batch
        self._max_bytes = current.settings.max_publish_body_bytes
        self._max_event_bytes = current.settings.max_event_bytes
        self._log = get_logger("publish")
        self._told, self._told_at = "", 0.0
        self.published_total = 0
        self.refused_total = 0

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/publish", self.post)
        app.router.add_options("/publish", self.options)

    async def options(self, request: web.Request) -> web.Response:
        headers = self._cors.preflight(request.headers, _METHODS)
        return web.Response(status=204, headers={"Allow": _METHODS, **headers})

    async def post(self, request: web.Request) -> web.Response:
        cors = self._cors.headers(request.headers)
        if self._current.settings.publish_token is None and not self._authority.takes_tokens:
            return problem(HTTPStatus.FORBIDDEN, _OFF, headers=cors)
        try:
            grant = await self._authorise(request)
            publisher = _bucket(request, grant)
            with self._admission.publishing(publisher):
                return await self._post(request, grant, publisher, cors)
        except Refused as error:
            return self._authority.answer(error, cors)
        except OverLimit as error:
            return self._admission.answer(error, cors)
        except Undecided as error:
            return _undecided(error, cors)

    async def _post(
        self, request: web.Request, grant: Grant, publisher: str | None, cors: Mapping[str, str]
    ) -> web.Response:
        """Raises `Refused` and `Undecided` when the grant has ended meanwhile, `OverLimit` when others of the
        same publisher have used up what there was."""
        if request.content_type not in (_JSON, _NDJSON):
            detail = f"Send {_JSON} (an object, or an array of them) or {_NDJSON} (an object a line)."
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=cors)
        try:
            body = await read_body(request, self._current.settings.body_seconds)
            self._admission.check_publishing(publisher)
            self._admission.published(publisher, size_bytes=len(body))
            self._authority.check_again(grant)
            lines = request.content_type == _NDJSON
            asked = PublishRequest.parse(body, lines=lines, max_items=self._max_items)
        except BodyTooSlow:
            self._admission.hit(Limit.BODY_SECONDS)
            detail = "The body did not come in time; send fewer events at once."
            return last(problem(HTTPStatus.REQUEST_TIMEOUT, detail, headers=cors))
        except web.HTTPRequestEntityTooLarge:
            detail = "The body is too large; send the events in several requests."
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=cors)
        except BadRequest as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error), headers=cors)
        self._admission.published(publisher, events=asked.count)
        batch = Batch(
            self._publisher,
            grant,
            traceparent_of(request.headers),
            max_event_bytes=self._max_event_bytes,
            max_bytes=self._max_bytes,
        )
        try:
            results = await batch.publish(asked.items)
        finally:
            self._admission.published(publisher, size_bytes=max(0, batch.size_bytes - len(body)))
        self._tell(results)
        self.published_total += sum(isinstance(result, Published) for result in results)
        self.refused_total += sum(not isinstance(result, Published) for result in results)
        if asked.single:
            return _single(asked.items[0], results, cors)
        return _json(_batch(results), cors)

    async def _authorise(self, request: web.Request) -> Grant:
        """What the bearer may publish to: not nothing. Raises `Refused`, `Undecided`."""
        grant = await self._authority.service(request)
        if not grant.publish:
            raise Refused(Refusal.NOT_GRANTED, "The token does not allow to publish to any channel.")
        return grant

    def _tell(self, results: Iterable[Result]) -> None:
        """Log what Redis said: at once where it is new, and else once a minute."""
        for result in results:
            if isinstance(result, RedisUnreachable | RedisRefused):
                said, now = str(result.__cause__ or result), time.monotonic()
                if said != self._told or now - self._told_at > _TELL_AGAIN_SECONDS:
                    self._told, self._told_at = said, now
                    self._log.warning("publish_failed", kind=type(result).__name__, error=said)


def _bucket(request: web.Request, grant: Grant) -> str | None:
    """Whose events they are: the subject's, or those of a token without one. The publish token is the
    operator's own, and is not counted."""
    if grant is EVERYTHING:
        return None
    return grant.subject or str(hash(bearer(request.headers.getall(hdrs.AUTHORIZATION, ()))))


def traceparent_of(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> str | None:
    """The trace that the request belongs to. A field that is not by the standard counts as none, as the
    standard says: what traces requests must not be what makes them fail."""
    fields = headers.getall("traceparent", ())
    try:
        return str(Traceparent.parse(fields[0])) if len(fields) == 1 else None
    except ValueError:
        return None


def _entry(result: Result) -> dict[str, Any]:
    match result:
        case Published():
            return {"channel": result.channel, "id": result.id, "duplicate": result.duplicate}
        case BadItem() | NotGranted():
            return {"error": {"type": type(result).__name__, "detail": result.detail}}
        case _:
            return {"error": {"type": type(result).__name__, "detail": detail_of(result)}}


def _batch(results: list[Result]) -> dict[str, Any]:
    published = sum(isinstance(result, Published) for result in results)
    return {
        "results": list(map(_entry, results)),
        "published": published,
        "failed": len(results) - published,
    }


def _single(item: Item | BadItem, results: list[Result], cors: Mapping[str, str]) -> web.Response:
    if isinstance(item, Item) and item.several:
        return _json(_batch(results), cors)
    result = results[0]
    match result:
        case Published():
            return _json(_entry(result), cors)
        case BadItem():
            return problem(HTTPStatus.BAD_REQUEST, result.detail, headers=cors)
        case NotGranted():
            return problem(HTTPStatus.FORBIDDEN, result.detail, headers=cors)
        case DataTooLarge():
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(result), headers=cors)
        case InvalidEvent():
            return problem(HTTPStatus.BAD_REQUEST, str(result), headers=cors)
        case ChannelClosed():
            return problem(HTTPStatus.CONFLICT, str(result), headers=cors)
        case RedisUnreachable():
            retry = {"Retry-After": _RETRY_AFTER_SECONDS, **cors}
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail_of(result), headers=retry)
        case _:
            return problem(HTTPStatus.INSUFFICIENT_STORAGE, detail_of(result), headers=cors)


def _undecided(error: Undecided, cors: Mapping[str, str]) -> web.Response:
    retry = {"Retry-After": _RETRY_AFTER_SECONDS, **cors}
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=retry)


def _json(body: object, cors: Mapping[str, str]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, content_type=_JSON, headers={"Cache-Control": "no-store", **cors})
