# SPDX-License-Identifier: MIT
"""Who listens on each native service's port, and on which address: the alias, everything, or where containers do not get."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import frameworks
from finding import Finding, fail, ok, warn
from machine import system
from project import Project, Route

# Has the ports 5000, Flask's own, and 7000 on every Mac whose AirPlay Receiver nobody switched off.
AIRPLAY = "ControlCenter"


@dataclass(frozen=True)
class Listener:
    """One socket that listens: its address, and whose it is as far as this user may see."""

    address: str
    pids: list[int]
    name: str = ""


def look(ports: set[int]) -> dict[int, list[Listener]]:
    """Return what listens on each of `ports`."""
    found: dict[int, list[Listener]] = {}
    for address, port, pids, name in system.listeners():
        if port in ports:
            found.setdefault(port, []).append(Listener(address, pids, name))
    if system.LOOPBACK == "lo":
        for port, listeners in found.items():
            addresses = {listener.address for listener in listeners}
            if "::" in addresses and not {"*", "127.0.0.1"} & addresses and with_ipv4(port):
                listeners.append(Listener("*", []))
    return found


def check(project: Project, routes: list[Route]) -> Iterator[Finding]:
    """Find for each service of this machine whether containers reach where it listens."""
    ports = {route.service: route.port for route in routes if route.native}
    listeners = look(set(ports.values()))
    for service, port in ports.items():
        yield judge(project, service, port, listeners.get(port, []))


def judge(project: Project, service: str, port: int, listeners: list[Listener]) -> Finding:
    """Return what it means where `listeners`, all on `port`, listen."""
    place = f"{project.listen}:{port}"
    if not listeners:
        text = f"nothing listens on port {port}: it is not started, or on another port"
        return fail("service.none", service, text, f'start it on {place}, in a shell after: eval "$(make -s dev-env)"')
    here = sorted({listener.address for listener in listeners})
    if project.ip in here and not project.gateway:
        # Another process may have the same port of another address.
        who, _, _ = identify(port, [listener for listener in listeners if listener.address == project.ip])
        return ok("service.alias", service, f"{who} listens on {place}")
    who, match, program = identify(port, listeners)
    if program == AIRPLAY:
        text = f"macOS's AirPlay Receiver has port {port}; {service} does not listen there"
        fix = f"give {service} another port in .localdev/routes, then: make dev-reload"
        return fail("service.none", service, text, fix)
    change = frameworks.fix(match, program, project.listen, port, is_rails=is_rails(listeners))
    if "*" in here:
        if project.gateway:
            return ok("service.all", service, f"{who} listens on all addresses, port {port}")
        text = f"{who} listens on all addresses, port {port}: it works, and the LAN reaches it, too"
        return warn("service.all", service, text, change)
    shown = " and ".join(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in here)
    text = f"{who} listens on {shown} only; containers do not reach that"
    if here == ["::"]:
        text = f"{who} listens on all addresses of IPv6, port {port}, but not of IPv4; containers do not reach that"
        return fail("service.ipv6", service, text, change)
    if all(address.startswith("127.") for address in here):
        return fail("service.loopback", service, text, change)
    if here == ["::1"]:
        return fail("service.loopback6", service, text, change)
    return fail("service.loopback" if "127.0.0.1" in here else "service.elsewhere", service, text, change)


def identify(port: int, listeners: list[Listener]) -> tuple[str, frameworks.Match | None, str]:
    """Return who listens, for people; its framework; and its program's name."""
    commands, program, seen = [], "", set()
    pids = [pid for listener in listeners for pid in listener.pids]
    for pid in pids:
        # A server that names itself, or runs in a child, is known by how its parent was started.
        for _ in range(4):
            if pid <= 1 or pid in seen:
                break
            seen.add(pid)
            name, words, parent = system.process(pid)
            program = program or name
            commands.append(words)
            pid = parent
    match = frameworks.find(commands)
    program = program or next((listener.name for listener in listeners if listener.name), "")
    if not pids:
        return f"another user's process ({system.owner_hint(port)} names it)", match, program
    process = f"{program or 'a process'}, pid {pids[0]}"
    return (
        (f"{match.framework.name} ({process})" if match else f"{program or 'a process'} (pid {pids[0]})"),
        match,
        program,
    )


def is_rails(listeners: list[Listener]) -> bool:
    """Tell whether the server's folder is a Rails application: then a puma was started by `rails server`."""
    pids = [pid for listener in listeners for pid in listener.pids]
    return any(os.path.isfile(f"/proc/{pid}/cwd/bin/rails") for pid in pids) or os.path.isfile("bin/rails")


def with_ipv4(port: int) -> bool:
    """Tell whether what listens on all of IPv6 takes IPv4, too: Linux does not say, so a connection has to."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False
