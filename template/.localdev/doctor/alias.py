# SPDX-License-Identifier: MIT
"""The alias: on the interface, added again at boot, in nobody's way, and out of the LAN's reach."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Iterator

from engine import Engine, change_ip
from finding import Finding, fail, ok, warn
from machine import system
from project import Project
from tools import run

# Which interfaces the unit's guard lets in, by the beginning of their names.
GUESTS = ("lo", "docker", "br-", "podman", "cni", "nerdctl", "virbr", "lxcbr", "lxdbr", "incusbr")


def check(project: Project, engine: Engine) -> list[Finding]:
    """Find what is wrong with the alias."""
    if project.gateway:
        text = "LOCALDEV_HOST is set: containers use Docker's host gateway, no alias is needed"
        return [ok("alias.gateway", "alias", text)]
    status = run("/bin/sh", os.path.join(project.folder, "host-alias"), "status")
    if status.code not in (0, 3):
        said = (status.err.strip().splitlines() or [".localdev/host-alias does not run"])[-1]
        if status.code == 1:
            # The files are fine: the machine lacks the command ip.
            return [fail("alias.unknown", "alias", said, "install the package iproute2, then: make dev-alias")]
        return [fail("alias.invalid", "alias", said, "git checkout -- .localdev && make dev-alias")]
    rows = [re.split(r"\s{2,}", line.strip()) for line in status.out.splitlines()]
    return [
        *check_address(project),
        *check_job(project, rows),
        *check_neighbours(project, engine),
        *check_guard(project, rows),
    ]


def check_address(project: Project) -> Iterator[Finding]:
    """Find whether the loopback interface, and no other, has the address with its exact mask."""
    ip, there = project.ip, False
    for interface, address, prefix in system.addresses():
        if address != ip:
            continue
        if interface != system.LOOPBACK:
            text = f"{ip} belongs to {interface}: another network uses it"
            yield fail("alias.elsewhere", "alias", text, change_ip(another(ip)))
        elif prefix != 32:
            there = True
            text = f"{ip}/{prefix} is on {interface}; with that mask it claims all of its network, it should be /32"
            yield fail("alias.mask", "alias", text, system.widened(ip, prefix))
        else:
            there = True
            yield ok("alias.present", "alias", f"{ip}/32 is on {interface}")
    if not there:
        yield fail("alias.missing", "alias", f"{ip} is not on {system.LOOPBACK}", "make dev-alias")


def another(ip: str) -> str:
    """Return an address for an alias beside `ip`."""
    first, last = ip.rsplit(".", 1)
    return f"{first}.{int(last) - 1 if int(last) > 1 else 2}"


def elsewhere(ip: str) -> str:
    """Return an address far from `ip` that no network should have: those ranges are for documentation."""
    return "203.0.113.254" if ip.startswith("198.51.100.") else "198.51.100.254"


def check_job(project: Project, rows: list[list[str]]) -> Iterator[Finding]:
    """Find whether the address comes back at boot; `rows` is what `host-alias status` prints."""
    for row in rows:
        if row[0] == "job" and len(row) > 2:
            yield judge_job(project, row[1], row[2])
        elif row[0] == "also" and len(row) > 2 and row[2].startswith("claims"):
            text = f"{row[1]} adds {project.ip}, too; both may stay"
            yield warn("job.claimed", "boot job", text, system.remove_job(row[1]))


def judge_job(project: Project, path: str, state: str) -> Finding:
    """Return what the boot job's `state`, in host-alias' words, means for people."""
    lost = "after a reboot the alias is gone"
    if state == "installed":
        if system.switched_off(project.label):
            text = f"{path} is switched off in launchd: {lost}"
            return fail("job.disabled", "boot job", text, f"sudo launchctl enable system/{project.label}")
        return ok("job.ready", "boot job", f"{path} adds the alias at every boot")
    if state.startswith("not possible here"):
        return warn("job.unsupported", "boot job", f"{lost}: {state.partition(': ')[2]}")
    if state == "missing":
        return fail("job.missing", "boot job", f"{path} is missing: {lost}", "make dev-alias")
    if state == "out of date":
        return fail(
            "job.older",
            "boot job",
            f"{path} is out of date: after a reboot the alias may be gone, or another one there",
            "make dev-alias",
        )
    if state == "installed, not loaded":
        if system.login_items():
            text = f"{path} is not loaded: {lost}. Is `ifconfig` switched off in {system.login_items()}? Switch it on"
            return fail("job.off", "boot job", text, "make dev-alias")
        return fail("job.off", "boot job", f"{path} is not enabled: {lost}", "make dev-alias")
    text = f"{path} belongs to something else, it {state.partition(': it ')[2] or state}"
    fix = f'make dev-update ARGS="-d alias_label=local.host-alias.{project.ip}"'
    if project.label == f"local.host-alias.{project.ip}":
        fix = f"{system.remove_job(path)} && make dev-alias"
    return fail("job.conflict", "boot job", text, fix)


def check_neighbours(project: Project, engine: Engine) -> Iterator[Finding]:
    """Find networks that have the address in their range."""
    route = system.covering_route(project.ip)
    if route:
        text = f"the route {route} (a VPN or LAN) covers {project.ip}: what has it there cannot be reached from here"
        yield warn("alias.route", "alias", text, change_ip(elsewhere(project.ip)))
    if not engine.info():
        return
    names = engine.ask("network", "ls", "--format", "{{.Name}}").out.split()
    try:
        networks = json.loads(engine.ask("network", "inspect", *names).out) if names else []
    except ValueError:
        networks = []
    for network in networks:
        for config in (network.get("IPAM") or {}).get("Config") or network.get("subnets") or []:
            subnet = config.get("Subnet") or config.get("subnet") or ""
            if contains(subnet, project.ip):
                name = network.get("Name") or network.get("name")
                text = f"the container network {name}, {subnet}, covers {project.ip}"
                yield warn("alias.network", "alias", text, f"{' '.join(project.engine)} network rm {name}")
        option = "com.docker.network.bridge.name"
        bridge = (network.get("Options") or {}).get(option) or ""
        if system.LOOPBACK == "lo" and bridge and not bridge.startswith(GUESTS):
            text = f"the guard keeps the container network {network['Name']} from {project.ip}: its bridge is {bridge}"
            yield warn("guard.bridge", "guard", text, f"in its driver_opts: {option}: br-{bridge}")


def contains(subnet: str, ip: str) -> bool:
    """Tell whether `ip` is in `subnet`."""
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(subnet, strict=False)
    except ValueError:
        return False


def check_guard(project: Project, rows: list[list[str]]) -> Iterator[Finding]:
    """Find whether a firewall keeps neighbours on the LAN from what listens on the alias.

    Linux delivers a packet for any of its addresses, whatever interface it comes in by. The unit sets up a guard; `rows` is
    what `host-alias status` prints.
    """
    if system.LOOPBACK != "lo":
        return
    unit = next((row[1] for row in rows if row[0] == "job" and row[2:] == ["installed"]), "")
    if ufw_enabled():
        yield ok("guard.present", "guard", "ufw lets nobody in whom it was not told to")
    elif os.geteuid() == 0:
        if guarded(project.ip):
            yield ok("guard.present", "guard", f"a firewall keeps the LAN from {project.ip}")
        else:
            text = f"a neighbour on the LAN who routes {project.ip} to here reaches it"
            yield warn("guard.missing", "guard", text, set_up_guard(unit))
    elif unit and has_guard(unit):
        yield ok("guard.present", "guard", f"{unit} keeps the LAN from {project.ip}")
    else:
        text = f"whether a neighbour on the LAN can reach {project.ip}, only root can see"
        yield warn("guard.unknown", "guard", text, "sudo python3 .localdev/doctor")


def has_guard(unit: str) -> bool:
    """Tell whether the file `unit`, which is started, sets up a guard, and has the command for it."""
    try:
        with open(unit, encoding="utf-8", errors="replace") as file:
            return "chain guard" in file.read() and any(map(os.path.exists, ("/usr/sbin/nft", "/sbin/iptables")))
    except OSError:
        return False


def set_up_guard(unit: str) -> str:
    """Return the command that sets up the guard; `unit` is the file of the unit that is started, or ""."""
    if not any(map(os.path.exists, ("/usr/sbin/nft", "/sbin/iptables"))):
        return "install nftables, then: sudo python3 .localdev/doctor"
    if unit:
        return f"sudo systemctl restart {os.path.basename(unit)}"
    return "make dev-alias-down ARGS=--yes && make dev-alias"


def ufw_enabled() -> bool:
    """Tell whether ufw is on; its settings, unlike its rules, are for everybody to read."""
    try:
        with open("/etc/ufw/ufw.conf", encoding="utf-8", errors="replace") as file:
            on = re.search(r"^ENABLED=yes\b", file.read(), re.MULTILINE)
        with open("/etc/default/ufw", encoding="utf-8", errors="replace") as file:
            return bool(on and re.search(r'^DEFAULT_INPUT_POLICY="?(DROP|REJECT)', file.read(), re.MULTILINE))
    except OSError:
        return False


def guarded(ip: str) -> bool:
    """Tell whether a rule for `ip` drops what comes in, or everything is dropped that no rule lets in; only for root."""
    rules = run("nft", "list", "ruleset").out
    ours = rf"hook prerouting [^}}]*ip daddr != {re.escape(ip)} return[^}}]*\n\t\tdrop\n"
    if re.search(ours, rules) or f"-d {ip}/32 -j host-alias-" in run("iptables", "-t", "raw", "-S", "PREROUTING").out:
        return True
    # A chain is closed by its policy, or, as firewalld's is, by its last rule.
    last = r"(?:(?!\n\t\}).)*\n\t\t(?:counter packets \d+ bytes \d+ )?(?:drop|reject)\b[^\n]*\n\t\}"
    if re.search(rf"hook input priority [^;]*; policy (?:drop;|accept;{last})", rules, re.DOTALL):
        return True
    return bool(re.search(r"^-P INPUT DROP", run("iptables", "-S", "INPUT").out, re.MULTILINE))
