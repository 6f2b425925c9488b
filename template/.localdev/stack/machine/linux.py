# SPDX-License-Identifier: MIT
"""Linux: what this machine says about addresses, routes, sockets, processes and firewalls. Same functions as darwin.py."""

from __future__ import annotations

import glob
import ipaddress
import json
import os
import re
import socket
import struct
from functools import cache
from typing import Any

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


def takes_ipv4(port: int) -> bool:
    """Tell whether what listens on all of IPv6 takes IPv4, too: Linux does not say, so a connection has to."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False


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
        text = contents(f"/proc/{pid}/cmdline")
        # A process that names itself, such as puma, leaves one text with blanks.
        words = text.rstrip("\0").split("\0") if "\0" in text.rstrip("\0") else text.rstrip("\0").split()
        parent = int(contents(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
        # The program's name, not the process's: that of Node is MainThread.
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe").replace(" (deleted)", ""))
    except (OSError, IndexError):
        pass
    return name, words, parent


def owner_hint(port: int) -> str:
    """Return the command that names the process that listens on `port`, which this user may not see."""
    return f"sudo {command('ss')} -ltnp sport = :{port}"


def command(name: str) -> str:
    """Return the absolute path of a command for root, the usual one where it is not installed."""
    places = [f"{folder}/{name}" for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/bin")]
    return next(filter(os.path.exists, places), places[0])


def contents(path: str) -> str:
    """Return what is in the file `path`, '' where it is missing or closed to this user."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def guard_tool() -> str:
    """Return the command by which the boot job sets up the guard, '' where it has none."""
    return next(filter(os.path.exists, ("/usr/sbin/nft", "/sbin/iptables")), "")


def owns_guard(label: str) -> bool:
    """Tell whether the boot job's own process holds the guard. Nobody else can remove its rules, and they live as long as it does."""
    pid = run("systemctl", "show", "--property", "MainPID", "--value", f"{label}.service").out.strip()
    return pid.isdigit() and contents(f"/proc/{pid}/comm") == "nft\n"


def show_guard(label: str) -> str:
    """Return the command by which root sees the guard of the boot job `label`."""
    nft = guard_tool().endswith("nft")
    return f"sudo /usr/sbin/nft list table ip {label}" if nft else f"sudo {command('iptables')} -t raw -S"


def is_guarded(ip: str) -> bool:
    """Tell whether a rule for `ip` drops what comes in, or everything is dropped that no rule lets in; only for root."""
    # Tables for ARP and bridges have hooks of the same names.
    rules = "\n".join(re.findall(r"^table (?:ip|inet) .*?^\}", run("nft", "list", "ruleset").out, re.M | re.S))
    ours = r"hook prerouting [^}]*ip daddr (!= IP return|\{[^}]*\bIP\b[^}]*\} drop)"
    raw = run("iptables", "-t", "raw", "-S", "PREROUTING").out
    if re.search(ours.replace("IP", re.escape(ip)), rules) or f"-d {ip}/32 -j host-alias-" in raw:
        return True
    # A chain is closed by its policy, or, as firewalld's is, by its last rule.
    last = r"(?:(?!\n\t\}).)*\n\t\t(?:counter packets \d+ bytes \d+ )?(?:drop|reject)\b[^\n]*\n\t\}"
    if re.search(rf"hook input priority [^;]*; policy (?:drop;|accept;{last})", rules, re.DOTALL):
        return True
    return bool(re.search(r"^-P INPUT DROP", run("iptables", "-S", "INPUT").out, re.MULTILINE))


def ufw_is_closed() -> bool:
    """Tell whether ufw is on; its settings, unlike its rules, are for everybody to read."""
    policy = re.search(r'^DEFAULT_INPUT_POLICY="?(DROP|REJECT)', contents("/etc/default/ufw"), re.MULTILINE)
    return bool(policy and re.search(r"^ENABLED=yes\b", contents("/etc/ufw/ufw.conf"), re.MULTILINE))


def opening_rule(ip: str, port: int, engine: str, networks: dict[str, Any]) -> str:
    """Return the command that lets containers of `engine` reach `port` of `ip`, '' for any address, and nothing more.

    `networks` is what the engine says of one. It gives a bridge a new name each time, so the rule is for all of its bridges.
    """
    star, plus = ("podman*", "podman+") if "podman" in engine else ("br-*", "br-+")
    if ufw_is_closed():
        return f"sudo ufw allow in on {plus} to {ip or 'any'} port {port} proto tcp"
    if _firewalld_runs():
        bridge, subnet = _way_of(networks)
        to = f' destination address="{ip}"' if ip else ""
        rule = f'rule family="ipv4" source address="{subnet}"{to} port port="{port}" protocol="tcp" accept'
        add = f"sudo firewall-cmd --permanent{_zone(bridge)} --add-rich-rule='{rule}'"
        return f"{add} && sudo firewall-cmd --reload"
    chain = _closed_chain()
    if chain in ("", "ip filter INPUT"):
        return f"sudo iptables -I INPUT -i {plus}{f' -d {ip}' if ip else ''} -p tcp --dport {port} -j ACCEPT"
    return f"sudo nft 'insert rule {chain} iifname \"{star}\"{f' ip daddr {ip}' if ip else ''} tcp dport {port} accept'"


def _way_of(networks: dict[str, Any]) -> tuple[str, str]:
    """Return the interface that a container's packets come in by, and the range of addresses that it is in."""
    for name, network in networks.items():
        if network.get("IPAddress"):
            subnet = ipaddress.ip_network(f"{network['IPAddress']}/{network.get('IPPrefixLen', 16)}", strict=False)
            return "docker0" if name == "bridge" else f"br-{network.get('NetworkID', '')[:12]}", str(subnet)
    return "docker0", "172.16.0.0/12"


# Asked once, not for each of fifty ports: firewall-cmd takes its time.
@cache
def _firewalld_runs() -> bool:
    """Tell whether firewalld is this machine's firewall."""
    return run("firewall-cmd", "--state").out.strip() == "running"


@cache
def _zone(bridge: str) -> str:
    """Return firewall-cmd's option for the zone that has `bridge`, '' for the default zone."""
    done = run("firewall-cmd", f"--get-zone-of-interface={bridge}")
    return f" --zone={done.out.strip()}" if done.code == 0 else ""


@cache
def _closed_chain() -> str:
    """Return family, table and name of the chain that does not let everything in, '' for iptables' own or unknown."""
    if os.geteuid() != 0:
        chain = r"^\s*table\s+(\w+)\s+(\w+)\s*\{(?:(?!^\s*table).)*?chain\s+(\w+)\s*\{[^}]*hook input"
        found = re.search(chain, contents("/etc/nftables.conf"), re.M | re.S)
        return " ".join(found.groups()) if found else ""
    # The rules that are in force only root sees. nft 1.0.6 crashes while it writes JSON of a table that a process owns.
    tables = re.findall(r"^table (ip|inet) (\S+)(?<![.]own)$", run("nft", "list", "tables").out, re.M)
    try:
        said = [json.loads(run("nft", "-j", "list", "table", *table).out) for table in tables]
    except ValueError:
        return ""
    objects = [entry for table in said for entry in table.get("nftables", [])]
    refusing = {
        (rule["family"], rule["table"], rule["chain"])
        for rule in (entry["rule"] for entry in objects if "rule" in entry)
        if any("drop" in part or "reject" in part for part in rule.get("expr", []))
    }
    for chain in (entry["chain"] for entry in objects if "chain" in entry):
        key = (chain["family"], chain["table"], chain["name"])
        if chain.get("hook") == "input" and (chain.get("policy") == "drop" or key in refusing):
            return " ".join(key)
    return ""
