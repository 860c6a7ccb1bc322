"""What stands behind a proxy and is no gateway: an http server in a thread, that answers as it is told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.support.issuer import status

if TYPE_CHECKING:
    from tests.support.issuer import Answer


class Upstream:
    """`answer` is what a request gets, for a `with`."""

    def __init__(self) -> None:
        self.answer: Answer = status(404)
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def plain_stream(released: threading.Event) -> Answer:
    """An event stream of two events, uncompressed; the second comes after `released`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(b"data: first\n\n")
        handler.wfile.flush()
        if released.wait(30):
            handler.wfile.write(b"data: second\n\n")

    return answer
