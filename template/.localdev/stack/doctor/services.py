# SPDX-License-Identifier: MIT
"""Who listens on each native service's port, on which address, and the exact change that lets it listen on the alias."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from doctor.engine import Facts, Finding, fail, ok, warn
from machine import system
from ports import ENGINES

# Has the ports 5000, Flask's own, and 7000 on every Mac whose AirPlay Receiver nobody switched off.
AIRPLAY = "ControlCenter"


class Framework(NamedTuple):
    """`program` finds it in a command line, and the command begins there.

    Of `options`, the spellings of the option that says where to listen, we write the first, with `{value}`. `prefix` starts
    the command as people do. `change` is said instead of a command.
    """

    name: str
    program: str
    options: str = ""
    prefix: str = ""
    value: str = "{ip}"
    change: str = ""


# In the order in which they are tried: a Rails server is a puma, Nuxt and Angular are vites inside.
FRAMEWORKS = (
    Framework("Nuxt", r"(nuxi|nuxt)(\.m?js)?", "--host", "npx"),
    Framework("Angular", r"ng(\.js)?", "--host", "npx"),
    Framework("Next", r"next(\.js)?", "-H --hostname", "npx"),
    Framework("Vite", r"vite(\.js)?", "--host", "npx"),
    Framework("webpack-dev-server", r"(webpack|webpack-cli|webpack-dev-server)(\.js)?", "--host", "npx"),
    Framework("Django", r"manage\.py|django-admin"),
    Framework("Flask", "flask", "--host -h"),
    Framework("FastAPI", "fastapi", "--host"),
    Framework("uvicorn", "uvicorn", "--host"),
    Framework("gunicorn", "gunicorn", "-b --bind", value="{ip}:{port}"),
    Framework("http.server", r"http\.server", "--bind -b", "python3 -m"),
    Framework("Rails", "rails", "-b --binding"),
    Framework("Puma", "puma:?", "-b --bind", value="tcp://{ip}:{port}"),
    Framework("Laravel", "artisan", "--host", "php"),
    Framework("Phoenix", r"beam\.smp", change="in config/dev.exs: http: [ip: {tuple}, port: {port}]"),
    Framework(
        "Spring Boot",
        r"org\.springframework\.boot\..*|spring-boot:run|bootRun|.*spring-boot.*\.jar",
        change="SERVER_ADDRESS={ip} (in the environment), or server.address={ip} in application.properties",
    ),
)
GO = 'in the code: http.ListenAndServe(net.JoinHostPort("{ip}", "{port}"), nil)'
GENERIC = "let it listen on {ip}, port {port}; its manual calls that host, bind or address"


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
    if any(listener.address == facts.settings.ip for listener in listeners):
        return None
    # A hidden process is root's, as Docker's is. An ssh may be a tunnel of somebody's.
    engines = [listener for listener in listeners if not listener.program or ENGINES.match(listener.program)]
    if len(engines) < len(listeners):
        return None
    engine = facts.engine[0]
    for container in facts.containers.result() or []:
        if port in container.ports:
            project = f" of the project {container.project}" if container.project else ""
            text = f"the container {container.name}{project} has port {port}, where {service} should listen"
            return fail(
                "service.container", service, text, f"{engine} stop {container.name}, or publish another port of it"
            )
    if not any(listener.program and listener.program != "ssh" for listener in engines):
        return None
    text = f"{engines[0].program} has port {port} for a container, where {service} should listen"
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
    # Linux does not say whether what listens on all of IPv6 takes IPv4, too: a connection has to.
    if "*" in here or (system.LOOPBACK == "lo" and "::" in here and "127.0.0.1" not in here and takes_ipv4(port)):
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


def takes_ipv4(port: int) -> bool:
    """Tell whether something takes a connection of IPv4 to `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False


def identify(listeners: list[Listener], port: int, ip: str) -> tuple[str, str]:
    """Return who listens, for people, and what lets it listen on `ip`."""
    pids = [pid for listener in listeners for pid in listener.pids]
    commands, program, seen = [], "", set()
    for pid in pids:
        # A server that names itself, or runs in a child, is known by how its parent was started.
        for _ in range(4):
            if pid <= 1 or pid in seen:
                break
            seen.add(pid)
            name, words, parent = system.process(pid)
            program = program or name
            commands.append(words)
            pid = parent
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
    found = [match for match in found if match[1] != ["webpack"]] or found
    if not found:
        is_go = program.startswith("__debug_bin") or program == "main"
        return "", (GO if is_go else GENERIC).format(**values)
    framework, words = found[0]
    if framework.change:
        return framework.name, framework.change.format(**values)
    if framework.name == "Django":
        return "Django", shlex.join(django(words, f"{ip}:{port}"))
    if words[0] == "puma:" or (words[0] == "puma" and any(word.startswith(("(tcp", "(ssl")) for word in words)):
        # Its process says only where it listens, not how it was started.
        words = (
            ["bin/rails", "server", "-b", ip, "-p", str(port)]
            if is_rails
            else ["bundle", "exec", "puma", "-b", f"tcp://{ip}:{port}"]
        )
        return framework.name, shlex.join(words)
    was_bare = words == ["webpack"]
    words = with_option(
        [*words, "serve"] if was_bare else words, framework.options.split(), framework.value.format(**values)
    )
    if was_bare:
        words += ["--port", str(port)]
    if framework.name == "Rails":
        words = ["bin/rails", *([] if words[1:2] and not words[1].startswith("-") else ["server"]), *words[1:]]
    if framework.name == "Next" and words[1:3] == ["dev", "-H"] and not {"-p", "--port"} & set(words):
        words += ["-p", str(port)]
    return framework.name, shlex.join([*framework.prefix.split(), *words])


def match_of(words: list[str]) -> tuple[Framework, list[str]] | None:
    """Return which framework the command line `words` is, and its words from the program on."""
    if words and words[0].startswith("next-server"):
        words = ["next", "dev"]
    module = next((i + 1 for i, word in enumerate(words[:-1]) if i and word == "-m"), 0)
    if module and os.path.basename(words[0]).lower().startswith("python"):
        words = ["django-admin" if words[module] == "django" else words[module], *words[module + 1 :]]
    for framework in FRAMEWORKS:
        # After the first words come the program's own arguments.
        for i, word in enumerate(words[:12]):
            if re.fullmatch(rf"(.*/)?({framework.program})", word):
                return framework, [re.sub(r"\.m?js$", "", os.path.basename(word)), *words[i + 1 :]]
    return None


def with_option(words: list[str], spellings: list[str], value: str) -> list[str]:
    """Return the command `words` with the option, of one of `spellings`, set to `value`: in its old place, or at the end."""
    result, is_done, rest = words[:1], False, words[1:]
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        # -b127.0.0.1
        short = next((s for s in spellings if len(s) == 2 and word.startswith(s) and not word.startswith("--")), "")
        if name not in spellings and not short:
            result.append(word)
            continue
        if name in spellings and not equals and rest and not rest[0].startswith("-"):
            # The old value is the next word; vite's --host may have none.
            rest.pop(0)
        if not is_done:
            result += [f"{name}={value}"] if equals and name in spellings else [short or name, value]
        is_done = True
    return result if is_done else [*result, spellings[0], value]


def django(words: list[str], place: str) -> list[str]:
    """Return Django's runserver with `place` instead of its address and port."""
    start = ["python3", words[0]] if words[0].endswith(".py") else ["django-admin"]
    if "runserver" not in words:
        return [*start, "runserver", place]
    rest = [word for word in words[1:] if not re.fullmatch(r"(\[[0-9a-f:]*\]:|[0-9.]+:|[a-z0-9.-]+:)?[0-9]+", word)]
    at = rest.index("runserver") + 1
    return [*start, *rest[:at], place, *rest[at:]]
