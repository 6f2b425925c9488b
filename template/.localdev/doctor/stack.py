# SPDX-License-Identifier: MIT
"""The containers: there, running, healthy, and made with this alias."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import compose
import owners
from engine import Engine, host_alias_of, service_of
from finding import Finding, fail, ok, warn


def check(engine: Engine) -> Iterator[Finding]:
    """Find what is wrong with the containers of this project."""
    containers = engine.containers()
    if not engine.info() or (containers is None and not engine.compose_version().out):
        return  # engine.py has said it
    if containers is None:
        said = engine.compose("config", "-q").err.strip().splitlines() or ["Compose does not list the containers"]
        yield fail("stack.invalid", "stack", said[-1], "correct compose.yaml, then: make dev-up")
        return
    wanted = engine.wanted()
    if not wanted:
        return
    there = {service_of(container): container for container in containers}
    if not there:
        yield fail("stack.down", "stack", "no container of this project runs", "make dev-up")
        return
    for name in wanted:
        yield judge(engine, name, there.get(name))


def check_owners(engine: Engine) -> Iterator[Finding]:
    """Find containers, volumes and names of this project that somebody else uses, too; as `make dev-up` does."""
    if not engine.info() or not engine.wanted():
        return  # engine.py has said it, or there is nothing
    words = engine.project.compose
    try:
        config, found = compose.config(words), compose.containers(words)
        names = compose.names_in_networks(words, owners.in_our_networks(config, found))
    except compose.UnknownError as error:
        text = f"whether other containers use this stack's volumes and names is unknown: `{error}` fails"
        yield warn("stack.unknown", "stack", text)
        return
    named = compose.files_are_named(words)
    for refusal in owners.elsewhere(config, found, os.getcwd(), named, words):
        yield fail("stack.elsewhere", "stack", *refusal)
    for refusal in (*owners.conflicts(config), *owners.strangers(config, found, names)):
        yield fail("stack.shared", "stack", *refusal)


def judge(engine: Engine, name: str, container: dict[str, Any] | None) -> Finding:
    """Return how the container of service `name` is."""
    if container is None:
        return fail("stack.stopped", name, "has no container", "make dev-up")
    state = container.get("State", {})
    status = str(state.get("Status", ""))
    logs = f'make dev-logs ARGS="{name}"'
    if status == "restarting":
        return fail("stack.unhealthy", name, f"fails and starts again and again; see: {logs}", "make dev-up")
    if status == "paused":
        return fail("stack.stopped", name, "is paused", f"{' '.join(engine.project.compose)} unpause {name}")
    if status != "running":
        code = state.get("ExitCode", 0)
        text = f"is not running ({status}{f', exit code {code}' if code else ''})"
        return fail("stack.stopped", name, text, "make dev-up")
    address = host_alias_of(container)
    project = engine.project
    if not project.gateway and address and address != project.ip:
        text = f"was started when the alias was {address}; now it is {project.ip}"
        return fail("stack.stale", name, text, "make dev-up")
    health = (state.get("Health") or {}).get("Status", "")
    if health == "unhealthy":
        fix = f"{' '.join(project.compose)} restart {name}"
        return fail("stack.unhealthy", name, f"runs, but is not healthy; see: {logs}", fix)
    return ok("stack.running", name, f"runs{f' ({health})' if health == 'starting' else ''}")
