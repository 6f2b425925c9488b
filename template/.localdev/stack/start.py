# SPDX-License-Identifier: MIT
"""Starts the stack and waits until it answers. Compose's own --wait looks every half second; we ask every few ms.

https://github.com/docker/compose/issues/10596: --wait also calls a container that ended with 0 a failure.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import time
from typing import Any

import compose
import proxy
import state
import urls
from checkout import Checkout
from compose import Container
from messages import Stop, say
from owners import names_of, our_services

# A database that makes its first data folder on a slow machine. Seconds.
PATIENCE = 180.0
# A health check that takes longer is asked again. Seconds.
ANSWER = 10.0
# How long a container of the user's that has just started is watched. Seconds.
SETTLING = 0.5
# What Compose does at every start, whatever runs: https://docs.docker.com/reference/compose-file/services/#pull_policy
PULLS_ONCE = ("", "missing", "if_not_present", "never")


class FailedError(Stop):
    """The stack did not start; the text is what is wrong, and what to do."""


def start(stack: Checkout, arguments: list[str], site: urls.Site, made: proxy.Configuration | None) -> None:
    """Start the containers, give the proxy its configuration `made`, and wait until all answers.

    `arguments` are for `docker compose up`. Raises Stop, proxy.GoneError and compose.UnknownError.
    """
    services = compose.services_in(arguments)
    found = [] if arguments else left(stack)
    if not found:
        command = [*stack.words, "up", "--detach", *arguments]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            text = "the stack did not come up (the message is above). Look at: make dev-logs"
            raise FailedError(compose.failure(stack.words, text))
        found = stack.containers_now()
    container = proxy_in(found)
    if made and container:
        try:
            configure(stack, container, made, site)
        except proxy.GoneError as error:
            raise FailedError(ended_text(stack.engine, container)) from error
        introduce(stack, container, site.hosts)
    found = wait(stack, found, services)
    if not arguments:
        # Where nothing can be kept, the next start looks again.
        with contextlib.suppress(OSError):
            state.write(os.curdir, "up", fingerprint(stack.config, found))


def left(stack: Checkout) -> list[Container]:
    """Return this project's containers where all are as the last start left them, [] where Compose has to look.

    Compose takes 80 ms to find out that it has nothing to do.
    """
    services = stack.config["services"]
    # What --profile switches on is not in a fingerprint.
    if any(one.get("profiles") or one.get("pull_policy", "") not in PULLS_ONCE for one in services.values()):
        return []
    try:
        found = compose.of_project(stack.config, stack.containers())
    except compose.UnknownError:
        return []
    for container in found:
        image = services.get(container.service, {}).get("image", f"{container.project}-{container.service}")
        # Docker shows an image's id where the name means another one by now. Podman writes names otherwise.
        if container.state != "running" or container.image != image:
            return []
    try:
        is_same = state.read(os.curdir, "up") == fingerprint(stack.config, found)
    except OSError:
        is_same = False
    return found if is_same else []


def fingerprint(config: dict[str, Any], found: list[Container]) -> bytes:
    """Return what tells this project with these containers from every other one."""
    return hashlib.sha256(repr((config, sorted(item.id for item in found))).encode()).digest()


def proxy_in(found: list[Container]) -> Container | None:
    """Return our proxy's container."""
    return next((item for item in found if item.service == "proxy"), None)


def wait(stack: Checkout, found: list[Container], started: list[str]) -> list[Container]:
    """Wait until our databases answer; return the project's containers, which are `found` at first, as they are then.

    `started` are the services that somebody asked for, none for all. A container of the user's that ended with 0 is fine.
    Raises FailedError for one that ended otherwise, for one of ours that ended at all, and for one that stays silent.
    """
    deadline, is_told, began = time.monotonic() + PATIENCE, False, time.monotonic()
    ours = [name for name in our_services(stack.config) if name != "proxy"]
    waiting = {name for name in started or ours if name in ours}
    while True:
        for container in found:
            ended = re.match(r"Exited \(([0-9]+)\)", container.status)
            is_wrong_end = ended and (ended[1] != "0" or container.is_ours)
            has_failed = is_wrong_end or container.state in ("dead", "restarting")
            if has_failed and container.service in (started or compose.active_services(stack.words)):
                raise FailedError(ended_text(stack.engine, container))
        silent = [item for item in found if item.service in waiting and not is_ready(stack, item)]
        waiting = {item.service for item in silent}
        # A container of the user's that fails mostly does so at once.
        new = any(not item.is_ours and item.status.startswith("Up Less") for item in found)
        if not waiting and (not new or time.monotonic() - began > SETTLING):
            return found
        if waiting and time.monotonic() > deadline:
            name = min(waiting)
            raise FailedError(f"{name} did not answer within {PATIENCE:g} s. Look at: make dev-logs ARGS={name}")
        if waiting and not is_told and time.monotonic() - began > 1 and sys.stderr.isatty():
            is_told = True
            say(f"waiting for {', '.join(sorted(waiting))}")
        time.sleep(0.03)
        found = stack.containers_now()


def is_ready(stack: Checkout, container: Container) -> bool:
    """Tell whether a database answers: by its container's state, or by its own health check, asked now."""
    if "(healthy)" in container.status:
        return True
    test = (stack.config["services"][container.service].get("healthcheck") or {}).get("test") or []
    if container.state != "running":
        return False
    if not test or test[0] == "NONE":
        return True
    command = test[1:] if test[0] == "CMD" else ["/bin/sh", "-c", test[1]]
    asked = [*stack.engine, "exec", container.id, *command]
    try:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def ended_text(engine: list[str], container: Container) -> str:
    """Return how a container failed, with the last line of its log."""
    done = subprocess.run(
        [*engine, "logs", "--tail", "1", container.id], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    line = done.stdout.decode(errors="replace").strip()
    if "/.localdev/" in line and "Permission denied" in line:
        return "the proxy may not read .localdev/proxy. Fix: chmod -R a+rX .localdev/proxy && make dev-up"
    how = f"{container.status.lower()}){f': {line}' if line else ''}"
    return f"the container of {container.service} failed ({how}. Look at: make dev-logs ARGS={container.service}"


def configure(stack: Checkout, container: Container, made: proxy.Configuration, site: urls.Site) -> None:
    """Have the proxy in `container` use `made`, where it does not yet. Raises proxy.RefusedError and proxy.GoneError."""
    port = site.ports.http or 0
    with state.locked(os.curdir):
        if proxy.in_use(port) != made.name:
            if container.state != "running":
                raise proxy.GoneError("the proxy does not run")
            proxy.use(stack.engine, container.id, made, port)


def reload(stack: Checkout, made: proxy.Configuration, site: urls.Site) -> bool:
    """Have a proxy that runs use `made`; tell whether one does. Raises proxy.RefusedError."""
    try:
        container = proxy_in(compose.of_project(stack.config, stack.containers()))
        if container:
            configure(stack, container, made, site)
            if new_names(stack, container, site.hosts):
                say("other containers learn the new hosts with the next: make dev-up")
    except (proxy.GoneError, compose.UnknownError):
        return False
    return container is not None


def new_names(stack: Checkout, container: Container, hosts: list[str]) -> dict[str, set[str]]:
    """Return the names that the proxy in `container` shall have, by network, where it has others; `hosts` are all of ours.

    Programs take a name below .localhost for their own container, and Docker has no wildcards.
    Raises compose.UnknownError.
    """
    wanted = {host for host in hosts if not re.search(r"(^|[.])localhost\Z|^[*]", host)}
    known = compose.names_in_networks(stack.words, [container]).get(container.id, {}) if wanted else {}
    return {
        network: own | wanted
        for network, own in names_of(stack.config, "proxy").items()
        # A name that a route has no longer goes, too: it may be another service's now.
        if network in known and {name for name in known[network] if "." in name} != wanted
    }


def introduce(stack: Checkout, container: Container, hosts: list[str]) -> None:
    """Give the proxy in `container` the names by which other containers reach it. Raises compose.UnknownError, FailedError."""
    for network, names in new_names(stack, container, hosts).items():
        aliases = [word for name in sorted(names) for word in ("--alias", name)]
        for command in (["network", "disconnect", network], ["network", "connect", *aliases, network]):
            done = subprocess.run([*stack.engine, *command, container.id], capture_output=True, check=False)
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace").strip()
                text = f"other containers do not know the proxy's names: {said}"
                raise FailedError(f"{text}. Fix: make dev-down && make dev-up")
