"""A server that says of itself what a test wants: for versions that can't be installed."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

import hiredis


class FakeRedis:
    """Answers INFO with these fields, a few commands as Redis would, and all others with OK. As a sentinel it
    names the server that it was given last, by `name`."""

    host = "127.0.0.1"

    def __init__(self, **info: str) -> None:
        text = "".join(f"{name}:{value}\r\n" for name, value in info.items()).encode()
        self._answers = {
            b"PING": b"+PONG\r\n",
            b"INFO": b"$%d\r\n%s\r\n" % (len(text), text),
            b"TIME": b"*2\r\n$1\r\n0\r\n$1\r\n0\r\n",
            b"CONFIG": b"-ERR unknown command\r\n",
            b"ACL": b"$7\r\ndefault\r\n",
        }
        self._listener = socket.create_server((self.host, 0))
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self._listener.getsockname()[1]}/0"

    @property
    def sentinel_url(self) -> str:
        return f"redis+sentinel://{self.host}:{self._listener.getsockname()[1]}/mymaster"

    def name(self, port: int) -> None:
        """As the primary, from now on."""
        host, text = self.host.encode(), b"%d" % port
        answer = b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(host), host, len(text), text)
        self._answers = {**self._answers, b"SENTINEL": answer}

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        reader = hiredis.Reader()
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    client.sendall(self._answers.get(command[0].upper(), b"+OK\r\n"))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()  # nobody is accepted any more, so the list is whole
        for sock in (self._listener, *self._clients):
            sock.close()
