"""The issuer's keys, fetched over https and kept: a cache of one address, by the keys' names.

Requests never wait for a fetch by age. One whose token names a key that is not there waits for the one fetch
that all such tokens share; `gateway.auth.refresh` says when there may be another. While the issuer is down,
what was fetched stays.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import hdrs

from gateway.auth.keys import BadKeys, Key, from_jwks
from gateway.auth.refresh import Refresh
from gateway.logs import get_logger
from gateway.metrics import counters, gauge
from gateway.settings import redact_url

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.http.current import Current

_HEADERS: Final = {
    hdrs.ACCEPT: "application/jwk-set+json, application/json",
    hdrs.ACCEPT_ENCODING: "identity",
}
_WAITING_PART: Final = 10
"""Who waits has shown nothing good yet, and takes a stream's place: of the node's places, one in so many."""


class NotFetched(Exception):
    """The issuer's answer was none, or not what it must be. The message says what was wrong with it."""


class Jwks:
    """The keys at one URL. `run` fetches them, for as long as the node lives."""

    def __init__(self, url: str, current: Current) -> None:
        """Raises `BadKeys` where the file with the certificates is no good."""
        settings = current.settings
        self._current = current
        self.keys: tuple[Key, ...] = ()
        """As fetched last; none before the first time."""
        self._url = url
        self._address = redact_url(url)
        """For logs: some issuers want a key of theirs in the query."""
        self._most_bytes = settings.max_jwks_bytes
        self._timeout = aiohttp.ClientTimeout(total=settings.jwks_timeout_seconds)
        self._refresh = Refresh(settings.jwks_refresh_seconds, settings.jwks_pause_seconds)
        self._tls = tls_context(settings.jwks_ca_file)
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._stale = False
        self._waiting = 0
        self._fetched: asyncio.Future[bool] | None = None
        """Of those who wait: done when the next fetch is."""
        self._log = get_logger("jwks")
        self.succeeded_total = 0
        self.failed_total = 0

    async def ask(self) -> bool:
        """A token names a key that is not there: wait for a fetch, where there may be one now.

        True if the issuer has answered: what is still not there is none of its keys.
        """
        if self._waiting >= max(1, self._current.settings.max_streams // _WAITING_PART):
            return False
        if self._fetched is None:
            if not self._refresh.may_ask(self._loop.time()):
                return False
            self._fetched = self._loop.create_future()
        self._asked.set()
        self._waiting += 1
        try:
            return await asyncio.shield(self._fetched)
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Fetch them, and again whenever it is time to."""
        while True:
            self._stale = False
            await self.fetch()
            if self._stale:
                continue
            self._asked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._refresh.pause_seconds(self._loop.time())):
                    await self._asked.wait()

    def refetch(self) -> None:
        """Fetch them anew, whatever their age: what is being fetched just now is perhaps old already."""
        self._stale = True
        self._asked.set()

    async def fetch(self) -> None:
        """Once, now. What goes wrong is told in the log."""
        self._refresh.begin(self._loop.time())
        # Who comes meanwhile waits for this one.
        waiting = self._fetched = self._fetched or self._loop.create_future()
        try:
            self.keys = await self.get()
        except (NotFetched, BadKeys) as error:
            if not self._refresh.failures:
                self._log.warning(
                    "keys_not_fetched", url=self._address, error=str(error), kept=len(self.keys)
                )
            self._refresh.failed()
            self.failed_total += 1
        else:
            if not self._refresh.well:
                self._log.info("keys_fetched", url=self._address, keys=len(self.keys))
            self._refresh.succeeded(self._loop.time())
            self.succeeded_total += 1
        finally:
            self._fetched = None
            waiting.set_result(self._refresh.well)

    async def get(self) -> tuple[Key, ...]:
        """What the issuer publishes now; nothing is kept of it. Raises `NotFetched`, `BadKeys`."""
        return from_jwks(await self._get())

    async def _get(self) -> bytes:
        """The answer's body. Nothing but the address that was set is asked: no redirect, no proxy."""
        try:
            # A session for each fetch: minutes lie between two, and the issuer may have moved.
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=self._tls),
                    timeout=self._timeout,
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers=_HEADERS,
                ) as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise NotFetched(f"status {response.status}; redirects are not followed")
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > self._most_bytes:
                        raise NotFetched(f"more than {self._most_bytes} bytes")
                return bytes(body)
        except TimeoutError:
            raise NotFetched(f"no whole answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = str(error).replace(self._url, self._address)
            raise NotFetched(f"{type(error).__name__}: {text}") from None

    def metrics(self) -> Iterable[Metric]:
        fetches = {"succeeded": float(self.succeeded_total), "failed": float(self.failed_total)}
        yield counters("jwks_fetches", "Fetches of the issuer's keys, by outcome.", "outcome", fetches)
        yield gauge("jwks_keys", "Keys of the issuer.", len(self.keys))
        at = self._refresh.succeeded_at
        age = self._loop.time() - at if at is not None else 0.0
        yield gauge("jwks_age_seconds", "Since they were fetched; 0 before the first time.", age)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Verifies the issuer's name and certificate, by the system's authorities or by a file's. Raises
    `BadKeys`, which names the setting."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadKeys(f"jwks_ca_file: cannot use {ca_file}: {error.strerror or error}") from None
