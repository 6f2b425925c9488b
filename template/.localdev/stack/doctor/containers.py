# SPDX-License-Identifier: MIT
"""The containers, and each route as the proxy sees it: a connection from inside its container, then HTTP through it.

ping proves nothing: some runtimes answer it for addresses that do not exist, others drop it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import compose
import owners
import settings
from compose import Container
from doctor.engine import FAIL, GATEWAY, OK, WARN, Facts, Finding, change_ip, fail, known, ok, warn
from machine import system
from routes import NATIVE, Route
from tools import Later, lines_of, run

# Seconds, and bytes of an answer.
CONNECT, ANSWER, BODY = 1, 1.0, 65536
# In the container, by its own shell and busybox: all connections at the same time, one line for each when it is known.
PROBE = f"""
while [ $# -gt 1 ]; do
	(
		said=$(nc -w {CONNECT} "$1" "$2" -e /bin/true 2>&1 </dev/null) && code=0 || code=$?
		printf '%s %s %s %s\\n' "$1" "$2" "$code" "$(printf '%s' "$said" | tr '\\n' ' ')"
	) &
	shift 2
done
wait
"""
# What busybox's nc says where it does not connect; where it says nothing else, the time was over.
SAID = (
    ("refused", "refused"),
    ("bad address", "unknown-name"),
    ("unreachable|No route|prohibited", "unreachable"),
    ("not found|applet", "unknown"),
)
# How frameworks say that they do not take the name: Vite, webpack-dev-server, Rails, Django.
REFUSED_HOST = r"(?i)Blocked (request\. This host|hosts?:)|Invalid (Host|HTTP_HOST) header|DisallowedHost|isn.t allowed"
INSIDE = "from the proxy's container a connection to {target} "
CORRECT = "correct .localdev/routes, then: make dev-reload"
RENEW, RESTART = "{compose} up -d --force-recreate proxy", "{compose} restart {upstream}"
NO_WAY = "has no way out: its network is internal, or lost its gateway"
REFUSED = "{url}: the service answers, but refuses this host name (status {status})"
NO_HTTP = "{url}: {target} takes the connection and ends it without an HTTP answer: it crashed, or speaks HTTPS"
ENV = 'start it in a shell after: eval "$(make -s dev-env)"; Django: ALLOWED_HOSTS, webpack: allowedHosts'
# What is found of a route, where it matters with whether its service runs natively: level, id, text and fix.
PROBLEMS: dict[Any, tuple[str, str, str, str | None]] = {
    "answers": (OK, "answers", "{url} answers through the proxy with status {status}", None),
    "error": (WARN, "error", "{url}: {target} answers with status {status}; its terminal says more", None),
    "slow": (WARN, "slow", "{url}: {target} is connected, no answer within 1 s", None),
    "closed": (FAIL, "closed", NO_HTTP, "let it speak plain HTTP on port {port}, and look at its terminal"),
    "proxy": (FAIL, "stale", "the proxy's container does not answer at its port of 127.0.0.1", "make dev-up"),
    "stale": (FAIL, "stale", "{url} is not what the proxy knows yet", "make dev-reload"),
    "host-refused": (FAIL, "host-refused", REFUSED, ENV),
    ("unknown-name", True): (FAIL, "unknown-name", f"the proxy's container does not know the name {NATIVE}", RENEW),
    ("unreachable", True): (FAIL, "unreachable", INSIDE + NO_WAY, RENEW),
    ("filtered", True): (FAIL, "refused", INSIDE + "is refused: {product} filters it", "{fix}"),
    ("refused", True): (FAIL, "refused", INSIDE + "is refused, though it listens: a firewall rejects it", "{fix}"),
    ("timeout", True): (FAIL, "timeout", INSIDE + "gets no answer: a firewall drops it", "{fix}"),
    "unknown-name": (FAIL, "unknown-name", "no container of this stack is called {upstream}", CORRECT),
    "stopped": (FAIL, "unknown-name", "the container {upstream} does not run", "{compose} up -d {upstream}"),
    "refused": (FAIL, "refused", INSIDE + "is refused: nothing listens there, or on 127.0.0.1 only", RESTART),
    "timeout": (FAIL, "timeout", INSIDE + "gets no answer", RESTART),
    "unreachable": (FAIL, "unreachable", INSIDE + "gets no answer", RESTART),
}  # fmt: skip


def check_owners(facts: Facts) -> Iterator[Finding]:
    """Find containers, volumes and names of this project that somebody else uses, too; as `make dev-up` does."""
    words, config, found = facts.words, facts.config.result(), facts.containers.result()
    if not facts.answers or not config or not config.get("services"):
        return  # another check has said it, or there is nothing
    names = found and known(compose.names_in_networks, words, owners.in_our_networks(config, found))
    if found is None or names is None:
        text = "whether other containers use this stack's volumes and names is unknown: the engine does not say"
        yield warn("stack.unknown", "stack", text)
        return
    for refusal in owners.missing(config, os.getcwd(), facts.settings.services):
        yield fail("stack.invalid", "stack", *refusal)
    for refusal in owners.elsewhere(config, found, os.getcwd(), compose.files_are_named(words), words):
        yield fail("stack.elsewhere", "stack", *refusal)
    for refusal in (*owners.conflicts(config), *owners.strangers(config, found, names or {})):
        yield fail("stack.shared", "stack", *refusal)


def check_stack(facts: Facts) -> Iterator[Finding]:
    """Find what is wrong with the containers of this project: each is there, runs, is healthy, and knows this alias."""
    config = facts.config.result()
    if config is None and facts.compose_version.result().code == 0:
        said = run(*facts.words, "config", "-q").err.strip().splitlines()
        text = said[-1] if said else f"`{' '.join(facts.words)} config --format json` prints no JSON"
        yield fail("stack.invalid", "stack", text, "correct compose.yaml, then: make dev-up")
    if not config or facts.containers.result() is None:
        return  # another check has said it
    services, there = config.get("services") or {}, facts.services
    # Of services with a profile only Compose knows which it starts.
    if any(service.get("profiles") for service in services.values()):
        services = run(*facts.words, "config", "--services").out.split()
    if services and not there:
        yield fail("stack.down", "stack", "no container of this project runs", "make dev-up")
        return
    for name in services:
        yield judge_container(facts, name, there.get(name))


def judge_container(facts: Facts, name: str, container: Container | None) -> Finding:
    """Return how the container of service `name` is."""
    command, logs = " ".join(facts.words), f'see: make dev-logs ARGS="{name}"'
    if container is None:
        return fail("stack.stopped", name, "has no container", "make dev-up")
    if container.state == "restarting":
        return fail("stack.unhealthy", name, f"fails and starts again and again; {logs}", "make dev-up")
    if container.state == "paused":
        return fail("stack.stopped", name, "is paused", f"{command} unpause {name}")
    if container.state != "running":
        ended = re.match(r"Exited \(([0-9]+)\)", container.status)
        if ended and ended[1] == "0" and not container.is_ours:
            return ok("stack.running", name, "has done its work: it ended with 0")
        code = f", exit code {ended[1]}" if ended and ended[1] != "0" else ""
        return fail("stack.stopped", name, f"is not running ({container.state}{code})", "make dev-up")
    about = facts.inspected.result().get(name, {}).get("HostConfig", {})
    # Only the services of ours have one.
    for entry in settings.extra_hosts({"extra_hosts": about.get("ExtraHosts")}) if not facts.has_gateway else []:
        address = entry.partition("=")[2]
        if address != facts.settings.ip:
            text = f"was started when the alias was {address}; now it is {facts.settings.ip}"
            return fail("stack.stale", name, text, "make dev-up")
    if "(unhealthy)" in container.status:
        return fail("stack.unhealthy", name, f"runs, but is not healthy; {logs}", f"{command} restart {name}")
    return ok("stack.running", name, "runs (starting)" if "health: starting" in container.status else "runs")


def check_routes(facts: Facts, listening: list[Finding]) -> Iterator[Finding]:
    """Find the first broken hop of each route; `listening` is what was found of the services' ports."""
    proxy = facts.services.get("proxy")
    if not facts.settings.has_proxy or proxy is None or proxy.state != "running":
        return  # check_stack has said it
    # Without the alias the connections would leave this machine; the check of the alias has said it.
    here = facts.has_gateway or any(address == facts.settings.ip for _, address, _ in system.addresses())
    # What a container has is another program's answer.
    taken = {finding.subject for finding in listening if finding.id == "service.container"}
    failed = {finding.subject for finding in listening if finding.level == FAIL}
    routes = [route for route in facts.routes if not route.native or (here and route.service not in taken)]
    try:
        port = settings.published(facts.settings, facts.config.result()).http
    except settings.PortError as error:
        yield fail("stack.invalid", "proxy", *str(error).split(". ", 1))
        return
    hops, answers = probe(facts, proxy, port or 0, routes)
    found = (judge_route(facts, route, hops.get(route.target, "unknown"), answers.get(route)) for route in routes)
    # One that listens nowhere, or in the wrong place, has been told with what to do. The places of a service share a fault.
    yield from dict.fromkeys(finding for finding in found if finding.level != FAIL or finding.subject not in failed)


def probe(
    facts: Facts, proxy: Container, port: int, routes: list[Route]
) -> tuple[dict[tuple[str, int], str], dict[Route, tuple[int, str]]]:
    """Return how each target answers inside the container, and what each route answers through the proxy at `port`."""
    hops: dict[tuple[str, int], str] = {}
    asked: dict[Route, Later] = {}
    words = [str(word) for target in sorted({route.target for route in routes}) for word in target]
    command = [*facts.engine, "exec", proxy.id, "/bin/sh", "-c", PROBE, "sh", *words]
    for line in lines_of(command, CONNECT + 3) if words else []:
        host, number, code, said = (line.rstrip("\n") + "   ").split(" ", 3)
        if not number.isdigit():
            continue
        target = (host, int(number))
        hops[target] = "open" if code == "0" else next((hop for part, hop in SAID if re.search(part, said)), "timeout")
        for route in routes if hops[target] == "open" else []:
            if route.target == target:
                asked[route] = Later(partial(get, proxy, port, route))
    deadline = time.monotonic() + ANSWER + 0.2
    for later in asked.values():
        later.thread.join(max(0.0, deadline - time.monotonic()))
    return hops, {route: later.result() for route, later in asked.items() if not later.thread.is_alive()}


def get(proxy: Container, port: int, route: Route) -> tuple[int, str]:
    """Return the status that the proxy at `port` of 127.0.0.1 answers for `route`, and what is wrong with that."""
    # Another program may have the port that the container has no longer, or not yet.
    if port not in proxy.ports:
        return 0, "proxy"
    host = route.host.replace("*", "doctor", 1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
    # Without text/html: whoever takes that gets the proxy's own pages as HTML.
    headers = {"Host": host if port == 80 else f"{host}:{port}", "Accept": "application/json, */*;q=0.5"}
    try:
        connection.request("GET", route.path, headers={**headers, "User-Agent": "localdev-doctor"})
        response = connection.getresponse()
        status, body = response.status, ""
        # A service that is hung up on in the middle of an answer prints an error; a stream has no length, and no end.
        if status >= 400 or response.length is not None:
            body = response.read(BODY).decode(errors="replace")
        told = json.loads(body) if body.startswith("{") else {}
    except socket.timeout:  # no TimeoutError before Python 3.10
        return 0, "slow"
    except ConnectionRefusedError:
        return 0, "proxy"
    except (OSError, http.client.HTTPException):
        return 0, "closed"
    except ValueError:
        told = {}
    finally:
        connection.close()
    # The proxy's own pages have these words; a service's JSON may have an error of its own.
    if told.get("dashboard") and told.get("error") in ("down", "no-route"):
        return status, "stale" if told["error"] == "no-route" else str(told.get("reason"))
    return status, "host-refused" if status in (400, 403, 421) and re.search(REFUSED_HOST, body) else ""


def judge_route(facts: Facts, route: Route, hop: str, answer: tuple[int, str] | None) -> Finding:
    """Return what was found for `route`: `hop` from inside the container, `answer` through the proxy."""
    status, problem = answer or (0, "")
    if hop not in ("open", "unknown"):
        problem = hop
    elif problem not in PROBLEMS:
        problem = "slow" if not status else "error" if status >= 500 else "answers"
    other = facts.services.get(route.upstream)
    is_up = route.native or (other and other.state in ("running", "paused", "restarting"))
    # Offline, the engine's own name server is silent about a name that it does not know.
    if problem in ("timeout", "unknown-name") and not is_up:
        problem = "stopped" if route.upstream in facts.config.result()["services"] else "unknown-name"
    product, ip, fix = facts.product, facts.settings.ip, ""
    if route.native and problem in ("refused", "timeout"):
        in_a_vm = system.LOOPBACK != "lo" or product in ("Docker Desktop", "Podman machine", "Colima", "Lima")
        if problem == "refused" and in_a_vm:
            problem, gateway = "filtered", f"export {GATEWAY} && make dev-up"
            fix = change_ip() if ip.startswith("169.254.") else gateway
        else:
            # By the gateway services listen on Docker's address, not on the alias.
            networks = facts.inspected.result().get("proxy", {}).get("NetworkSettings", {}).get("Networks") or {}
            fix = system.opening_rule("" if facts.has_gateway else ip, route.port, facts.engine[0], networks)
    level, id, text, change = PROBLEMS.get((problem, route.native)) or PROBLEMS[problem]
    name = ip if route.native and not facts.has_gateway else route.upstream
    words = {**vars(route), "target": f"{name}:{route.port}", "url": (route.host + route.path).rstrip("/"), "fix": fix}
    words |= {"compose": " ".join(facts.words), "status": status, "product": product}
    return Finding(level, f"route.{id}", route.service, text.format(**words), change and change.format(**words))
