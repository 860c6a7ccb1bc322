"""One request, and its whole answer."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.gateway_process import GatewayProcess


@dataclass(frozen=True, slots=True)
class Answer:
    """Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def reason(self) -> str:
        """Why a request was refused: of a problem document, whose form is checked."""
        assert self.headers["content-type"].partition(";")[0] == "application/problem+json", self
        assert self.headers["cache-control"] == "no-store"
        assert self.body["status"] == self.status
        assert self.body["detail"]
        return str(self.body["reason"])


def request(
    gateway: GatewayProcess,
    method: str,
    path: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: object = None,
) -> Answer:
    """`body` is sent as JSON, if there is one. AssertionError if a stream is opened: it would not end."""
    fields = dict(headers or {})
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        fields.setdefault("Content-Type", "application/json")
        data = json.dumps(body).encode()
    with closing(http.client.HTTPConnection(gateway.host, gateway.port, timeout=15)) as connection:
        connection.request(method, path, data, fields)
        response = connection.getresponse()
        opened = response.chunked and response.getheader("Content-Type") == "text/event-stream"
        assert not opened, f"{method} {path} opened a stream"
        return Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )


def events_path(*channels: str, **query: str) -> str:
    """Of names that need no escaping."""
    pairs = [("channel", channel) for channel in channels] + list(query.items())
    return "/events?" + "&".join(f"{name}={value}" for name, value in pairs)
