# SPDX-License-Identifier: MIT
"""What Compose and its engine say of this project. Their formats are read by their own tools, never by us."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

# An engine that answers at all answers by then; Docker Desktop can hang for ever. Seconds.
PATIENCE = 30.0
# Compose's own labels: https://docs.docker.com/reference/compose-file/services/#labels
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
FOLDER = "com.docker.compose.project.working_dir"
# The label of every service in .localdev/compose.yaml; its value is the service's name.
OURS = "local.host-alias.service"


class UnknownError(Exception):
    """Compose or the engine did not answer; the text is the command that failed."""


@dataclass(frozen=True)
class Container:
    """A container of this machine's engine; `folder` is where Compose was called, `ours` the service of ours that it is."""

    name: str
    state: str
    project: str
    service: str
    folder: str
    ours: str
    mounts: frozenset[str]
    networks: frozenset[str]

    @property
    def runs(self) -> bool:
        """Whether a process of it may use its volumes now."""
        return self.state not in ("created", "exited", "dead")


def engine_of(compose: list[str]) -> list[str]:
    """Return the engine's command: docker of `docker compose`, podman of podman-compose."""
    words = []
    for word in compose:
        if word == "compose":
            break
        words.append(word[: -len("-compose")] if word.endswith("-compose") else word)
    return words


def files_are_named(words: list[str]) -> bool:
    """Tell whether somebody names the Compose files or their folder, instead of leaving it to Compose to find them."""
    if os.environ.get("COMPOSE_FILE") or any(
        word.startswith(("-f", "--file", "--project-directory")) for word in words
    ):
        return True
    try:
        with open(".env", encoding="utf-8", errors="replace") as file:
            return "COMPOSE_FILE" in file.read()
    except OSError:
        return False


def answer(*command: str) -> str:
    """Return what `command` prints. Raises UnknownError when it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnknownError(" ".join(command)) from error
    if done.returncode != 0:
        raise UnknownError(" ".join(command))
    return done.stdout.decode(errors="replace")


def config(compose: list[str]) -> dict[str, Any]:
    """Return the project as Compose sees it, profiles that are not active included where that is possible.

    https://docs.docker.com/reference/cli/docker/compose/config. Raises UnknownError, also for a Compose that does not print JSON.
    """
    last = UnknownError(" ".join(compose))
    # A service of a profile that nobody uses may name an env_file that is not there.
    for profiles in (["--profile", "*"], []):
        try:
            found = json.loads(answer(*compose, *profiles, "config", "--format", "json"))
        except UnknownError as error:
            last = error
        except ValueError:
            last = UnknownError(" ".join([*compose, "config", "--format", "json"]))
        else:
            if isinstance(found, dict) and found.get("name"):
                return found
    raise last


def containers(compose: list[str]) -> list[Container]:
    """Return all containers of the engine, those that do not run included. Raises UnknownError when it does not answer."""
    fields = [".Names", ".State", *(f'(.Label "{label}")' for label in (PROJECT, SERVICE, FOLDER, OURS))]
    row = "[" + ",".join("{{json " + field + "}}" for field in [*fields, ".Mounts", ".Networks"]) + "]"
    command = [*engine_of(compose), "ps", "--all", "--no-trunc", "--format", row]
    try:
        rows = [json.loads(line) for line in answer(*command).splitlines() if line]
        return [
            Container(*(str(text or "") for text in first), *(frozenset(str(text).split(",")) for text in lists))
            for *first, mounts, networks in rows
            for lists in [(mounts, networks)]
        ]
    except (TypeError, ValueError) as error:
        raise UnknownError(" ".join(command)) from error


def volumes(compose: list[str]) -> frozenset[str]:
    """Return the names of the engine's volumes. Raises UnknownError when it does not answer."""
    return frozenset(answer(*engine_of(compose), "volume", "ls", "--quiet").split())
