"""A primary, its replicas and the sentinels that look after them, of whichever server the tests use.

Failover takes a second: the sentinels know each other from the start, and their periods are short. None takes
a server for dead because the machine is busy, but within `quick()`. What a network does to them is done by
rights: they log in to the servers as one user, replicas as another, and who may not log in is cut off, while
clients are not.
"""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.acl import documented_users
from tests.support.processes import free_port
from tests.support.redis_server import RedisServer, find_binary, sentinel_runner
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SERVICE = "mymaster"
SENTINEL_USER, REPLICA_USER = "sentinel", "replica"
SENTINEL_LOGIN = "fanlight-asks"
"""As docs/security.md names the user that asks the sentinels."""
_PASSWORD = "test-password"
_PATIENT_MS, _QUICK_MS = 60_000, 1200
_PERIODS = {
    # What is older than five of these does not count when a replica is chosen; and a server that has become
    # the primary gets its first ping after one, which has to be well before it is taken for dead.
    "ping-period": 500,
    "info-period": 200,
    "ask-period": 200,
    "publish-period": 200,
    "election-timeout": 1000,
    "min-link-reconnect-period": 100,
    "default-failover-timeout": 1500,
    # A machine that stands still is no reason to do nothing for half a minute.
    "tilt-trigger": 20_000,
    "tilt-period": 500,
}


class Sentinel:
    """One of them, on one port."""

    def __init__(self, binary: str, directory: Path, port: int, id_: str) -> None:
        self.port = port
        self.id = id_
        directory.mkdir()
        self._config = directory / "sentinel.conf"
        self.options: dict[str, str] = {}
        """More lines of its configuration."""
        self.login = SENTINEL_USER, _PASSWORD
        """At the servers."""
        self._runner = sentinel_runner(binary, self._config)
        self._client = redis.Redis(
            host="127.0.0.1",
            port=port,
            protocol=2,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def configure(self, primary_port: int, replica_ports: Sequence[int], others: Sequence[Sentinel]) -> None:
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self._config.parent}",
            *(f"{name} {value}" for name, value in self.options.items()),
            f"sentinel myid {self.id}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {_PATIENT_MS}",
            f"sentinel failover-timeout {SERVICE} 1500",
            f"sentinel auth-user {SERVICE} {self.login[0]}",
            f"sentinel auth-pass {SERVICE} {self.login[1]}",
            *(f"sentinel known-replica {SERVICE} 127.0.0.1 {port}" for port in replica_ports),
            *(f"sentinel known-sentinel {SERVICE} 127.0.0.1 {other.port} {other.id}" for other in others),
        ]
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self._runner.start([])
        eventually(self._answers, what="the sentinel answers")
        self.ask("DEBUG", *(str(item) for pair in _PERIODS.items() for item in pair))

    def _answers(self) -> bool:
        assert self._runner.alive(), self._runner.log()
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False

    def ask(self, *words: str) -> Any:
        """`SENTINEL ...`, raw."""
        return self.execute("SENTINEL", *words)

    def execute(self, *command: str) -> Any:
        """Any command, raw."""
        connection: Any = self._client.connection_pool.get_connection()
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            self._client.connection_pool.release(connection)

    @property
    def primary_port(self) -> int:
        return int(self.ask("GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def facts(self) -> dict[str, str]:
        flat = self.ask("MASTER", SERVICE)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def pause(self) -> None:
        self._runner.pause()

    def resume(self) -> None:
        self._runner.resume()

    def kill(self) -> None:
        if self._runner.alive():
            self._runner.kill()

    def close(self) -> None:
        self._client.close()
        self.kill()
        self._runner.close()

    @property
    def log(self) -> str:
        return self._runner.log()


class SentinelServers:
    """Three servers and three sentinels, for a `with`."""

    def __init__(self, *, servers: int = 3, sentinels: int = 3) -> None:
        self.nodes = [
            RedisServer(
                options={
                    "enable-protected-configs": "yes",
                    "masteruser": REPLICA_USER,
                    "masterauth": _PASSWORD,
                    "repl-diskless-sync-delay": "0",
                    "repl-ping-replica-period": "1",
                    "repl-backlog-size": "8mb",
                }
            )
            for _ in range(servers)
        ]
        self._directory = tempfile.TemporaryDirectory(prefix="fanlight-sentinel-")
        self._stack = ExitStack()
        self._count = sentinels
        self.sentinels: list[Sentinel] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._directory.cleanup)
            for node in self.nodes:
                stack.callback(node.close)
                self.start(node)
            primary, *replicas = self.nodes
            for replica in replicas:
                replica.client().replicaof("127.0.0.1", str(primary.port))
            binary = find_binary()
            for number in range(self._count):
                directory = Path(self._directory.name) / str(number)
                sentinel = Sentinel(binary, directory, free_port(), secrets.token_hex(20))
                stack.callback(sentinel.close)
                self.sentinels.append(sentinel)
            for sentinel in self.sentinels:
                others = [other for other in self.sentinels if other is not sentinel]
                sentinel.configure(primary.port, [replica.port for replica in replicas], others)
                sentinel.start()
            self.wait_whole()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, node: RedisServer) -> None:
        """Start a server, with the users of sentinels and replicas."""
        node.start()
        for user in (SENTINEL_USER, REPLICA_USER):
            set_user(node, user, "on", f">{_PASSWORD}", "~*", "&*", "+@all")

    @property
    def url(self) -> str:
        return self.url_of()

    def url_of(self, *, login: str = "", query: str = "") -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{login}{hosts}/{SERVICE}{query}"

    @property
    def primary(self) -> RedisServer:
        """As most sentinels that answer say."""
        named = []
        for sentinel in self.sentinels:
            try:
                named.append(sentinel.primary_port)
            except redis.RedisError:
                continue
        port = max(named, key=named.count)
        return next(node for node in self.nodes if node.port == port)

    @property
    def replicas(self) -> list[RedisServer]:
        primary = self.primary
        return [node for node in self.nodes if node is not primary]

    def wait_whole(self) -> None:
        """Until all sentinels name one primary, all other servers follow it, and all of that is known."""
        try:
            eventually(lambda: not self._lacks())
        except AssertionError:
            raise AssertionError("; ".join(self._lacks()) + self.logs) from None

    def _lacks(self) -> list[str]:
        found = []
        try:
            if len({sentinel.primary_port for sentinel in self.sentinels}) != 1:
                found.append("the sentinels do not agree")
            primary = self.primary.client()
            info: Any = primary.info("replication")
            online = [v for k, v in info.items() if k.startswith("slave") and isinstance(v, dict)]
            if info["role"] != "master" or sum(v["state"] == "online" for v in online) != len(self.nodes) - 1:
                found.append(f"not all replicas are online: {info}")
            for sentinel in self.sentinels:
                facts = sentinel.facts()
                if facts["flags"] != "master" or int(facts["num-other-sentinels"]) != len(self.sentinels) - 1:
                    found.append(f"a sentinel sees {facts['flags']}")
                for replica in sentinel.ask("REPLICAS", SERVICE):
                    seen = dict(zip(replica[::2], replica[1::2], strict=True))
                    if seen["flags"] != "slave" or seen["master-link-status"] != "ok":
                        found.append(f"a sentinel sees a replica as {seen['flags']}")
            primary.close()
        except redis.RedisError as error:
            found.append(f"not all answer: {error!r}")
        return found

    def fail_over(self) -> None:
        """As an operator would, by hand. Returns when all sentinels name the new primary."""
        before = self.primary

        def begun() -> bool:
            try:
                return bool(self.sentinels[0].ask("FAILOVER", SERVICE))
            except redis.ResponseError as error:  # NOGOODSLAVE, INPROG
                if not str(error).startswith(("NOGOODSLAVE", "INPROG")):
                    raise
                return False

        eventually(begun, what="a replica is good enough")
        self.wait_moved(before)

    def wait_moved(self, before: RedisServer) -> None:
        """Until all sentinels that answer name another primary."""

        def moved() -> bool:
            named = set()
            for sentinel in self.sentinels:
                try:
                    named.add(sentinel.primary_port)
                except redis.RedisError:
                    continue
            return len(named) == 1 and before.port not in named

        try:
            eventually(moved)
        except AssertionError:
            raise AssertionError(f"no failover{self.logs}") from None

    @property
    def logs(self) -> str:
        """The ends of the sentinels' logs."""
        return "".join(f"\n{sentinel.log[-2000:]}" for sentinel in self.sentinels)

    @contextmanager
    def quick(self) -> Iterator[None]:
        """A server that does not answer is replaced within a second or two. All must be well at the end."""
        self._be_quick(_QUICK_MS)
        yield
        self.wait_whole()
        self._be_quick(_PATIENT_MS)

    def _be_quick(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            sentinel.ask("SET", SERVICE, "down-after-milliseconds", str(milliseconds))

    @staticmethod
    def cut_off(node: RedisServer, *users: str) -> None:
        """Sentinels, or replicas, don't reach the server any more. Who fails to log in stays a user that
        needs no password: that one may not do what a sentinel does."""
        set_user(node, "default", "-ping", "-slaveof", "-replicaof")
        for user in users:
            set_user(node, user, "off")
            kill: Any = node.client().execute_command
            kill("CLIENT", "KILL", "USER", user)

    @staticmethod
    def let_in(node: RedisServer, *users: str) -> None:
        set_user(node, "default", "+@all")
        for user in users:
            set_user(node, user, "on")


def set_user(node: RedisServer, user: str, *rules: str) -> None:
    """ACL SETUSER."""
    execute: Any = node.client().execute_command
    execute("ACL", "SETUSER", user, *rules)


def give_rights(servers: SentinelServers, password: str) -> str:
    """A user at each sentinel with the rights that docs/security.md gives it; its name."""
    rules = documented_users("", password)[SENTINEL_LOGIN]
    for sentinel in servers.sentinels:
        sentinel.execute("ACL", "SETUSER", SENTINEL_LOGIN, *rules)
    return SENTINEL_LOGIN
