"""How much anybody may take: all limits on who comes in, in one place.

Each is of this process, counts as it is set now, and looks at who asks now: nobody who was let in before is
put out, for somebody new or by a lower limit.
A client is an address (`gateway.protocol.addresses`), a subject is what a token says. Where one of them isn't
known, what is counted by it is not bounded by it.

The order is that of a connection's life: `connected`; `enter` for a stream, before anything of the request
costs something; `credentials` around looking at a token; `claim`, when it is known whose it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.auth.refusals import Refused
from gateway.http.refusing import too_many
from gateway.logs import get_logger
from gateway.metrics import counters
from gateway.protocol.addresses import Client, ForwardedBy, Proxies
from gateway.protocol.limits import Limit, OverLimit
from gateway.protocol.rates import Rates, Shares

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client.core import Metric

    from gateway.http.current import Current

_NODE: Final = None
_ADDRESS: Final = "Your address has as many streams as it may: close one, or try again later."
_SUBJECT: Final = "The token's subject has as many streams as it may: close one, or try again later."
_NEW: Final = "This node begins as many streams as it may in a second; try again."
_FAILED: Final = "Too many credentials of your address were refused; try again later, with a good one."
_TICKETS: Final = "This subject was given as many tickets as it may be in a second; try again."
_PUBLISHING: Final = "This subject has published as many events as it may for now; try again later."
_PUBLISHED_BYTES: Final = "This subject has published as many bytes as it may for now; try again later."
_PUBLISHES: Final = "This subject has as many requests under way as it may: wait for their answers."


class Place:
    """What a stream takes of the limits, from its request to its end."""

    __slots__ = ("_admission", "client", "subject", "taken")

    def __init__(self, admission: Admission, client: Client | None) -> None:
        self._admission = admission
        self.client = client
        self.subject: str | None = None
        self.taken = False
        """There is a stream on it, which leaves it when it ends."""

    def claim(self, subject: str | None) -> None:
        """Whose stream it is. Raises `OverLimit`."""
        if subject is not None:
            self._admission.claim(subject)
            self.subject = subject

    def leave(self) -> None:
        """Give it all back, once."""
        self._admission.leave(self)


class Admission:
    """What is taken, and by whom."""

    def __init__(self, current: Current, *, most_descriptors: int | None = None) -> None:
        settings = current.settings
        self._current = current
        self._proxies = Proxies(settings.trusted_proxies, ForwardedBy(settings.forwarded_by))
        self._clock = asyncio.get_running_loop().time
        self.most_descriptors = most_descriptors
        """How many connections the process has room for, streams among them."""
        self._connections: Shares[Client] = Shares(lambda: current.settings.max_connections_per_address)
        self._streams: Shares[Client] = Shares(lambda: current.settings.max_streams_per_address)
        self._subjects: Shares[str] = Shares(lambda: current.settings.max_streams_per_subject)
        self._new: Rates[None] = Rates(lambda: current.settings.max_new_streams_per_second)
        self._failed: Rates[Client] = Rates(lambda: current.settings.max_failed_credentials_per_second)
        self._tickets: Rates[str] = Rates(lambda: current.settings.max_tickets_per_second)
        self._published: Rates[str] = Rates(lambda: current.settings.max_publish_per_second)
        self._published_bytes: Rates[str] = Rates(lambda: current.settings.max_publish_bytes_per_second)
        self._publishes: Shares[str] = Shares(lambda: current.settings.max_publishes_per_subject)
        self._warned = False
        self.connections = 0
        """Those that are no streams."""
        self.places = 0
        """Those that are, or wait to be."""
        self._hits: Counter[Limit] = Counter()

    def hit(self, limit: Limit) -> None:
        """Somebody has come to this limit."""
        self._hits[limit] += 1

    @property
    def hits(self) -> Mapping[Limit, int]:
        """How often somebody has come to each limit that is counted here."""
        return self._hits

    def answer(self, error: OverLimit, headers: Mapping[str, str]) -> web.Response:
        """The answer to a request that is too much, but for a browser's stream."""
        self.hit(error.limit)
        return too_many(error, headers)

    # Connections.

    def connected(self, peer: str | None) -> bool:
        """A connection was accepted. False: it has to be closed at once, and is not counted."""
        if self.connections >= self._current.settings.max_connections:
            self.hit(Limit.CONNECTIONS)
            return False
        most = self.most_descriptors
        if most is not None and self.connections + self.places >= most:
            self.hit(Limit.DESCRIPTORS)
            return False
        client = self._proxies.peer(peer)
        if client is not None and not self._connections.take(client):
            self.hit(Limit.CONNECTIONS_PER_ADDRESS)
            return False
        self.connections += 1
        return True

    def disconnected(self, peer: str | None) -> None:
        """It has ended, or has become a stream."""
        self.connections -= 1
        client = self._proxies.peer(peer)
        if client is not None:
            self._connections.give_back(client)

    # Streams.

    def enter(self, request: web.Request) -> Place:
        """A place for a new stream. Raises `OverLimit`."""
        now = self._clock()
        client = self._client(request)
        if wait_seconds := self._new.wait_seconds(_NODE, now):
            raise OverLimit(Limit.NEW_STREAMS, _NEW, wait_seconds)
        if client is not None and not self._streams.take(client):
            raise OverLimit(Limit.STREAMS_PER_ADDRESS, _ADDRESS)
        self._new.take(_NODE, now)
        self.places += 1
        return Place(self, client)

    def claim(self, subject: str) -> None:
        if not self._subjects.take(subject):
            raise OverLimit(Limit.STREAMS_PER_SUBJECT, _SUBJECT)

    def leave(self, place: Place) -> None:
        self.places -= 1
        if place.client is not None:
            self._streams.give_back(place.client)
        if place.subject is not None:
            self._subjects.give_back(place.subject)

    # Credentials, and what they are good for.

    @contextmanager
    def credentials(self, request: web.Request) -> Iterator[None]:
        """Around looking at a credential, which costs a signature's check, or a command to Redis. Raises
        `OverLimit` for a client whose last ones were refused."""
        client = self._client(request)
        if client is None:
            yield
            return
        if wait_seconds := self._failed.wait_seconds(client, self._clock()):
            raise OverLimit(Limit.FAILED_CREDENTIALS, _FAILED, wait_seconds)
        try:
            yield
        except Refused:
            self._failed.take(client, self._clock())
            raise

    def ticket(self, subject: str | None) -> None:
        """A ticket is wanted. Raises `OverLimit`."""
        now = self._clock()
        if subject is not None:
            if wait_seconds := self._tickets.wait_seconds(subject, now):
                raise OverLimit(Limit.TICKETS, _TICKETS, wait_seconds)
            self._tickets.take(subject, now)

    @contextmanager
    def publishing(self, publisher: str | None) -> Iterator[None]:
        """Around a request that publishes, from before its body is read. Raises `OverLimit`."""
        if publisher is None:
            yield
            return
        self.check_publishing(publisher)
        if not self._publishes.take(publisher):
            raise OverLimit(Limit.PUBLISHES_PER_SUBJECT, _PUBLISHES)
        try:
            yield
        finally:
            self._publishes.give_back(publisher)

    def check_publishing(self, publisher: str | None) -> None:
        """Again when a body has come: many may have been held back together. Raises `OverLimit`."""
        if publisher is None:
            return
        now = self._clock()
        if wait := self._published.wait_seconds(publisher, now):
            raise OverLimit(Limit.PUBLISHING, _PUBLISHING, wait)
        if wait := self._published_bytes.wait_seconds(publisher, now):
            raise OverLimit(Limit.PUBLISH_BYTES, _PUBLISHED_BYTES, wait)

    def published(self, publisher: str | None, *, events: int = 0, size_bytes: int = 0) -> None:
        """So much was sent to be published. It may be more than was left: whoever comes next will wait."""
        if publisher is not None:
            now = self._clock()
            self._published.take(publisher, now, events)
            self._published_bytes.take(publisher, now, size_bytes)

    # The rest.

    def _client(self, request: web.Request) -> Client | None:
        name = self._proxies.field.value
        fields = request.headers.getall(name, ())
        if fields and not self._proxies and not self._warned:
            self._warned = True
            hint = f"set trusted_proxies to the address of the proxy that writes {name}, to count its clients"
            get_logger("admission").warning("proxy_not_trusted", peer=request.remote, hint=hint)
        return self._proxies.client(request.remote, fields)

    def metrics(self, others: Iterable[tuple[Limit, int]] = ()) -> Iterable[Metric]:
        """`others` are counted elsewhere."""
        hits = {limit.value: float(self._hits[limit]) for limit in Limit}
        hits |= {limit.value: float(count) for limit, count in others}
        yield counters("limits_hit", "How often somebody has come to a limit.", "limit", hits)
