"""Collects what `gateway.check` judges: asks Redis, the issuer and the kernel, and changes nothing there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.check import access as judged_access
from gateway.check import machine as judged_machine
from gateway.check import sentinels as judged_sentinels
from gateway.check import server as judged_server
from gateway.survey.access import look_at_access
from gateway.survey.demand import demand_of
from gateway.survey.machine import look_at_machine
from gateway.survey.sentinels import look_at_sentinels
from gateway.survey.server import look_at_server
from publisher.sentinel.url import is_sentinel_url

if TYPE_CHECKING:
    from gateway.check.demand import Demand
    from gateway.check.findings import Finding
    from gateway.settings import Settings


def survey(settings: Settings) -> list[Finding]:
    """Everything that there is to say about the surroundings of a node with these settings."""
    demand = demand_of(settings)
    return [
        *_redis(settings, demand),
        *judged_access.judge(look_at_access(settings), time.time()),
        *judged_machine.judge(look_at_machine(settings), demand),
    ]


def _redis(settings: Settings, demand: Demand) -> list[Finding]:
    if not is_sentinel_url(settings.redis_url):
        return judged_server.judge(look_at_server(settings), demand)
    service, witnesses, url = look_at_sentinels(settings)
    server = None if url is None else look_at_server(settings, url)
    found = judged_sentinels.judge(service, witnesses, server)
    return found if server is None else [*found, *judged_server.judge(server, demand)]
