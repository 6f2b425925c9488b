# SPDX-License-Identifier: MIT
"""What this machine says about addresses, routes, sockets, processes and names: each question once, for macOS and for Linux."""

from __future__ import annotations

import contextlib
import os
import socket

if os.access("/bin/launchctl", os.X_OK):
    from machine import darwin as system
else:
    from machine import linux as system

__all__ = ["addresses_of", "in_hosts_file", "lineage", "system"]


def lineage(pids: list[int]) -> tuple[str, list[list[str]]]:
    """Return the name of the first program among `pids`, and the command lines of each and of its next three parents.

    A server that names itself, or runs in a child, is known by how its parent was started.
    """
    commands, program, seen = [], "", set()
    for pid in pids:
        for _ in range(4):
            if pid <= 1 or pid in seen:
                break
            seen.add(pid)
            name, words, pid = system.process(pid)
            program = program or name
            commands.append(words)
    return program, commands


def addresses_of(host: str) -> list[str]:
    """Return the addresses of `host` as programs of this machine get them, [] for none."""
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []


def in_hosts_file(path: str) -> dict[str, int]:
    """Return the names in the hosts file `path`, each with the line that counts: the first one."""
    lines: dict[str, int] = {}
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            for name in line.partition("#")[0].split()[1:]:
                lines.setdefault(name, number)
    return lines
