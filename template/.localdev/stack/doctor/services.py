# SPDX-License-Identifier: MIT
"""Who listens on each native service's port, on which address, and the change that lets it listen on the alias."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from doctor.engine import Facts, Finding, fail, ok, warn
from machine import lineage, system
from ports import ENGINES

# Has the ports 5000, Flask's own, and 7000 on every Mac whose AirPlay Receiver nobody switched off.
AIRPLAY = "ControlCenter"


class Framework(NamedTuple):
    """`program` finds it in a command line; there its command begins, as people start it by `start`.

    What `drops` matches, an option with its value or a word, makes room for `adds`. Without `start`, `adds` is no command.
    """

    name: str
    program: str
    start: str
    drops: str
    adds: str


# The names of options, which may have a value. In this table a line for one framework is easier to read.
HOST, BIND, PORT = "--host", "-b|--bind|--binding", "-p|--port"
PLACE = "--host {ip} --port {port}"
# In the order in which they are tried: a Rails server is a puma, Nuxt and Angular are vites inside.
FRAMEWORKS = (
    Framework("Nuxt", r"(nuxi|nuxt)(\.m?js)?", "npx {program}", f"{HOST}|{PORT}", PLACE),
    Framework("Angular", r"ng(\.js)?", "npx {program}", f"{HOST}|{PORT}", PLACE),
    Framework("Next", r"next(\.js)?", "npx {program}", f"-H|--hostname|{PORT}", "-H {ip} -p {port}"),
    Framework("Vite", r"vite(\.js)?", "npx {program}", f"{HOST}|{PORT}", PLACE),
    Framework("webpack-dev-server", r"webpack(-cli|-dev-server)?(\.js)?", "npx {program}", f"{HOST}|{PORT}", PLACE),
    Framework("Django", r"manage\.py", "python3 {program}", "", "{ip}:{port}"),
    Framework("Django", "django-admin", "{program}", "", "{ip}:{port}"),
    Framework("Flask", "flask", "{program}", f"{HOST}|-h|{PORT}", PLACE),
    Framework("FastAPI", "fastapi", "{program}", f"{HOST}|{PORT}", PLACE),
    Framework("uvicorn", "uvicorn", "{program}", f"{HOST}|{PORT}", PLACE),
    Framework("gunicorn", "gunicorn", "{program}", BIND, "-b {ip}:{port}"),
    Framework("http.server", r"http\.server", "python3 -m {program}", BIND, "--bind {ip} {port}"),
    Framework("Rails", "rails", "bin/rails", f"{BIND}|{PORT}", "-b {ip} -p {port}"),
    Framework("Puma", "puma:?", "bundle exec puma", f"{BIND}|{PORT}", "-b tcp://{ip}:{port}"),
    Framework("Laravel", "artisan", "php {program}", f"{HOST}|{PORT}", PLACE),
    Framework("Phoenix", r"beam\.smp", "", "", "in config/dev.exs: http: [ip: {tuple}, port: {port}]"),
    Framework(
        *("Spring Boot", r"org\.springframework\.boot\..*|spring-boot:run|bootRun|.*spring-boot.*\.jar", "", ""),
        "SERVER_ADDRESS={ip} (in the environment), or server.address={ip} in application.properties",
    ),
)
GO = 'in the code: http.ListenAndServe(net.JoinHostPort("{ip}", "{port}"), nil)'
GENERIC = "let it listen on {ip}, port {port}; its manual calls that host, bind or address"
# What some processes call themselves, without how they were started, and how people start those.
TITLES = (("next-server", "next dev"), ("puma:", "puma"), (r"puma .*\((tcp|ssl)://.*", "puma"))


@dataclass(frozen=True)
class Listener:
    """One socket that listens: its address, and whose it is as far as this user may see."""

    address: str
    pids: list[int]
    name: str = ""

    @property
    def program(self) -> str:
        """The name of its program, '' where it is hidden: on Linux from everybody but root and its own user."""
        return (system.process(self.pids[0])[0] if self.pids else "") or self.name


def check(facts: Facts) -> Iterator[Finding]:
    """Find for each service of this machine whether containers reach where it listens."""
    ports = {route.service: route.port for route in facts.routes if route.native}
    found: dict[int, list[Listener]] = {port: [] for port in ports.values()}
    for address, port, pids, name in system.listeners():
        if port in found:
            found[port].append(Listener(address, pids, name))
    for service, port in ports.items():
        yield judge_container(facts, service, port, found[port]) or judge(facts, service, port, found[port])


def judge_container(facts: Facts, service: str, port: int, listeners: list[Listener]) -> Finding | None:
    """Return that a container has the port of `service`, None where none has or the service listens beside it."""
    # A hidden process is root's, as Docker's is.
    others = (listener.program and not ENGINES.match(listener.program) for listener in listeners)
    if any(others) or any(listener.address == facts.settings.ip for listener in listeners):
        return None
    for container in facts.containers.result() or []:
        if port in container.ports:
            project = f" of the project {container.project}" if container.project else ""
            text = f"the container {container.name}{project} has port {port}, where {service} should listen"
            fix = f"{facts.engine[0]} stop {container.name}, or publish another port of it"
            return fail("service.container", service, text, fix)
    # An ssh may be a tunnel of somebody's.
    program = next((listener.program for listener in listeners if listener.program not in ("", "ssh")), "")
    if not program:
        return None
    text = f"{program} has port {port} for a container, where {service} should listen"
    return fail("service.container", service, text, "stop that container, or publish another port of it")


def judge(facts: Facts, service: str, port: int, listeners: list[Listener]) -> Finding:
    """Return what it means where `listeners`, all on `port`, listen."""
    place = f"{facts.listen}:{port}"
    if not listeners:
        text = f"nothing listens on port {port}: it is not started, or on another port"
        return fail("service.none", service, text, f'start it on {place}, in a shell after: eval "$(make -s dev-env)"')
    here = {listener.address for listener in listeners}
    if facts.settings.ip in here and not facts.has_gateway:
        # Another process may have the same port of another address.
        own = [listener for listener in listeners if listener.address == facts.settings.ip]
        return ok("service.alias", service, f"{identify(own, port, facts.listen)[0]} listens on {place}")
    if listeners[0].program == AIRPLAY:
        text = f"macOS's AirPlay Receiver has port {port}; {service} does not listen there"
        fix = f"give {service} another port in .localdev/routes, then: make dev-reload"
        return fail("service.none", service, text, fix)
    who, change = identify(listeners, port, facts.listen)
    if "*" in here or ("::" in here and "127.0.0.1" not in here and system.takes_ipv4(port)):
        if facts.has_gateway:
            return ok("service.all", service, f"{who} listens on all addresses, port {port}")
        text = f"{who} listens on all addresses, port {port}: it works, and the LAN reaches it, too"
        return warn("service.all", service, text, change)
    if here == {"::"}:
        text = f"{who} listens on all addresses of IPv6, port {port}, but not of IPv4; containers do not reach that"
        return fail("service.ipv6", service, text, change)
    shown = " and ".join(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in sorted(here))
    is_loopback = "127.0.0.1" in here or all(address.startswith("127.") for address in here)
    id = "loopback" if is_loopback else "loopback6" if here == {"::1"} else "elsewhere"
    return fail(f"service.{id}", service, f"{who} listens on {shown} only; containers do not reach that", change)


def identify(listeners: list[Listener], port: int, ip: str) -> tuple[str, str]:
    """Return who listens, for people, and what lets it listen on `ip`."""
    pids = [pid for listener in listeners for pid in listener.pids]
    program, commands = lineage(pids)
    program = program or next((listener.name for listener in listeners if listener.name), "")
    # The server's folder, or ours, is a Rails application: then its puma was started by `rails server`.
    is_rails = any(os.path.isfile(f"{folder}bin/rails") for folder in ("", *(f"/proc/{pid}/cwd/" for pid in pids)))
    name, change = framework_of(commands, program, ip, port, is_rails)
    if not pids:
        return f"another user's process ({system.owner_hint(port)} names it)", change
    who = program or "a process"
    return (f"{name} ({who}, pid {pids[0]})" if name else f"{who} (pid {pids[0]})"), change


def framework_of(commands: list[list[str]], program: str, ip: str, port: int, is_rails: bool) -> tuple[str, str]:
    """Return which framework one of `commands` is, the nearest to the socket first, '' where none is known, and its change."""
    values = {"ip": ip, "port": port, "tuple": "{" + ip.replace(".", ", ") + "}"}
    found = [match for match in map(match_of, commands) if match]
    # Webpack names its process `webpack` and no more; how it was started, npx above it may still say.
    framework, words = next((match for match in found if match[1] != ["webpack"]), (found or [(None, [])])[0])
    if framework is None:
        is_go = program.startswith("__debug_bin") or program == "main"
        return "", (GO if is_go else GENERIC).format(**values)
    if not framework.start:
        return framework.name, framework.adds.format(**values)
    name = framework.name
    if name == "Puma" and is_rails:
        framework, words = next(row for row in FRAMEWORKS if row.name == "Rails"), ["rails", "server"]
    if words == ["webpack"]:
        words = ["webpack", "serve"]
    start = framework.start.format(program=words[0])
    # An option's value is behind = or the next word; vite's --host may have none, and -b127.0.0.1 has it in the same word.
    option = rf"({framework.drops or '(?!)'})(=[^\0]*|\0(?!-)[^\0]*|(?=\0)|(?<=\0-.)[^\0=]+)"
    # Django's and http.server's place is a word: PORT, HOST:PORT, [::1]:PORT.
    option += r"|(\[[0-9a-f:]*\]:|[a-z0-9.-]+:)?[0-9]+(?=\0)" if name in ("Django", "http.server") else ""
    rest = re.sub(rf"(?<=\0)({option})\0", "", "\0".join(["", *words[1:], ""]))
    return name, " ".join(filter(None, (start, shlex.join(rest.split("\0")[1:-1]), framework.adds.format(**values))))


def match_of(words: list[str]) -> tuple[Framework, list[str]] | None:
    """Return which framework the command line `words` is, and its words from the program on."""
    for title, command in TITLES:
        words = command.split() if re.match(title, " ".join(words)) else words
    module = next((i + 1 for i, word in enumerate(words[:-1]) if i and word == "-m"), 0)
    if module and os.path.basename(words[0]).lower().startswith("python"):
        words = ["django-admin" if words[module] == "django" else words[module], *words[module + 1 :]]
    for framework in FRAMEWORKS:
        # After the first words come the program's own arguments.
        for i, word in enumerate(words[:12]):
            if re.fullmatch(rf"(.*/)?({framework.program})", word):
                return framework, [re.sub(r"\.m?js$", "", os.path.basename(word)), *words[i + 1 :]]
    return None
