# SPDX-License-Identifier: MIT
"""Whether this machine's own resolver leads each host in routes to the proxy, at 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from finding import Finding, fail, ok, warn
from project import Route
from tools import together

SECONDS = 1.2


def lookup(host: str) -> list[str]:
    """Return the addresses of `host` as programs of this machine get them, [] for none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(entry[4][0]) for entry in found})


def in_hosts_file() -> dict[str, int]:
    """Return the names in /etc/hosts, each with the line that counts: the first one."""
    lines: dict[str, int] = {}
    with contextlib.suppress(OSError), open("/etc/hosts", encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            for name in line.partition("#")[0].split()[1:]:
                lines.setdefault(name, number)
    return lines


def look_up(hosts: list[str]) -> list[list[str]]:
    """Return the addresses of each of `hosts`. A wildcard stands for any name, so one is tried.

    Names with the same parent below .localhost are all known to a resolver or none is, unless /etc/hosts has them: one is
    asked for all. A name server that gets fifty questions at once may drop some.
    """
    own = in_hosts_file()
    keys = [
        "any name below " + host.partition(".")[2] if host.endswith(".localhost") and host not in own else host
        for host in hosts
    ]
    first: dict[str, str] = {}
    for key, host in zip(keys, hosts):
        first.setdefault(key, host)
    found = together(lookup, [host.replace("*", "doctor", 1) for host in first.values()], SECONDS)
    known = dict(zip(first, found))
    return [known[key] for key in keys]


def check(routes: list[Route]) -> Iterator[Finding]:
    """Find which hosts do not lead to this machine."""
    hosts = list(dict.fromkeys(route.host for route in routes))
    found = look_up(hosts)
    lost: dict[bool, list[str]] = {True: [], False: []}
    good = []
    for host, addresses in zip(hosts, found):
        if not addresses:
            lost[host.endswith(".localhost")].append(host)
        elif "127.0.0.1" in addresses:
            good.append(host)
        else:
            text = f"{host} resolves to {', '.join(addresses)}, not to 127.0.0.1"
            yield fail("names.elsewhere", "names", text, f"{removal(host)}make dev-hosts")
    if good:
        yield ok("names.resolve", "names", f"{join(good)} {'resolves' if len(good) == 1 else 'resolve'} to 127.0.0.1")
    if lost[True]:
        text = (
            f"Chrome, Firefox and curl know {join(lost[True])}, this machine's resolver (Safari, Java, Node) does not"
        )
        yield warn("names.browsers-only", "names", text, remedy(lost[True]))
    if lost[False]:
        text = f"{join(lost[False])}: no such host"
        yield fail("names.unresolved", "names", text, remedy(lost[False]))


def removal(host: str) -> str:
    """Return what to do first when /etc/hosts itself leads `host` elsewhere: there the first line wins."""
    number = in_hosts_file().get(host)
    return f"remove {host} from line {number} of /etc/hosts, then: " if number else ""


def join(hosts: list[str]) -> str:
    """Return the first few of `hosts` as words."""
    return ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")


def remedy(hosts: list[str]) -> str:
    """Return what makes `hosts` known; /etc/hosts has no wildcards."""
    if all(host.startswith("*") for host in hosts):
        return f"use a DNS name that resolves to 127.0.0.1, or write the names you need into /etc/hosts: 127.0.0.1 {hosts[0].replace('*', 'NAME', 1)}"
    return "make dev-hosts"
