"""Asks the kernel for its limits, and tries the ports."""

from __future__ import annotations

import errno
import http.client
import json
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.check.machine import Machine, Port
from gateway.http.listening import bind

if TYPE_CHECKING:
    from gateway.settings import Settings

_SYSTEM: Final = Path("/proc/sys/net")
_PATIENCE_SECONDS: Final = 2.0


def look_at_machine(settings: Settings) -> Machine:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ports = _numbers("ipv4/ip_local_port_range")
    tcp_memory = _numbers("ipv4/tcp_mem")
    return Machine(
        descriptors=None if soft == resource.RLIM_INFINITY else soft,
        most_descriptors=None if hard == resource.RLIM_INFINITY else hard,
        accept_queue=_number("core/somaxconn"),
        syn_queue=_number("ipv4/tcp_max_syn_backlog"),
        local_ports=(ports[0], ports[1]) if len(ports) == 2 else None,
        tracked=_number("netfilter/nf_conntrack_count"),
        most_tracked=_number("netfilter/nf_conntrack_max"),
        tcp_memory_bytes=tcp_memory[2] * os.sysconf("SC_PAGE_SIZE") if len(tcp_memory) == 3 else None,
        most_send_buffer_bytes=_number("core/wmem_max"),
        ports=(
            _port("port", settings.host, settings.port, settings),
            _port("admin_port", settings.admin_host, settings.admin_port, settings),
        ),
    )


def _numbers(name: str) -> tuple[int, ...]:
    """Of a kernel setting; none where this system has none of the name, or keeps it to itself."""
    try:
        return tuple(map(int, (_SYSTEM / name).read_text().split()))
    except (OSError, ValueError):
        return ()


def _number(name: str) -> int | None:
    found = _numbers(name)
    return found[0] if found else None


def _port(setting: str, host: str, port: int, settings: Settings) -> Port:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bind(host, port).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        return Port(
            setting,
            address,
            refusal=str(error),
            forbidden=error.errno == errno.EACCES,
            by_fanlight=taken and _lives(settings.admin_host, settings.admin_port),
        )
    return Port(setting, address)


def _lives(host: str, port: int) -> bool:
    """Whether the admin port is a node's."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return "accepting" in json.loads(connection.getresponse().read(65_536))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
