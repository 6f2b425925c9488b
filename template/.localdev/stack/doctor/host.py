# SPDX-License-Identifier: MIT
"""This machine: has it the alias, also after a reboot; is that in nobody's way, and out of the LAN's reach; do names lead here?"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Any

import owners
from doctor.engine import FAIL, OK, Facts, Finding, change_ip, fail, ok, warn
from hosts import FILE
from machine import addresses_of, in_hosts_file, system
from tools import run, together

# A name server that does not answer is not waited for. Seconds.
PATIENCE = 1.2
RESTORE = f"git checkout -- {owners.FOLDER} &&"


def check_alias(facts: Facts) -> list[Finding]:
    """Find what is wrong with the alias."""
    if facts.has_gateway:
        text = "LOCALDEV_HOST is set: containers use Docker's host gateway, no alias is needed"
        return [ok("alias.gateway", "alias", text)]
    status = run("/bin/sh", f"{owners.FOLDER}/host-alias", "status")
    if status.code not in (0, 3):
        said = (status.err.strip().splitlines() or [f"{owners.FOLDER}/host-alias does not run"])[-1]
        # With 1 the files are fine: the machine lacks the command ip.
        id, fix = ("unknown", "install the package iproute2, then:") if status.code == 1 else ("invalid", RESTORE)
        return [fail(f"alias.{id}", "alias", said, f"{fix} make dev-alias")]
    rows = [re.split(r"\s{2,}", line.strip()) for line in status.out.splitlines()]
    checks = (
        check_address(facts.settings.ip),
        check_job(facts, rows),
        check_neighbours(facts),
        check_guard(facts, rows),
    )
    return [finding for check in checks for finding in check]


def check_address(ip: str) -> Iterator[Finding]:
    """Find whether the loopback interface, and no other, has the address with its exact mask."""
    there = False
    for interface, address, prefix in system.addresses():
        if address == ip and interface != system.LOOPBACK:
            first, last = ip.rsplit(".", 1)
            beside = f"{first}.{int(last) - 1 if int(last) > 1 else 2}"
            text = f"{ip} belongs to {interface}: another network uses it"
            yield fail("alias.elsewhere", "alias", text, change_ip(beside))
        elif address == ip:
            there = True
            if prefix == 32:
                yield ok("alias.present", "alias", f"{ip}/32 is on {interface}")
                continue
            text = f"{ip}/{prefix} is on {interface}; with that mask it claims all of its network, it should be /32"
            yield fail("alias.mask", "alias", text, system.widened(ip, prefix))
    if not there:
        yield fail("alias.missing", "alias", f"{ip} is not on {system.LOOPBACK}", "make dev-alias")


def check_job(facts: Facts, rows: list[list[str]]) -> Iterator[Finding]:
    """Find whether the address comes back at boot; `rows` is what `host-alias status` prints."""
    for row in rows:
        if row[0] == "job" and len(row) > 2:
            yield judge_job(facts.settings.label, facts.settings.ip, row[1], row[2])
        elif row[0] == "also" and len(row) > 2 and row[2].startswith("claims"):
            text = f"{row[1]} adds {facts.settings.ip}, too; both may stay"
            yield warn("job.claimed", "boot job", text, system.remove_job(row[1]))


def judge_job(label: str, ip: str, path: str, state: str) -> Finding:
    """Return what the boot job's `state`, in host-alias' words, means for people."""
    lost, usual, place = "after a reboot the alias is gone", f"local.host-alias.{ip}", system.login_items()
    if state.startswith("not possible here"):
        return warn("job.unsupported", "boot job", f"{lost}: {state.partition(': ')[2]}")
    if state == "installed" and system.switched_off(label):
        state = "switched off"
    off = f"loaded: {lost}. Is `ifconfig` switched off in {place}? Switch it on" if place else f"enabled: {lost}"
    older = "is out of date: after a reboot the alias may be gone, or another one there"
    enable = f"sudo /bin/launchctl enable system/{label}"
    states = {
        "installed": (OK, "ready", "adds the alias at every boot", None),
        "switched off": (FAIL, "disabled", f"is switched off in launchd: {lost}", enable),
        "missing": (FAIL, "missing", f"is missing: {lost}", "make dev-alias"),
        "out of date": (FAIL, "older", older, "make dev-alias"),
        "installed, not loaded": (FAIL, "off", f"is not {off}", "make dev-alias"),
    }
    rename = f'make dev-update ARGS="-d alias_label={usual}"'
    remove = f"{system.remove_job(path)} && make dev-alias"
    other = f"belongs to something else, it {state.partition(': it ')[2] or state}"
    level, id, text, fix = states.get(state, (FAIL, "conflict", other, remove if label == usual else rename))
    return Finding(level, f"job.{id}", "boot job", f"{path} {text}", fix)


def check_neighbours(facts: Facts) -> Iterator[Finding]:
    """Find networks that have the address in their range."""
    ip = facts.settings.ip
    route = system.covering_route(ip)
    if route:
        # Those ranges are for documentation: https://www.rfc-editor.org/rfc/rfc5737
        far = "203.0.113.254" if ip.startswith("198.51.100.") else "198.51.100.254"
        text = f"the route {route} (a VPN or LAN) covers {ip}: what has it there cannot be reached from here"
        yield warn("alias.route", "alias", text, change_ip(far))
    for network in facts.networks.result():
        name = network.get("Name") or network.get("name")
        for config in (network.get("IPAM") or {}).get("Config") or network.get("subnets") or []:
            subnet = config.get("Subnet") or config.get("subnet") or ""
            if subnet and ipaddress.ip_address(ip) in ipaddress.ip_network(subnet, strict=False):
                text = f"the container network {name}, {subnet}, covers {ip}"
                yield warn("alias.network", "alias", text, f"{' '.join(facts.engine)} network rm {name}")


def check_guard(facts: Facts, rows: list[list[str]]) -> Iterator[Finding]:
    """Find whether a firewall keeps neighbours on the LAN from what listens on the alias.

    Linux delivers a packet for any of its addresses, whatever interface it comes in by. The unit sets up a guard; `rows` is
    what `host-alias status` prints.
    """
    if system.LOOPBACK != "lo":
        return
    ip, subject = facts.settings.ip, "guard"
    unit = next((row[1] for row in rows if row[0] == "job" and row[2:] == ["installed"]), "")
    tool = system.guard_tool()
    if system.owns_guard(facts.settings.label):
        yield ok("guard.present", subject, f"nft runs, and holds the rules that keep the LAN from {ip}")
    elif os.geteuid() == 0 and system.is_guarded(ip):
        yield ok("guard.present", subject, f"a firewall keeps the LAN from {ip}")
    elif os.geteuid() == 0:
        restart = f"sudo systemctl restart {os.path.basename(unit)}" if unit else ""
        fix = restart or "make dev-alias-down ARGS=--yes && make dev-alias"
        text = f"a neighbour on the LAN who routes {ip} to here reaches it"
        yield warn("guard.missing", subject, text, fix if tool else f"install nftables, then: {fix}")
    else:
        text = f"whether a neighbour on the LAN can reach {ip}, only root can see"
        yield warn("guard.unknown", subject, text, system.show_guard(facts.settings.label))


def check_names(facts: Facts) -> Iterator[Finding]:
    """Find which hosts this machine's own resolver does not lead to the proxy, at 127.0.0.1."""
    hosts = list(dict.fromkeys(route.host for route in facts.routes)) if facts.settings.has_proxy else []
    own = in_hosts_file(FILE)
    good, browsers, unknown = [], [], []
    for host, addresses in zip(hosts, look_up(hosts, own)):
        if not addresses:
            (browsers if host.endswith(".localhost") else unknown).append(host)
        elif "127.0.0.1" in addresses:
            good.append(host)
        else:
            # In that file the first line wins.
            first = f"remove {host} from line {own[host]} of {FILE}, then: " if host in own else ""
            text = f"{host} resolves to {', '.join(addresses)}, not to 127.0.0.1"
            yield fail("names.elsewhere", "names", text, f"{first}make dev-hosts")
    if good:
        yield ok("names.resolve", "names", f"{join(good)} {'resolves' if len(good) == 1 else 'resolve'} to 127.0.0.1")
    if browsers:
        text = f"Chrome, Firefox and curl know {join(browsers)}, this machine's resolver (Safari, Java, Node) does not"
        yield warn("names.browsers-only", "names", text, remedy(browsers))
    if unknown:
        yield fail("names.unresolved", "names", f"{join(unknown)}: no such host", remedy(unknown))


def join(hosts: list[str]) -> str:
    """Return the first few of `hosts` as words."""
    return ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")


def look_up(hosts: list[str], own: dict[str, int]) -> list[Any]:
    """Return the addresses of each of `hosts`, none where there is no answer. A wildcard stands for any name: one is tried.

    Names with the same parent below .localhost are all known to a resolver or none is, unless /etc/hosts has them, as `own`
    says: one is asked for all. A name server that gets fifty questions at once may drop some.
    """
    names = [f"*.{host.partition('.')[2]}" if host.endswith(".localhost") else host for host in hosts]
    groups = [host if host in own else name for host, name in zip(hosts, names)]
    # The first of each group.
    asked = dict(zip(reversed(groups), reversed(hosts)))
    found = together(addresses_of, [host.replace("*", "doctor", 1) for host in asked.values()], PATIENCE)
    known = dict(zip(asked, found))
    return [known[group] for group in groups]


def remedy(hosts: list[str]) -> str:
    """Return what makes `hosts` known; /etc/hosts has no wildcards."""
    if any(not host.startswith("*") for host in hosts):
        return "make dev-hosts"
    line = f"127.0.0.1 {hosts[0].replace('*', 'NAME', 1)}"
    return f"use a DNS name that resolves to 127.0.0.1, or write the names you need into {FILE}: {line}"
