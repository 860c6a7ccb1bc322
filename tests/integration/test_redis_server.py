"""The servers that the other tests rely on: what they promise about start, stop, crash and freeze."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.fork_server import ROOT
from tests.support.redis_server import NoServer, RedisServer, find_binary
from tests.support.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_kept_over_a_restart_by_default(own_redis: RedisServer) -> None:
    own_redis.client().set("key", "value")
    run_id = own_redis.client().info("server")["run_id"]
    port = own_redis.port
    own_redis.restart()
    assert own_redis.port == port
    assert own_redis.client().info("server")["run_id"] != run_id
    assert own_redis.client().get("key") is None


def test_options_reach_the_server() -> None:
    with RedisServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        server.client().set("key", "value")
        server.restart(crash=True)
        assert server.client().get("key") == b"value"


def test_a_paused_server_answers_when_it_is_resumed(own_redis: RedisServer) -> None:
    client = own_redis.client(socket_timeout=0.2)
    assert client.ping()
    own_redis.pause()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    own_redis.resume()
    assert own_redis.client().ping()


def test_a_paused_server_can_be_stopped(own_redis: RedisServer) -> None:
    own_redis.pause()
    own_redis.stop()
    with pytest.raises(redis.ConnectionError):
        own_redis.client().ping()


def test_a_server_that_does_not_start_shows_its_log() -> None:
    server = RedisServer(options={"maxmemory-policy": "no-such-policy"})
    with pytest.raises(AssertionError, match="maxmemory-policy"), server:
        pass


def test_a_binary_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANLIGHT_TEST_REDIS", "/no/such/redis-server")
    with pytest.raises(NoServer, match="/no/such/redis-server"):
        find_binary()


@pytest.mark.skipif(find_binary().startswith("docker:"), reason="containers are ended by Docker's reaper")
def test_a_killed_test_run_leaves_no_server_behind(tmp_path: Path) -> None:
    """Also one that is frozen."""
    program = textwrap.dedent(
        """
        import os, signal
        from tests.support.redis_server import RedisServer
        first, second = RedisServer().start(), RedisServer().start()
        second.pause()
        print(first.client().info("server")["process_id"], first.port, second.port, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
        timeout=60,
    )
    assert run.returncode == -9
    pid, *ports = map(int, run.stdout.split())

    def gone() -> bool:
        for port in ports:
            try:
                with redis.Redis(port=port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)) as client:
                    client.ping()
                return False
            except redis.TimeoutError:
                return False  # frozen: the kernel still accepts for it
            except redis.ConnectionError:
                continue
        return True

    eventually(gone, what=f"the servers on {ports} (first: process {pid}) are gone")
