"""`python -m tests.browser.clients NAME URL`: a client from PyPI, in a process of its own.

Prints one JSON line for each event that the client reports. The libraries decode one response; what is
around them is what their documentation tells a user to write: reconnect with the last event's id, until
204. An event's id is taken when the event is reported.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

import httpx
from httpx_sse import EventSource
from sseclient import SSEClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TIMEOUT_SECONDS = 30.0

Decoded = tuple[str, str, str]
"""Type, data, id."""


def httpx_sse(response: httpx.Response) -> Iterator[Decoded]:
    for event in EventSource(response).iter_sse():
        yield event.event, event.data, event.id


def sseclient_py(response: httpx.Response) -> Iterator[Decoded]:
    # Its documentation reads from requests, urllib3 or httpx; it keeps None for a block without an id.
    for event in SSEClient(response.iter_bytes()).events():
        yield event.event, event.data, event.id or ""


CLIENTS: Mapping[str, Callable[[httpx.Response], Iterator[Decoded]]] = {
    "httpx-sse": httpx_sse,
    "sseclient-py": sseclient_py,
}


def run(name: str, url: str) -> None:
    headers = {"Accept": "text/event-stream"}
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        while True:
            # A cut connection is an error of the transport, in the middle of whatever it cut.
            with (
                contextlib.suppress(httpx.TransportError),
                client.stream("GET", url, headers=headers) as response,
            ):
                if response.status_code == 204:
                    return
                response.raise_for_status()
                for type_, data, id_ in CLIENTS[name](response):
                    print(json.dumps([type_, data, id_]), flush=True)
                    if id_:
                        headers["Last-Event-ID"] = id_


if __name__ == "__main__":
    run(*sys.argv[1:])
