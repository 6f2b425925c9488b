# SPDX-License-Identifier: MIT
"""Linux: what this machine says about addresses, routes, sockets and processes. Same functions as darwin.py."""

from __future__ import annotations

import glob
import ipaddress
import os
import socket
import struct

from tools import run

LOOPBACK = "lo"


def addresses() -> list[tuple[str, str, int]]:
    """Return interface, IPv4 address and prefix length of each address of this machine."""
    rows = (line.split() for line in run("/sbin/ip", "-4", "-o", "address", "show").out.splitlines())
    return [(row[1], row[3].split("/")[0], int((row[3] + "/32").split("/")[1])) for row in rows if len(row) > 3]


def covering_route(ip: str) -> str:
    """Return the route that would lead to `ip` without the alias, '' for none or for one that leads everywhere."""
    for line in run("/sbin/ip", "-4", "route", "show", "match", ip).out.splitlines():
        words = line.split()
        # A VPN that takes all traffic has the default route's two halves, 0.0.0.0/1 and 128.0.0.0/1.
        if words and words[0] != "default" and not words[0].endswith("/1") and "dev" in words:
            return f"{words[0]} by {words[words.index('dev') + 1]}"
    return ""


def widened(ip: str, prefix: int) -> str:
    """Return the command that gives the alias its exact mask again; the kernel keeps both side by side."""
    return f"sudo ip address delete {ip}/{prefix} dev lo && make dev-alias"


def switched_off(label: str) -> bool:
    """Tell whether the boot job is switched off though it runs: there is no such state here."""
    return False


def login_items() -> str:
    """Return where people may have switched the boot job off, '' where there is no such place."""
    return ""


def remove_job(path: str) -> str:
    """Return the command that removes the boot job whose file is `path`."""
    return f"sudo systemctl disable --now {os.path.basename(path)} && sudo rm {path}"


def listeners() -> list[tuple[str, int, list[int], str]]:
    """Return address, port, processes (of those that this user may see) and '' of each socket that listens.

    An address is '*' for all of IPv4, '::' for all of IPv6 and, mostly, of IPv4, too.
    """
    found = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        for row in rows:
            if row[3] == "0A":
                address, port = row[1].split(":")
                found.append((_address(address), int(port, 16), row[9]))
    owners = _owners({inode for _, _, inode in found})
    return [(address, port, owners.get(inode, []), "") for address, port, inode in found]


def _address(text: str) -> str:
    """Return the address that the kernel writes as `text`: words of 32 bits, in this machine's order of bytes."""
    packed = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    if len(packed) == 4:
        return "*" if packed == bytes(4) else socket.inet_ntoa(packed)
    six = ipaddress.IPv6Address(packed)
    text = str(six.ipv4_mapped or six)
    return "*" if text == "0.0.0.0" else text


def _owners(inodes: set[str]) -> dict[str, list[int]]:
    """Return the processes that have each socket of `inodes`, by their numbers."""
    owners: dict[str, list[int]] = {}
    for path in glob.glob("/proc/[0-9]*/fd"):
        pid = int(path.split("/")[2])
        try:
            links = [os.readlink(os.path.join(path, name)) for name in os.listdir(path)]
        except OSError:
            continue
        for inode in {link[8:-1] for link in links if link.startswith("socket:[")} & inodes:
            owners.setdefault(inode, []).append(pid)
    return {inode: sorted(pids) for inode, pids in owners.items()}


def process(pid: int) -> tuple[str, list[str], int]:
    """Return the program's name, the command line as words, and the parent of process `pid`."""
    words, name, parent = [], "", 0
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            text = file.read()
        # A process that names itself, such as puma, leaves one text with blanks.
        words = text.rstrip("\0").split("\0") if "\0" in text.rstrip("\0") else text.rstrip("\0").split()
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            after = file.read().rpartition(")")[2].split()
        parent = int(after[1])
        # The program's name, not the process's: that of Node is MainThread.
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe").replace(" (deleted)", ""))
    except (OSError, IndexError):
        pass
    return name, words, parent


def owner_hint(port: int) -> str:
    """Return the command that names the process that listens on `port`, which this user may not see."""
    return f"sudo ss -ltnp sport = :{port}"
