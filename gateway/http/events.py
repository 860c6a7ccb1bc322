"""`GET /events`: from a request to a live stream.

1. Admission. Any status but 200 makes a browser's EventSource give up for good, so limits, overload, drain
   and the loss of Redis are answered with 200, one `retry:` and the end of the stream. Who may not follow all
   of the channels gets 401 or 403: asking again won't help.
2. Register in the hub, which subscribes; wait until all channels have their floors. Only then send the
   head: what is published after a browser's `open` is delivered.
3. In one synchronous step: the head, and the start of the replay, which goes live by itself.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from gateway.auth.refusals import Refused
from gateway.http import request_ids
from gateway.http.authority import Undecided
from gateway.http.cors import varied
from gateway.http.gzip_stream import GzipStream
from gateway.http.problems import problem
from gateway.http.refusing import too_many
from gateway.http.stream import EventStream
from gateway.hub.subscription import Subscription
from gateway.protocol import sse
from gateway.protocol.compression import Units
from gateway.protocol.limits import Limit, OverLimit
from gateway.protocol.negotiation import accepts_gzip
from gateway.protocol.request import BadRequest, StreamRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.grants import Grant
    from gateway.http.admission import Admission, Place
    from gateway.http.authority import Authority
    from gateway.http.cors import Cors
    from gateway.http.current import Current
    from gateway.http.streams import Streams
    from gateway.hub.hub import Hub

CONTENT_TYPE: Final = "text/event-stream"
_HEADERS: Final = {
    "Content-Type": CONTENT_TYPE,
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_UNSTORED: Final = {"Cache-Control": "no-store, no-transform"}
"""Of what is for one client only."""
_GZIP: Final = {"Content-Encoding": "gzip"}
_METHODS: Final = "GET, HEAD, OPTIONS"
_SHED_FACTOR: Final = 2.0
"""Who was turned away comes back later than who was merely cut off."""


class Events:
    """The handler of the stream's resource."""

    def __init__(
        self,
        hub: Hub,
        streams: Streams,
        authority: Authority,
        admission: Admission,
        cors: Cors,
        current: Current,
    ) -> None:
        self._hub = hub
        self._streams = streams
        self._authority = authority
        self._admission = admission
        self._cors = cors
        self._current = current
        settings = current.settings
        self.wants_presence: Callable[[Subscription], None] | None = None
        """Told of streams that want to know how many follow their channels. None: nobody tells them."""
        self.units = Units(settings.compression_level, settings.compression_cache_bytes)
        self.shed_total = 0
        self._waiting = 0

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/events", self.get, allow_head=False)
        app.router.add_head("/events", self.head)
        app.router.add_options("/events", self.options)

    async def options(self, request: web.Request) -> web.Response:
        headers = self._cors.preflight(request.headers, _METHODS)
        return web.Response(status=204, headers={"Allow": _METHODS, **headers})

    async def head(self, request: web.Request) -> web.Response:
        """What GET would answer, without subscribing."""
        common = self._common(request)
        try:
            asked = self._parse(request)
            if asked.ticket is not None:
                raise BadRequest("A ticket is for one GET; HEAD would use it up. Send a token.")
            grant = await self._authorise(request, asked)
        except BadRequest as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error), headers=common)
        except Refused as error:
            return self._authority.answer(error, common)
        except Undecided:
            return self._shed(request, common)
        except OverLimit as error:
            return self._admission.answer(error, common)
        coding = _GZIP if self._compresses(request) else {}
        unstored = {} if grant.anonymous else _UNSTORED
        return web.Response(headers={**_HEADERS, **unstored, **coding, **common})

    async def get(self, request: web.Request) -> web.Response:
        common = self._common(request)
        try:
            asked = self._parse(request)
        except BadRequest as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error), headers=common)
        if not self._may_enter():
            return self._shed(request, common)
        try:
            place = self._admission.enter(request)
        except OverLimit as error:
            return self._shed(request, common, error)
        self._waiting += 1
        try:
            grant = await self._authorise(request, asked)
            place.claim(grant.subject)
            return await self._begin(request, asked, grant, place, common)
        except Refused as error:
            return self._authority.answer(error, common)
        except Undecided:
            return self._shed(request, common)
        except OverLimit as error:
            return self._shed(request, common, error)
        finally:
            self._waiting -= 1
            if not place.taken:
                place.leave()

    async def _authorise(self, request: web.Request, asked: StreamRequest) -> Grant:
        """What the client may do, which is at least what it asks for. Raises `Refused`, `Undecided`."""
        grant = await self._authority.subscriber(request, asked.ticket)
        self._authority.check_revoked(grant, asked.channels)
        grant.check_subscribe(asked.channels)
        if asked.presence:
            grant.check_presence(asked.channels)
        return grant

    async def _begin(
        self,
        request: web.Request,
        asked: StreamRequest,
        grant: Grant,
        place: Place,
        common: dict[str, str],
    ) -> web.Response:
        if not grant.anonymous:
            common = {**common, **_UNSTORED}
        stream = self._stream(request, asked)
        stream.authorised_until, stream.bearer = grant.expires_at, grant.bearer
        stream.place = place
        subscription = stream.subscription = Subscription(
            stream,
            asked.channels,
            encoding=stream.encoding,
            cursor=asked.cursor,
            last=asked.last,
        )
        self._hub.register(subscription)
        started = False
        try:
            async with asyncio.timeout(self._current.settings.link_deadline_seconds):
                while not self._hub.is_ready(subscription):
                    await stream.wait_ready()
            # From here to the end without an await: nothing may come between floors and start.
            if not self._streams.accepting:
                return self._shed(request, common)  # a drain has begun, and ends those that were open then
            if grant.expires_at <= time.time():
                return self._shed(request, common)  # who comes back is judged anew, by a newer token perhaps
            self._authority.check_in_sync(grant)
            self._authority.check_revoked(grant, asked.channels)
            if self._hub.is_finished(subscription):
                return web.Response(status=204, headers={"Cache-Control": "no-store", **common})
            head = self._head(request, stream, common)
            started = stream.take_over(request, head, sse.retry(self._streams.retry_ms()))
            if started:
                self._hub.start(subscription)
                if asked.presence and self.wants_presence is not None:
                    self.wants_presence(subscription)
        except TimeoutError:
            return self._shed(request, common)
        finally:
            if not started:
                self._hub.unregister(subscription, asyncio.get_running_loop().time())
                del stream.subscription
        # aiohttp has forgotten the connection: this is written nowhere.
        return web.Response()

    def _parse(self, request: web.Request) -> StreamRequest:
        try:
            query = list(request.query.items())
        except ValueError:
            raise BadRequest("the query is not UTF-8, percent-encoded") from None
        asked = StreamRequest.parse(
            query,
            request.headers.get("Last-Event-ID"),
            max_channels=self._current.settings.max_channels_per_stream,
            max_last=self._current.settings.max_last_events,
        )
        if asked.presence and self.wants_presence is None:
            raise BadRequest("presence events are off on this gateway: set presence_seconds")
        return asked

    def _common(self, request: web.Request) -> dict[str, str]:
        """What every answer to this request carries."""
        cors = self._cors.headers(request.headers)
        return cors if self._current.settings.compression == "off" else varied(cors, hdrs.ACCEPT_ENCODING)

    def _compresses(self, request: web.Request) -> bool:
        # What speaks HTTP/1.0 may be a cache, and knows no Vary.
        if self._current.settings.compression == "off" or request.version < HttpVersion11:
            return False
        return accepts_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))

    def _stream(self, request: web.Request, asked: StreamRequest) -> EventStream:
        if self._compresses(request):
            return GzipStream(self._streams, self.units, envelope=asked.envelope)
        chunked = request.version >= HttpVersion11
        return EventStream(self._streams, sse.Encoding(chunked, asked.envelope))

    def _may_enter(self) -> bool:
        streams = self._streams
        if not streams.accepting or not self._hub.node.in_sync:
            return False
        if streams.open + self._waiting < self._current.settings.max_streams:
            return True
        self._admission.hit(Limit.STREAMS)
        return False

    def _shed(
        self, request: web.Request, common: dict[str, str], over: OverLimit | None = None
    ) -> web.Response:
        """Turn a client away so that it comes back."""
        self.shed_total += 1
        retry_ms = self._streams.retry_ms(_SHED_FACTOR)
        if over is not None:
            self._admission.hit(over.limit)
        if not _takes_streams(request.headers.get(hdrs.ACCEPT, CONTENT_TYPE)):
            if over is not None:
                return too_many(over, common, seconds=retry_ms / 1000)
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "This node takes no new streams at the moment; try again.",
                headers={"Retry-After": str(max(1, retry_ms // 1000)), **common},
            )
        return web.Response(body=sse.retry(retry_ms), headers=_HEADERS | common)

    def _head(self, request: web.Request, stream: EventStream, common: dict[str, str]) -> bytes:
        """The response's head."""
        chunked = request.version >= HttpVersion11
        status = "HTTP/1.1 200 OK" if chunked else "HTTP/1.0 200 OK"
        headers = {**_HEADERS, "Date": formatdate(usegmt=True), **common}
        headers[request_ids.HEADER] = stream.request_id
        if stream.compressed:
            headers |= _GZIP
        # The connection ends with its stream, and says so (RFC 9112, section 9.6): a client or a proxy
        # must not send another request on it, only to have it refused.
        headers["Connection"] = "close"
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        lines = [status, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode()


def _takes_streams(accept: str) -> bool:
    """Whether a client with this Accept field would read an event stream. Many say `*/*`: fetch, curl."""
    ranges = {item.partition(";")[0].strip().lower() for item in accept.split(",")}
    return not ranges.isdisjoint({CONTENT_TYPE, "text/*", "*/*"})
