# SPDX-License-Identifier: MIT
"""Is a port that this stack publishes taken? By whom, and how does ours move? Asked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from compose import Container
from machine import system
from owners import Refusal, our_services

# What can be in the way of 127.0.0.1: itself, all addresses, and ::1, which browsers try first for localhost.
IN_THE_WAY = {"127.0.0.1", "*", "::", "::1"}
# Processes that hold a container's port, as this machine sees them.
ENGINES = re.compile(
    "docker|com.docke|vpnkit|OrbStack|limactl|gvproxy|qemu-|rancher|wslrelay|rootless|slirp4netns|pasta|conmon|podman|"
    "containerd|nerdctl|ssh$",
    re.I,
)


@dataclass(frozen=True)
class Port:
    """A port that `service` publishes; `variable` moves it, '' where the user's own Compose file says which it is."""

    number: int
    service: str
    variable: str


def published(config: dict[str, Any], services: Iterable[str]) -> list[Port]:
    """Return the ports of TCP that `services` publish on 127.0.0.1 or on all addresses, all services' where none is named."""
    found: dict[tuple[str, int, str], Port] = {}
    ours = our_services(config)
    for name in list(services) or list(config.get("services") or {}):
        about = (config.get("services") or {}).get(name) or {}
        for port in about.get("ports") or []:
            text = str(port.get("published") or "")
            here = port.get("host_ip", "") in ("", "127.0.0.1", "0.0.0.0", "::", "::1")
            if here and text.isdigit() and int(text) and port.get("protocol") != "udp":
                # On 127.0.0.1 and on ::1 it is one port.
                one = Port(int(text), name, variable(about, name, port) if name in ours else "")
                found.setdefault((name, one.number, str(port.get("target"))), one)
    return list(found.values())


def variable(service: dict[str, Any], name: str, port: dict[str, Any]) -> str:
    """Return the variable that moves a port of one of our services."""
    if name != "proxy":
        return f"{name.upper()}_PORT"
    is_https = str(port.get("target")) == str((service.get("environment") or {}).get("LOCALDEV_HTTPS_PORT"))
    return "LOCALDEV_HTTPS_PORT" if is_https else "LOCALDEV_HTTP_PORT"


def busy(config: dict[str, Any], services: Iterable[str], containers: list[Container] | None) -> Iterator[Refusal]:
    """Find the ports that something else has, and two of ours that are the same.

    `containers` are all of the engine's, None where it does not answer: then a process of an engine may be ours.
    """
    ports = published(config, services)
    listening: dict[int, list[Any]] = {}
    for listener in system.listeners():
        listening.setdefault(listener[1], []).append(listener)
    used = {port.number for port in published(config, [])} | set(listening)
    holders: dict[int, Port] = {}
    for port in ports:
        first = holders.setdefault(port.number, port)
        if first is not port:
            text = f"port {port.number} is published twice, by {first.service} and by {port.service}"
            yield Refusal(text, move(port, used))
            continue
        in_the_way = [found for found in listening.get(port.number, []) if found[0] in IN_THE_WAY]
        holder = who(port.number, in_the_way, config["name"], containers) if in_the_way else None
        if holder:
            yield Refusal(
                f"port {port.number} of 127.0.0.1 is taken by {holder}", f"stop it, or move ours: {move(port, used)}"
            )


def move(port: Port, used: set[int]) -> str:
    """Return what gives `port` another number: a line that can be put into .env as it is."""
    free = port.number
    while free in used:
        free = free + 1 if free < 65535 else 1024
    used.add(free)
    if port.variable:
        return f"{port.variable}={free} in .env"
    return f"give {port.service} another one in your Compose file, e.g. {free}"


def who(number: int, listeners: list[Any], project: str, containers: list[Container] | None) -> str | None:
    """Return what holds port `number`, for people; None where it is a container of this project, or may be one."""
    for container in containers or []:
        if number in container.ports:
            if container.project == project:
                return None
            return f"the container {container.name}" + (
                f" of the project {container.project}" if container.project else ""
            )
    pids = [pid for listener in listeners for pid in listener[2]]
    told = next((listener[3] for listener in listeners if listener[3]), "")
    name = (pids and system.process(pids[0])[0]) or told
    # On Linux root's processes have no name for others.
    if containers is None and (not name or ENGINES.match(name)):
        return None
    if pids:
        return f"{name or 'a process'} (pid {pids[0]})"
    return f"{name or 'a process'} of another user ({system.owner_hint(number)} names it)"
