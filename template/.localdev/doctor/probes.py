# SPDX-License-Identifier: MIT
"""Each route as the proxy sees it: a TCP connection from inside its container, then HTTP through it.

ping proves nothing: some runtimes answer it for addresses that do not exist, others drop it.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import firewall
from engine import Engine, change_ip, kind
from finding import Finding, fail, ok, warn
from machine import system
from project import CONTAINERS_HOST, Project, Route
from tools import lines_of

CONNECT_SECONDS, ANSWER_SECONDS, BODY = 1, 1.0, 65536
# In the container, by its own shell and busybox: all connections at the same time, one line for each when it is known.
PROBE = """
while [ $# -gt 1 ]; do
	(
		said=$(nc -w SECONDS "$1" "$2" -e /bin/true 2>&1 </dev/null) && code=0 || code=$?
		printf '%s %s %s %s\\n' "$1" "$2" "$code" "$(printf '%s' "$said" | tr '\\n' ' ')"
	) &
	shift 2
done
wait
""".replace("SECONDS", str(CONNECT_SECONDS))
# How frameworks say that they do not take the name: Vite, webpack-dev-server, Rails, Django.
REFUSED_HOST = re.compile(
    r"Blocked request\. This host|Invalid Host header|Blocked hosts?:|Invalid HTTP_HOST header|DisallowedHost|isn.t allowed",
    re.I,
)


@dataclass(frozen=True)
class Answer:
    """What came back through the proxy: `problem` when it was no answer of the service."""

    status: int = 0
    problem: str = ""
    body: str = ""


def check(engine: Engine, routes: list[Route], fine: dict[str, bool]) -> Iterator[Finding]:
    """Find the first broken hop of each of `routes`; `fine` says which services listen where they should."""
    project, proxy = engine.project, engine.container("proxy")
    if not project.has_proxy or proxy is None or proxy.get("State", {}).get("Status") != "running":
        return  # stack.py has said it
    here = project.gateway or any(address == project.ip for _, address, _ in system.addresses())
    # Without the alias the connections would leave this machine; alias.py has said it.
    routes = [route for route in routes if here or not route.native]
    hops, answers = probe(project, proxy, routes)
    told = set()
    for route in routes:
        finding = judge(engine, proxy, route, hops.get((route.upstream, route.port), "unknown"), answers.get(route))
        # One that listens nowhere, or in the wrong place, has been told with what to do.
        if finding.level == "fail" and route.native and not fine.get(route.service, True):
            continue
        # The places of one service share what is wrong with it.
        if finding not in told:
            told.add(finding)
            yield finding


def probe(
    project: Project, proxy: dict[str, Any], routes: list[Route]
) -> tuple[dict[tuple[str, int], str], dict[Route, Answer]]:
    """Return how each target's port answered inside the container, and each route's answer through the proxy."""
    targets = sorted({(route.upstream, route.port) for route in routes})
    if not targets:
        return {}, {}
    hops: dict[tuple[str, int], str] = {}
    answers: dict[Route, Answer] = {}
    threads = []
    words = [str(word) for target in targets for word in target]
    command = [*project.engine, "exec", str(proxy["Id"]), "/bin/sh", "-c", PROBE, "sh", *words]
    port = published_port(proxy)

    def ask(route: Route) -> None:
        answers[route] = get(port, route)

    for line in lines_of(command, CONNECT_SECONDS + 3):
        host, number, code, said = (line.rstrip("\n") + "   ").split(" ", 3)
        if not number.isdigit():
            continue
        target = (host, int(number))
        hops[target] = hop(int(code), said)
        if hops[target] == "open":
            for route in routes:
                if (route.upstream, route.port) == target:
                    threads.append(threading.Thread(target=ask, args=(route,), daemon=True))
                    threads[-1].start()
    deadline = time.monotonic() + ANSWER_SECONDS + 0.2
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return hops, dict(answers)


def published_port(proxy: dict[str, Any]) -> int:
    """Return the port of 127.0.0.1 where the container `proxy` answers, 0 for none: only Compose knows what .env made of it."""
    variables = dict(word.split("=", 1) for word in proxy.get("Config", {}).get("Env") or [] if "=" in word)
    inside = variables.get("LOCALDEV_HTTP_PORT")
    published = (proxy.get("NetworkSettings", {}).get("Ports") or {}).get(f"{inside}/tcp") or [{}]
    return int(published[0].get("HostPort") or 0)


def hop(code: int, said: str) -> str:
    """Return what busybox's nc means by its exit code and its words."""
    if code == 0:
        return "open"
    for words, meaning in (
        ("refused", "refused"),
        ("bad address", "unknown-name"),
        ("unreachable", "unreachable"),
        ("No route", "unreachable"),
        ("prohibited", "unreachable"),
        ("not found", "unknown"),
        ("applet", "unknown"),
    ):
        if words in said:
            return meaning
    return "timeout"


def get(port: int, route: Route) -> Answer:
    """Return what the proxy at `port` of 127.0.0.1 answers for `route`."""
    host = route.host.replace("*", "doctor", 1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        name = host if port == 80 else f"{host}:{port}"
        # Without text/html: whoever takes that gets the proxy's own pages as HTML.
        headers = {"Host": name, "Accept": "application/json, */*;q=0.5", "User-Agent": "localdev-doctor"}
        connection.request("GET", route.path, headers=headers)
        response = connection.getresponse()
        status, body = response.status, ""
        # A service that is hung up on in the middle of an answer prints an error; a stream has no length, and no end.
        if status >= 400 or response.length is not None:
            body = response.read(BODY).decode(errors="replace")
    except socket.timeout:  # no TimeoutError before Python 3.10
        return Answer(problem="slow")
    except ConnectionRefusedError:
        return Answer(problem="proxy")
    except (OSError, http.client.HTTPException):
        return Answer(problem="closed")
    finally:
        connection.close()
    try:
        told = json.loads(body) if body.startswith("{") else {}
    except ValueError:
        told = {}
    # The proxy's own pages have these words; a service's JSON may have an error of its own.
    if told.get("dashboard") and told.get("error") == "down":
        return Answer(status, str(told.get("reason")))
    if told.get("dashboard") and told.get("error") == "no-route":
        return Answer(status, "stale")
    if status in (400, 403, 421) and REFUSED_HOST.search(body):
        return Answer(status, "host-refused")
    return Answer(status)


def judge(engine: Engine, proxy: dict[str, Any], route: Route, hop: str, answer: Answer | None) -> Finding:
    """Return what was found for `route`: `hop` from inside the container, `answer` through the proxy."""
    project, service = engine.project, route.service
    name = project.ip if route.native and not project.gateway else route.upstream
    target, url = f"{name}:{route.port}", route.host + (route.path if route.path != "/" else "")
    problem = answer.problem if answer and hop in ("open", "unknown") else hop
    if problem in ("open", "unknown"):
        problem = "slow"
    # Offline, the engine's own name server is silent about a name that it does not know.
    if problem == "timeout" and not route.native and not is_up(engine.container(route.upstream)):
        problem = "unknown-name"
    if problem == "unknown-name":
        if route.native:
            text = f"the proxy's container does not know the name {CONTAINERS_HOST}"
            return fail(
                "route.unknown-name", service, text, f"{' '.join(project.compose)} up -d --force-recreate proxy"
            )
        if route.upstream in engine.wanted():
            start = f"{' '.join(project.compose)} up -d {route.upstream}"
            return fail("route.unknown-name", service, f"the container {route.upstream} does not run", start)
        text = f"no container of this stack is called {route.upstream}"
        return fail("route.unknown-name", service, text, "correct .localdev/routes, then: make dev-reload")
    if problem in ("refused", "timeout", "unreachable"):
        return broken(engine, proxy, route, problem, target)
    if problem == "closed":
        text = f"{url}: {target} takes the connection and ends it without an HTTP answer: it crashed, or speaks HTTPS"
        return fail(
            "route.closed", service, text, f"let it speak plain HTTP on port {route.port}, and look at its terminal"
        )
    if problem == "proxy":
        text = "nothing answers on 127.0.0.1 at the proxy's port"
        return fail("route.stale", service, text, "make dev-up")
    if problem == "stale":
        return fail("route.stale", service, f"{url} is not what the proxy knows yet", "make dev-reload")
    if problem == "host-refused":
        text = f"{url}: the service answers, but refuses this host name (status {answer.status if answer else 0})"
        fix = 'start it in a shell after: eval "$(make -s dev-env)"; Django: ALLOWED_HOSTS, webpack: allowedHosts'
        return fail("route.host-refused", service, text, fix)
    if problem == "slow":
        return warn("route.slow", service, f"{url}: {target} is connected, no answer within {ANSWER_SECONDS:g} s")
    status = answer.status if answer else 0
    if status >= 500:
        text = f"{url}: {target} answers with status {status}; its terminal says more"
        return warn("route.error", service, text)
    return ok("route.answers", service, f"{url} answers through the proxy with status {status}")


def is_up(container: dict[str, Any] | None) -> bool:
    """Tell whether `container` has its address."""
    return container is not None and container.get("State", {}).get("Status") in ("running", "paused", "restarting")


def broken(engine: Engine, proxy: dict[str, Any], route: Route, problem: str, target: str) -> Finding:
    """Return why a connection from inside the container to `target` came to nothing."""
    project, service = engine.project, route.service
    if not route.native:
        logs = f"{' '.join(project.compose)} restart {route.upstream}"
        how = "is refused: nothing listens there, or on 127.0.0.1 only" if problem == "refused" else "gets no answer"
        return fail(f"route.{problem}", service, f"from the proxy's container a connection to {target} {how}", logs)
    product = kind(engine.info(), engine.components(), engine.endpoint())
    in_a_vm = system.LOOPBACK != "lo" or product in ("Docker Desktop", "Podman machine", "Colima", "Lima")
    inside = f"from the proxy's container a connection to {target}"
    if problem == "refused" and in_a_vm:
        fix = change_ip() if project.ip.startswith("169.254.") else "export LOCALDEV_HOST=host-gateway && make dev-up"
        return fail("route.refused", service, f"{inside} is refused: {product} filters it", fix)
    if problem == "unreachable":
        text = f"{inside} has no way out: its network is internal, or lost its gateway"
        fix = f"{' '.join(project.compose)} up -d --force-recreate proxy"
        return fail("route.unreachable", service, text, fix)
    how = {
        "refused": "is refused, though it listens there: a firewall rejects it",
        "timeout": "gets no answer: a firewall drops it",
    }[problem]
    return fail(f"route.{problem}", service, f"{inside} {how}", firewall.rule(project, route.port, proxy))
