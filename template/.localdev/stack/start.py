# SPDX-License-Identifier: MIT
"""Starts the stack and waits until it answers. Compose's own --wait looks every half second; we ask every few ms.

https://github.com/docker/compose/issues/10596: --wait also calls a container that ended with 0 a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

import compose
import proxy
import state
from compose import Container
from messages import Stop
from owners import names_of, our_services

# A database that makes its first data folder on a slow machine. Seconds.
PATIENCE = 180.0
# A health check that takes longer is asked again. Seconds.
ANSWER = 10.0
# How long a container of the user's that has just started is watched. Seconds.
SETTLING = 0.5


class FailedError(Stop):
    """The stack did not start; the text is what is wrong, and what to do."""


def failure(words: list[str], otherwise: str) -> str:
    """Return the likely reason why Compose failed, and what to do; `otherwise` where there is none to be seen."""
    if not shutil.which(words[0]):
        return f'there is no {words[0]} here. Install Docker (or set LOCALDEV_COMPOSE="podman compose")'
    for arguments, text in (
        (["version"], f"'{' '.join(words)}' does not work. Install Docker Compose 2.23.1 or later"),
        (["config", "--quiet"], "the Compose files have an error: {said}. Correct it, then: make dev-up"),
        (["ps", "--quiet"], "no container runtime answers. Start Docker Desktop, OrbStack, Colima or dockerd"),
    ):
        command = [*words, *arguments]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=compose.PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return (
                f"`{' '.join(command)}` says nothing within {compose.PATIENCE:g} s. Start the container runtime again"
            )
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())
            clash = re.search(r"services[.](\S+) conflicts with imported resource", said)
            if clash:
                return f"the service {clash[1]} is in your Compose file and in .localdev/compose.yaml. Rename yours"
            return text.format(said=said) if "{said}" in text else text
    return otherwise


def up(words: list[str], arguments: list[str]) -> None:
    """Have Compose start the containers. Raises FailedError."""
    command = [*words, "up", "--detach", *arguments]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise FailedError(failure(words, "the stack did not come up (the message is above). Look at: make dev-logs"))


def of_project(words: list[str], config: dict[str, Any]) -> dict[str, Container]:
    """Return the containers of this project by their service. Raises compose.UnknownError."""
    found = (item for item in compose.containers(words) if item.project == config["name"])
    return {item.service: item for item in found if item.one_off.lower() != "true"}


def wait(words: list[str], config: dict[str, Any], found: dict[str, Container], started: list[str]) -> None:
    """Wait until our databases answer; `found` are the project's containers, by service.

    `started` are the services that somebody asked for, none for all.

    A container of the user's that ended with 0 is fine. Raises FailedError for one that ended otherwise, for one of ours that
    ended at all, and for one that stays silent.
    """
    engine, deadline, is_told = compose.engine_of(words), time.monotonic() + PATIENCE, False
    began = time.monotonic()
    waiting = [name for name in started or our_services(config) if name in our_services(config) and name != "proxy"]
    while True:
        for container in found.values():
            ended = re.match(r"Exited \(([0-9]+)\)", container.status)
            is_wrong_end = ended and (ended[1] != "0" or container.is_ours)
            has_failed = is_wrong_end or container.state in ("dead", "restarting")
            if has_failed and container.service in (started or active_services(words)):
                raise FailedError(ended_text(engine, container))
        waiting = [name for name in waiting if name in found and not is_ready(engine, config, found[name])]
        # A container of the user's that fails mostly does so at once.
        new = any(not item.is_ours and item.status.startswith("Up Less") for item in found.values())
        if not waiting and (not new or time.monotonic() - began > SETTLING):
            return
        if waiting and time.monotonic() > deadline:
            raise FailedError(
                f"{waiting[0]} did not answer within {PATIENCE:g} s. Look at: make dev-logs ARGS={waiting[0]}"
            )
        if waiting and not is_told and time.monotonic() - began > 1 and sys.stderr.isatty():
            is_told = True
            print(f"localdev: waiting for {', '.join(waiting)}", file=sys.stderr)
        time.sleep(0.03)
        found = of_project(words, config)


def active_services(words: list[str]) -> list[str]:
    """Return the services that Compose starts, without those of profiles that are off. Raises compose.UnknownError."""
    return compose.answer(*words, "config", "--services").split()


def is_ready(engine: list[str], config: dict[str, Any], container: Container) -> bool:
    """Tell whether a database answers: by its container's state, or by its own health check, asked now."""
    if "(healthy)" in container.status:
        return True
    test = (config["services"][container.service].get("healthcheck") or {}).get("test") or []
    if container.state != "running":
        return False
    if not test or test[0] == "NONE":
        return True
    command = test[1:] if test[0] == "CMD" else ["/bin/sh", "-c", test[1]]
    asked = [*engine, "exec", container.id, *command]
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
    said = f": {line}" if line else ""
    return f"the container of {container.service} failed ({container.status.lower()}){said}. Look at: make dev-logs ARGS={container.service}"


def configure(engine: list[str], container: Container, made: proxy.Configuration, port: int) -> None:
    """Have the proxy in `container` use `made`, where it does not yet. Raises proxy.RefusedError and proxy.GoneError."""
    with state.locked(os.curdir):
        if proxy.in_use(port) != made.name:
            if container.state != "running":
                raise proxy.GoneError("the proxy does not run")
            proxy.use(engine, container.id, made, port)


def new_names(words: list[str], config: dict[str, Any], container: Container, hosts: list[str]) -> dict[str, set[str]]:
    """Return the names that the proxy in `container` shall have, by network, where it has others; `hosts` are all of ours.

    Programs take a name below .localhost for their own container, and Docker has no wildcards.
    Raises compose.UnknownError.
    """
    wanted = {host for host in hosts if not re.search(r"(^|[.])localhost\Z|^[*]", host)}
    known = compose.names_in_networks(words, [container]).get(container.id, {}) if wanted else {}
    return {
        network: own | wanted
        for network, own in names_of(config, "proxy").items()
        # A name that a route has no longer goes, too: it may be another service's now.
        if network in known and {name for name in known[network] if "." in name} != wanted
    }


def introduce(words: list[str], config: dict[str, Any], container: Container, hosts: list[str]) -> None:
    """Give the proxy in `container` the names by which other containers reach it. Raises compose.UnknownError, FailedError."""
    engine = compose.engine_of(words)
    for network, names in new_names(words, config, container, hosts).items():
        aliases = [word for name in sorted(names) for word in ("--alias", name)]
        for command in (["network", "disconnect", network], ["network", "connect", *aliases, network]):
            done = subprocess.run([*engine, *command, container.id], capture_output=True, check=False)
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace").strip()
                raise FailedError(
                    f"other containers do not know the proxy's names: {said}. Fix: make dev-down && make dev-up"
                )
