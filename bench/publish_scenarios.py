"""How publishing is measured: by the library, and over HTTP."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bench.lines import LineProcess
from bench.machine import cores, cpu_seconds, on_core
from bench.publishing import PublisherProcess
from bench.scenarios import Effort, Measured, Window
from bench.subjects import DATA_BYTES, Fanlight
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer

PIPELINED = 50


@dataclass(frozen=True, slots=True)
class ByLibrary:
    """`publish_many` of one process, on the gateway's core as there is no gateway; and what the script costs
    Redis. The commands' own count leaves out what the server spends on reading and answering."""

    events_per_s: int = 30_000
    """About: so many are sent for each second of effort."""

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        with on_core(cores().load):
            server = RedisServer()
            server.start()
        try:
            pid = int(server.client().info("server")["process_id"])
            with PublisherProcess("library", server.url, 100, DATA_BYTES, core=cores().subject) as publisher:
                count = int(self.events_per_s * effort.seconds)
                publisher.ask(f"send {self.events_per_s // 3} 1000")
                sent = publisher.ask(f"send {count} 1000", seconds=120)
                measured.numbers["events_per_s"] = sent["published"] / sent["seconds"]
                server.client().config_resetstat()
                before = cpu_seconds([pid])
                sent = publisher.ask(f"send {count} {PIPELINED}", seconds=120)
                measured.numbers["redis_cpu_us"] = (cpu_seconds([pid]) - before) / sent["published"] * 1e6
            stats = server.client().info("commandstats")
            measured.numbers["script_us"] = float(stats["cmdstat_evalsha"]["usec_per_call"])
        finally:
            server.close()
        return measured


@dataclass(frozen=True, slots=True)
class OverHttp:
    """POST /publish on keep-alive connections, `events` in a request."""

    events: int
    connections: int = 50

    def measure(self, effort: Effort) -> Measured:
        measured = Measured()
        token = GatewayProcess.PUBLISH_TOKEN
        with Fanlight() as subject:
            arguments = [str(subject.port), token, str(self.connections), str(DATA_BYTES)]
            command = [sys.executable, "-m", "bench.http_publish", *arguments]
            with LineProcess(command, core=cores().load) as client:
                client.answer("start")
                client.ask(f"run {effort.warm_up_seconds} {self.events}")
                before = subject.metric("fanlight_published_total")
                window = Window(subject)
                with window.over(measured):
                    answer = client.ask(f"run {effort.seconds} {self.events}", seconds=effort.seconds + 30)
                published = subject.metric("fanlight_published_total") - before
        measured.numbers |= {
            "requests_per_s": answer["requests"] / answer["seconds"],
            "events_per_s": answer["events"] / answer["seconds"],
            "failed": answer["failed"] + abs(answer["events"] - published),
            "p99_ms": answer["p99_ms"],
            "cpu_us_an_event": window.cpu_seconds / answer["events"] * 1e6,
        }
        return measured
