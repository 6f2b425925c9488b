# SPDX-License-Identifier: MIT
"""The one rule that lets containers reach one port of the alias through this machine's firewall, and nothing more."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from functools import cache
from typing import Any

from alias import ufw_enabled
from machine import system
from project import Project
from tools import run

# Docker gives a project's bridge a new name each time it is made, so the rule is for all of its bridges.
BRIDGES = {"docker": ("br-*", "br-+"), "podman": ("podman*", "podman+")}


def rule(project: Project, port: int, proxy: dict[str, Any]) -> str:
    """Return the command that lets the containers of the engine that runs `proxy` reach `port` of the alias."""
    if system.LOOPBACK != "lo":
        return "switch `Block all incoming connections` off in System Settings > Network > Firewall > Options"
    star, plus = BRIDGES["podman" if "podman" in project.engine[0] else "docker"]
    # In this mode services listen on Docker's gateway, not on the alias.
    to = "" if project.gateway else project.ip
    if ufw_enabled():
        return f"sudo ufw allow in on {plus} to {to or 'any'} port {port} proto tcp"
    if firewalld_runs():
        rich = f'rule family="ipv4" source address="{subnet(proxy)}"'
        rich += f' destination address="{to}"' if to else ""
        rich += f' port port="{port}" protocol="tcp" accept'
        return f"sudo firewall-cmd --permanent{zone(bridge_of(proxy))} --add-rich-rule='{rich}' && sudo firewall-cmd --reload"
    chain = closed_chain()
    if chain in ("", "ip filter INPUT"):
        return f"sudo iptables -I INPUT -i {plus}{f' -d {to}' if to else ''} -p tcp --dport {port} -j ACCEPT"
    return f"sudo nft 'insert rule {chain} iifname \"{star}\"{f' ip daddr {to}' if to else ''} tcp dport {port} accept'"


def subnet(proxy: dict[str, Any]) -> str:
    """Return the range of addresses that the containers beside `proxy` have."""
    for network in (proxy.get("NetworkSettings", {}).get("Networks") or {}).values():
        if network.get("IPAddress"):
            place = f"{network['IPAddress']}/{network.get('IPPrefixLen', 16)}"
            return str(ipaddress.ip_network(place, strict=False))
    return "172.16.0.0/12"


# Asked once, not for each of fifty ports: firewall-cmd takes its time.
@cache
def firewalld_runs() -> bool:
    """Tell whether firewalld is this machine's firewall."""
    return run("firewall-cmd", "--state").out.strip() == "running"


@cache
def zone(bridge: str) -> str:
    """Return firewall-cmd's option for the zone that has `bridge`, '' for the default zone."""
    done = run("firewall-cmd", f"--get-zone-of-interface={bridge}")
    return f" --zone={done.out.strip()}" if done.code == 0 else ""


def bridge_of(proxy: dict[str, Any]) -> str:
    """Return the interface that the packets of `proxy` come in by."""
    for name, network in (proxy.get("NetworkSettings", {}).get("Networks") or {}).items():
        if name != "bridge":
            return f"br-{network.get('NetworkID', '')[:12]}"
    return "docker0"


@cache
def closed_chain() -> str:
    """Return family, table and name of the chain that does not let everything in, '' for iptables' own or unknown."""
    if os.geteuid() == 0:
        return closed_in_kernel()
    try:
        with open("/etc/nftables.conf", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return ""
    found = re.search(
        r"^\s*table\s+(\w+)\s+(\w+)\s*\{(?:(?!^\s*table).)*?chain\s+(\w+)\s*\{[^}]*hook input", text, re.M | re.S
    )
    return " ".join(found.groups()) if found else ""


def closed_in_kernel() -> str:
    """Return the same from the rules that are in force, which only root sees."""
    try:
        objects = json.loads(run("nft", "-j", "list", "ruleset").out)["nftables"]
    except (ValueError, KeyError):
        return ""
    refusing = {
        (rule["family"], rule["table"], rule["chain"])
        for rule in (entry["rule"] for entry in objects if "rule" in entry)
        if any("drop" in part or "reject" in part for part in rule.get("expr", []))
    }
    for chain in (entry["chain"] for entry in objects if "chain" in entry):
        key = (chain["family"], chain["table"], chain["name"])
        candidate = chain.get("hook") == "input"
        if candidate and (chain.get("policy") == "drop" or key in refusing):
            return " ".join(key)
    return ""
