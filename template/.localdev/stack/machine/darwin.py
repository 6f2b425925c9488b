# SPDX-License-Identifier: MIT
"""macOS: what this machine says about addresses, routes, sockets and processes. Same functions as linux.py, but for the firewall's."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from typing import Any

from tools import run

LOOPBACK = "lo0"


def addresses() -> list[tuple[str, str, int]]:
    """Return interface, IPv4 address and prefix length of each address of this machine."""
    found, interface = [], ""
    for line in run("/sbin/ifconfig").out.splitlines():
        words = line.split()
        if line[:1].strip() and words:
            interface = words[0].rstrip(":")
        elif words[:1] == ["inet"] and "netmask" in words:
            mask = int(words[words.index("netmask") + 1], 16)
            found.append((interface, words[1], bin(mask).count("1")))
    return found


def covering_route(ip: str) -> str:
    """Return the route that would lead to `ip` without the alias, '' for none or for one that leads everywhere."""
    for line in run("/usr/sbin/netstat", "-rn", "-f", "inet").out.splitlines():
        words = line.split()
        if len(words) < 4 or not re.match(r"[0-9.]+(/[0-9]+)?$", words[0]) or words[3] == LOOPBACK:
            continue
        # `10` is 10.0.0.0/8: it leaves out zeros at the end, and with them the length.
        address, _, prefix = words[0].partition("/")
        octets = address.split(".")
        network = ".".join(octets + ["0"] * (4 - len(octets))) + "/" + (prefix or str(8 * len(octets)))
        # A VPN that takes all traffic has the default route's two halves, 0/1 and 128.0/1.
        found = ipaddress.ip_network(network, strict=False)
        if found.prefixlen > 1 and ipaddress.ip_address(ip) in found:
            return f"{network} by {words[3]}"
    return ""


def widened(ip: str, prefix: int) -> str:
    """Return the command that gives the alias its exact mask again."""
    return f"sudo /sbin/ifconfig lo0 alias {ip} netmask 255.255.255.255"


def switched_off(label: str) -> bool:
    """Tell whether launchd will not start the boot job at the next boot, loaded or not."""
    said = run("/bin/launchctl", "print-disabled", "system").out
    return bool(re.search(rf'^\s*"{re.escape(label)}" => (true|disabled)$', said, re.MULTILINE))


def login_items() -> str:
    """Return where people may have switched the boot job off."""
    return "System Settings > General > Login Items"


def remove_job(path: str) -> str:
    """Return the command that removes the boot job whose file is `path`."""
    return f"sudo launchctl bootout system/{os.path.splitext(os.path.basename(path))[0]}; sudo rm {path}"


def listeners() -> list[tuple[str, int, list[int], str]]:
    """Return address, port, processes and, where macOS tells it, the process's name of each socket that listens.

    netstat shows the sockets of all users, since macOS 26 with their process's name; lsof those of this user.
    An address is '*' for all of IPv4, with IPv6 or without, and '::' for all of IPv6 alone.
    """
    owners = _owners()
    found, column = [], None
    for line in run("/usr/sbin/netstat", "-anv", "-p", "tcp").out.splitlines():
        words = line.split()
        if words[:1] == ["Proto"]:
            # The header's "Local Address" and "Foreign Address" are one field each in the lines below.
            column = next((i - 2 for i, word in enumerate(words) if word in ("pid", "process:pid")), None)
        elif len(words) > 5 and words[0].startswith("tcp") and words[5] == "LISTEN":
            address, _, port = words[3].rpartition(".")
            address = "::" if (address, words[0]) == ("*", "tcp6") else address.partition("%")[0]
            if not port.isdigit():
                continue
            # A name may have blanks: it ends where :NUMBER does.
            tail = re.match(r"(?:(.*?):)?([0-9]+)(?:\s|$)", " ".join(words[column:])) if column else None
            pids = owners.get((address, int(port))) or ([int(tail.group(2))] if tail and int(tail.group(2)) else [])
            found.append((address, int(port), pids, (tail and tail.group(1)) or ""))
    return found


def takes_ipv4(port: int) -> bool:
    """Tell whether what listens on all of IPv6 takes IPv4, too: then `listeners` says '*'."""
    return False


def _owners() -> dict[tuple[str, int], list[int]]:
    """Return the processes of this user by address and port."""
    owners: dict[tuple[str, int], list[int]] = {}
    pid = 0
    for line in run("/usr/sbin/lsof", "-nP", "-iTCP", "-sTCP:LISTEN", "-Fpn").out.splitlines():
        if line[:1] == "p":
            pid = int(line[1:])
        elif line[:1] == "n":
            address, _, port = line[1:].rpartition(":")
            if port.isdigit():
                owners.setdefault((address.strip("[]"), int(port)), []).append(pid)
    return owners


@functools.cache
def _processes() -> dict[int, tuple[str, list[str], int]]:
    """Return program, command line and parent of every process, by its number: ps once, however many services there are."""
    found = {}
    for line in run("/bin/ps", "-axwwo", "pid=,ppid=,command=").out.splitlines():
        words = line.split()
        if len(words) > 2:
            found[int(words[0])] = (os.path.basename(words[2]).rstrip(":"), words[2:], int(words[1]))
    return found


def process(pid: int) -> tuple[str, list[str], int]:
    """Return the program's name, the command line as words, and the parent of process `pid`."""
    return _processes().get(pid, ("", [], 0))


def owner_hint(port: int) -> str:
    """Return the command that names the process that listens on `port`, which this user may not see."""
    return f"sudo /usr/sbin/lsof -nP -iTCP:{port} -sTCP:LISTEN"


def opening_rule(ip: str, port: int, engine: str, networks: dict[str, Any]) -> str:
    """Return what lets containers reach the services of this machine."""
    return "switch `Block all incoming connections` off in System Settings > Network > Firewall > Options"
