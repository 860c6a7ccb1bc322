"""The admin port of a node of several processes: what all of its workers say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from yarl import URL

from gateway.http import description
from gateway.http.problems import problem
from gateway.inspect.pages import Pages
from gateway.metrics import CONTENT_TYPE, Source, counter, gauge
from gateway.workers.exposition import labelled

_INSPECT_TIMEOUT: Final = ClientTimeout(total=30.0)
"""A worker asks all nodes, and waits for their answers: as long as `answer_wait_seconds`, more than once."""
_ANSWER_SECONDS: Final = 2.0
"""How long a worker may take; what is asked of all is answered without those that don't."""


_PASSED_ON: Final = ("Content-Type", "Cache-Control", "Cross-Origin-Resource-Policy", "Retry-After")


class Place(Protocol):
    """A worker, as the supervisor knows it."""

    number: int
    admin: Path
    replaced: int

    @property
    def running(self) -> bool: ...


class NodeAdmin:
    """`/livez`, `/readyz`, `/metrics` and `/inspect` for all workers together; and `/openapi.json`."""

    def __init__(self, workers: Sequence[Place], own: Source) -> None:
        """`own` are metrics of the supervisor's."""
        self._workers = workers
        self._source = own
        self._sessions: dict[int, ClientSession] = {}
        self.draining = False

    def app(self) -> web.Application:
        app = web.Application()
        app.cleanup_ctx.append(self._connected)
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)
        Pages(self.snapshot).add_to(app)
        description.add_to(app)
        return app

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        timeout = ClientTimeout(total=_ANSWER_SECONDS)
        for worker in self._workers:
            connector = UnixConnector(path=str(worker.admin), force_close=True)
            self._sessions[worker.number] = ClientSession(connector=connector, timeout=timeout)
        yield
        for session in self._sessions.values():
            await session.close()

    async def livez(self, _: web.Request) -> web.Response:
        """The supervisor runs. A worker that has ended is replaced: a restart of the node would not help."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """Ready while any worker is, and the node does not drain. A worker that is not ready turns clients
        away with a stream that ends at once, so that they come back."""
        answers = await asyncio.gather(*map(self._readiness, self._workers))
        ready = not self.draining and any(status == 200 for status, _ in answers)
        body = {
            "status": "ok" if ready else "unready",
            "accepting": not self.draining,
            "workers": [
                {"worker": w.number, **said} for w, (_, said) in zip(self._workers, answers, strict=True)
            ],
        }
        return web.json_response(body, status=200 if ready else 503)

    async def _readiness(self, worker: Place) -> tuple[int, dict[str, Any]]:
        try:
            async with self._sessions[worker.number].get("http://worker/readyz") as answer:
                said: dict[str, Any] = await answer.json()
                return answer.status, said
        except (ClientError, TimeoutError):
            return 503, {"status": "no answer"}

    async def metrics(self, _: web.Request) -> web.Response:
        texts = await asyncio.gather(*map(self._exposition, self._workers))
        answered = {w.number: text for w, text in zip(self._workers, texts, strict=True) if text is not None}
        registry = CollectorRegistry()
        registry.register(_Families([*self._own(answered), *labelled(answered)]))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE})

    async def _exposition(self, worker: Place) -> str | None:
        try:
            async with self._sessions[worker.number].get("http://worker/metrics") as answer:
                return await answer.text()
        except (ClientError, TimeoutError):
            return None

    async def snapshot(self, request: web.Request) -> web.Response:
        """Any worker can say how all processes of all nodes are, its siblings too: the first that does.
        One that hangs has `_ANSWER_SECONDS` to take the question, before the next one is asked."""
        for worker in self._workers:
            if not worker.running:
                continue
            session = self._sessions[worker.number]
            try:
                async with session.get("http://worker/livez"):
                    pass
                url = URL("http://worker/inspect/snapshot").with_query(request.query_string)
                async with session.get(url, timeout=_INSPECT_TIMEOUT) as answer:
                    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                    return web.Response(body=await answer.read(), status=answer.status, headers=headers)
            except (ClientError, TimeoutError):
                continue
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "No worker of this node answers.")

    def _own(self, answered: dict[int, str]) -> Iterable[Metric]:
        yield gauge("workers", "Processes that this node should have.", len(self._workers))
        yield gauge("workers_running", "Processes that it has.", sum(w.running for w in self._workers))
        yield gauge("workers_answering", "Processes whose metrics are in this answer.", len(answered))
        replaced = sum(worker.replaced for worker in self._workers)
        yield counter("workers_replaced", "Processes that ended without being told to.", replaced)
        yield from self._source()


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
