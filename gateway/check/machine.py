"""The machine: descriptors, the kernel's queues and memory, ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.check.demand import Demand
from gateway.check.findings import Finding, fault, note, ok, warning

_IDLE_KERNEL_BYTES: Final = 4_400
"""What the kernel holds of an idle stream (docs/sizing.md)."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a setting names. `refusal` is why it can't be listened on; empty where it can."""

    setting: str
    address: str
    refusal: str = ""
    forbidden: bool = False
    by_fanlight: bool = False
    """A node of Fanlight answers there."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found out; None is what this system does not tell, or has no limit for."""

    descriptors: int | None = None
    """What this process may open."""
    most_descriptors: int | None = None
    """What it may be allowed without asking root."""
    accept_queue: int | None = None
    """net.core.somaxconn"""
    syn_queue: int | None = None
    """net.ipv4.tcp_max_syn_backlog"""
    local_ports: tuple[int, int] | None = None
    """net.ipv4.ip_local_port_range"""
    tracked: int | None = None
    most_tracked: int | None = None
    """net.netfilter.nf_conntrack_max"""
    tcp_memory_bytes: int | None = None
    """The last of net.ipv4.tcp_mem."""
    most_send_buffer_bytes: int | None = None
    """net.core.wmem_max"""
    ports: tuple[Port, ...] = ()


def judge(machine: Machine, demand: Demand) -> list[Finding]:
    """All findings about the machine. Kernel settings that are not told say nothing."""
    found = [
        _descriptors(machine, demand),
        _at_least("somaxconn", machine.accept_queue, demand.backlog, "net.core.somaxconn",
                  "connections that come together are dropped above it, and come back a second later"),
        _at_least("tcp_max_syn_backlog", machine.syn_queue, 1024, "net.ipv4.tcp_max_syn_backlog",
                  "a storm of reconnects goes over it"),
        _local_ports(machine, demand),
        _tracked(machine, demand),
        _tcp_memory(machine, demand),
        _at_least("wmem_max", machine.most_send_buffer_bytes, demand.send_buffer_bytes, "net.core.wmem_max",
                  "send_buffer_bytes has less than it asks for"),
    ]  # fmt: skip
    return [finding for finding in found if finding is not None] + [_port(port) for port in machine.ports]


def _descriptors(machine: Machine, demand: Demand) -> Finding:
    limit, wanted = machine.descriptors, demand.descriptors
    if limit is None:
        return ok("descriptors", "no limit")
    streams = f"{demand.max_streams:,} streams, workers: {demand.workers}"
    text = f"{limit:,} a process; {wanted:,} are needed ({streams})"
    if limit >= wanted:
        return ok("descriptors", text)
    allowed = machine.most_descriptors is None or machine.most_descriptors >= wanted
    advice = f"ulimit -n {wanted}" if allowed else f"LimitNOFILE={wanted}, or nofile in limits.conf"
    return warning("descriptors", text, f"{advice}; or lower max_streams and max_connections")


def _at_least(subject: str, value: int | None, least: int, name: str, else_: str) -> Finding | None:
    if value is None:
        return None
    if value >= least:
        return ok(subject, f"{value:,}")
    return warning(subject, f"{value:,}: {else_}", f"sysctl -w {name}={least}")


def _local_ports(machine: Machine, demand: Demand) -> Finding | None:
    if machine.local_ports is None:
        return None
    low, high = machine.local_ports
    room = high - low + 1
    text = f"{room:,} ({low} to {high})"
    if room >= demand.max_streams:
        return ok("ip_local_port_range", text)
    text += ": a proxy on this machine can't open more connections than that to one address"
    advice = "sysctl -w net.ipv4.ip_local_port_range='1024 65535'; or give the proxy several addresses"
    return note("ip_local_port_range", text, advice)


def _tracked(machine: Machine, demand: Demand) -> Finding | None:
    most, now = machine.most_tracked, machine.tracked or 0
    if most is None:
        return None
    text = f"{now:,} of {most:,} connections tracked; a full node adds {demand.max_streams:,}"
    if most - now >= demand.max_streams:
        return ok("nf_conntrack_max", text)
    wanted = now + 2 * demand.max_streams
    return warning("nf_conntrack_max", text, f"sysctl -w net.netfilter.nf_conntrack_max={wanted}")


def _tcp_memory(machine: Machine, demand: Demand) -> Finding | None:
    most = machine.tcp_memory_bytes
    if most is None:
        return None
    idle, full = demand.max_streams * _IDLE_KERNEL_BYTES, demand.max_streams * 2 * demand.send_buffer_bytes
    text = f"{most >> 20:,} MiB; streams take {idle >> 20:,} MiB idle, {full >> 20:,} MiB if no client reads"
    if most < idle:
        return warning("tcp_mem", text, "raise net.ipv4.tcp_mem, or lower max_streams")
    if most < full:
        return note("tcp_mem", text, "lower send_buffer_bytes if many clients read slowly")
    return ok("tcp_mem", text)


def _port(port: Port) -> Finding:
    if not port.refusal:
        return ok(port.setting, f"{port.address} can be listened on")
    if port.by_fanlight:
        return note(port.setting, f"{port.address} is a running node's", "nothing, if that is the one")
    if port.forbidden:
        advice = "take a port from 1024, or give CAP_NET_BIND_SERVICE"
    else:
        advice = f"stop what listens there (ss -ltnp), or set {port.setting}"
    return fault(port.setting, port.refusal, advice)
