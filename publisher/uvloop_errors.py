"""uvloop's word for a connection that is gone, as the error that asyncio's own loop raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closed_transports() -> Iterator[None]:
    """Under uvloop a write on a connection that the other side has just closed is a RuntimeError, here a
    ConnectionResetError."""
    try:
        yield
    except RuntimeError as error:
        # uvloop's words; the type alone says nothing.
        if "the handler is closed" not in str(error):
            raise
        raise ConnectionResetError(str(error)) from error
