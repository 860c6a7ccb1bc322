"""Collects what `gateway.check` judges: asks Redis, the issuer and the kernel, and changes nothing there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.check import access as judged_access
from gateway.check import machine as judged_machine
from gateway.check import server as judged_server
from gateway.survey.access import look_at_access
from gateway.survey.demand import demand_of
from gateway.survey.machine import look_at_machine
from gateway.survey.server import look_at_server

if TYPE_CHECKING:
    from gateway.check.findings import Finding
    from gateway.settings import Settings


def survey(settings: Settings) -> list[Finding]:
    """Everything that there is to say about the surroundings of a node with these settings."""
    demand = demand_of(settings)
    return [
        *judged_server.judge(look_at_server(settings), demand),
        *judged_access.judge(look_at_access(settings), time.time()),
        *judged_machine.judge(look_at_machine(settings), demand),
    ]
