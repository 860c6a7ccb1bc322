"""An issuer of tokens: a real https server in a thread, with a certificate of an authority of its own."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from tests.support.certificates import Authority
from tests.support.tokens import Signer, jwks

HOST = "127.0.0.1"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Issuer:
    """`https://127.0.0.1:PORT/jwks`. `answer` is what a request gets; `paths` are what was asked for."""

    def __init__(self, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        self.paths: list[str] = []
        self.answer: Answer = status(404)
        self.released = threading.Event()
        """Lets go of all answers that wait."""
        certificate = Authority(self.ca_file).issue(directory / "server.pem", HOST)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.paths.append(self.path)
                with contextlib.suppress(OSError):
                    issuer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/jwks"

    @property
    def fetches(self) -> int:
        return len(self.paths)

    def publish(self, *signers: Signer) -> None:
        self.answer = body(jwks(*signers))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def body(data: bytes, *, content_type: str = "application/jwk-set+json") -> Answer:
    """200 with this body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(code: int, location: str = "") -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if location:
            handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def after(event: threading.Event, data: bytes) -> Answer:
    """200 with this body, of which most comes after an event."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:5])
        handler.wfile.flush()
        if event.wait(30):
            handler.wfile.write(data[5:])

    return answer


def endless() -> Answer:
    """A body without a length and without an end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65_536)

    return answer
