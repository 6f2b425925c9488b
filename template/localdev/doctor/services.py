"""Who listens on each native service's port, and on which address: the alias, everything, or where containers do not get."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import frameworks
from finding import Finding, fail, ok, warn
from project import Project, Route
from system import system


@dataclass
class Listener:
    """What listens on one port: its addresses, and who it is as far as this user may see."""

    port: int
    addresses: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    name: str = ""


def look(ports: set[int]) -> dict[int, Listener]:
    """Return what listens on each of `ports`."""
    found: dict[int, Listener] = {}
    for address, port, pids, name in system.listeners():
        if port in ports:
            listener = found.setdefault(port, Listener(port))
            listener.addresses.append(address)
            listener.pids += [pid for pid in pids if pid not in listener.pids]
            listener.name = listener.name or name
    if system.LOOPBACK == "lo":
        for port, listener in found.items():
            if "::" in listener.addresses and not {"*", "127.0.0.1"} & set(listener.addresses) and with_ipv4(port):
                listener.addresses.append("*")
    return found


def check(project: Project, routes: list[Route]) -> Iterator[Finding]:
    """Find for each service of this machine whether containers reach where it listens."""
    ports = {route.service: route.port for route in routes if route.native}
    listeners = look(set(ports.values()))
    for service, port in ports.items():
        yield judge(project, service, port, listeners.get(port))


def judge(project: Project, service: str, port: int, listener: Listener | None) -> Finding:
    """Return what it means where `listener` listens."""
    place = f"{project.listen}:{port}"
    if listener is None:
        text = f"nothing listens on port {port}: it is not started, or on another port"
        return fail("service.none", service, text, f'start it on {place}, in a shell after: eval "$(make -s dev-env)"')
    who, match, program = identify(listener)
    here = sorted(set(listener.addresses))
    if project.ip in here and not project.gateway:
        return ok("service.alias", service, f"{who} listens on {place}")
    change = frameworks.fix(match, program, project.listen, port, is_rails=is_rails(listener))
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


def identify(listener: Listener) -> tuple[str, frameworks.Match | None, str]:
    """Return who listens, for people; its framework; and its program's name."""
    commands, program, seen = [], "", set()
    for pid in listener.pids:
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
    program = printable(program or listener.name)
    if not listener.pids:
        return f"another user's process ({system.owner_hint(listener.port)} names it)", match, program
    process = f"{program or 'a process'}, pid {listener.pids[0]}"
    return (
        (f"{match.framework.name} ({process})" if match else f"{program or 'a process'} (pid {listener.pids[0]})"),
        match,
        program,
    )


def is_rails(listener: Listener) -> bool:
    """Tell whether the server's folder is a Rails application: then a puma was started by `rails server`."""
    for pid in listener.pids:
        if os.path.isfile(f"/proc/{pid}/cwd/bin/rails"):
            return True
    return os.path.isfile("bin/rails")


def printable(text: str) -> str:
    """Return `text` without what could move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def with_ipv4(port: int) -> bool:
    """Tell whether what listens on all of IPv6 takes IPv4, too: Linux does not say, so a connection has to."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False
