# SPDX-License-Identifier: MIT
"""What Compose and its engine say of this project. Their formats are read by their own tools, never by us."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

# An engine that answers at all answers by then; Docker Desktop can hang for ever. Seconds.
PATIENCE = 30.0
# Compose's own labels: https://docs.docker.com/reference/compose-file/services/#labels
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
ONE_OFF = "com.docker.compose.oneoff"
FOLDER, FILES = "com.docker.compose.project.working_dir", "com.docker.compose.project.config_files"
# The label of every service in .localdev/compose.yaml; its value is the service's name.
OURS = "local.host-alias.service"


class UnknownError(Exception):
    """Compose or the engine did not answer; the text is the command that failed."""


@dataclass(frozen=True)
class Container:
    """A container of this machine's engine; `folder` and `files` are where Compose was called, `ours` is our label.

    `one_off` is True of what `docker compose run` started.
    """

    id: str
    name: str
    state: str
    project: str
    service: str
    folder: str
    files: str
    ours: str
    one_off: str
    mounts: frozenset[str]
    networks: frozenset[str]
    ports: frozenset[int] = frozenset()
    status: str = ""
    image: str = ""

    @property
    def runs(self) -> bool:
        """Whether a process of it may use its volumes now."""
        return self.state not in ("created", "exited", "dead")

    @property
    def is_ours(self) -> bool:
        """Whether it is a service of .localdev/compose.yaml: `extends` copies the label, but not the service's name."""
        return bool(self.ours) and self.ours == self.service


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
    options = ("-f", "--file", "--project-directory", "--env-file")
    if os.environ.get("COMPOSE_FILE") or any(word.startswith(options) for word in words):
        return True
    try:
        with open(".env", encoding="utf-8", errors="replace") as file:
            return bool(re.search(r"(?m)^\s*(export\s+)?COMPOSE_FILE\s*[=:]", file.read()))
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
            # Compose doubles each `$`, for what it prints to be a Compose file again.
            found = json.loads(answer(*compose, *profiles, "config", "--format", "json").replace("$$", "$"))
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
    labels = (f'(.Label "{label}")' for label in (PROJECT, SERVICE, FOLDER, FILES, OURS, ONE_OFF))
    fields = [".ID", ".Names", ".State", *labels, ".Mounts", ".Networks", ".Ports", ".Status", ".Image"]
    row = "[" + ",".join("{{json " + field + "}}" for field in fields) + "]"
    command = [*engine_of(compose), "ps", "--all", "--no-trunc", "--format", row]
    try:
        rows = [json.loads(line) for line in answer(*command).splitlines() if line]
        return [container_of(*(str(field or "") for field in fields)) for fields in rows]
    except (TypeError, ValueError) as error:
        raise UnknownError(" ".join(command)) from error


def container_of(id: str, names: str, *fields: str) -> Container:
    """Return the container of a row of `docker ps`."""
    *texts, mounts, networks, ports, status, image = fields
    # With legacy links the names that other containers have for it are there, too: OTHER/ALIAS.
    name = next((name for name in names.split(",") if "/" not in name), names)
    parts = (frozenset(mounts.split(",")), frozenset(networks.split(",")), published_ports(ports), status, image)
    return Container(id, name, *texts, *parts)


def of_project(config: dict[str, Any], found: list[Container]) -> list[Container]:
    """Return those of `found` that are services of the project `config`."""
    return [item for item in found if item.project == config["name"] and item.one_off.lower() != "true"]


def active_services(compose: list[str]) -> list[str]:
    """Return the services that Compose starts, without those of profiles that are off. Raises UnknownError."""
    return answer(*compose, "config", "--services").split()


def published_ports(text: str) -> frozenset[int]:
    """Return the ports of 127.0.0.1 and ::1 in a column of `docker ps`: 0.0.0.0:8080->80/tcp, [::1]:90-91->90-91/tcp."""
    found: set[int] = set()
    address = r"(?:^|, )(?:127[.]0[.]0[.]1|0[.]0[.]0[.]0|\[?::1?\]?)?"
    for first, last in re.findall(address + ":([0-9]+)(?:-([0-9]+))?->[0-9-]+/tcp", text):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def names_in_networks(compose: list[str], found: list[Container]) -> dict[str, dict[str, set[str]]]:
    """Return, by id and network, the names by which other containers reach those of `found`.

    Raises UnknownError when the engine does not answer, or a container has just gone.
    """
    found_now = inspect(compose, "container", [container.id for container in found])
    try:
        return {
            about["Id"]: {
                network: {about["Name"].lstrip("/"), *(end.get("Aliases") or []), *(end.get("DNSNames") or [])}
                for network, end in about["NetworkSettings"]["Networks"].items()
            }
            for about in found_now
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UnknownError(" ".join([*engine_of(compose), "container", "inspect"])) from error


def inspect(compose: list[str], kind: str, names: list[str]) -> list[dict[str, Any]]:
    """Return all that the engine knows of each of `names`, which are of one `kind`, e.g. network. Raises UnknownError."""
    command = [*engine_of(compose), kind, "inspect", *names]
    try:
        found: list[dict[str, Any]] = json.loads(answer(*command)) if names else []
    except ValueError as error:
        raise UnknownError(" ".join(command)) from error
    return found


def networks(compose: list[str]) -> list[dict[str, Any]]:
    """Return the engine's networks. Raises UnknownError when it does not answer."""
    return inspect(compose, "network", answer(*engine_of(compose), "network", "ls", "--format", "{{.Name}}").split())


def volumes(compose: list[str]) -> frozenset[str]:
    """Return the names of the engine's volumes. Raises UnknownError when it does not answer."""
    return frozenset(answer(*engine_of(compose), "volume", "ls", "--quiet").split())


def services_in(arguments: list[str]) -> list[str]:
    """Return the services that the arguments of `docker compose up` name, none for all."""
    with_value = re.compile("--(attach|no-attach|exit-code-from|pull|scale|timeout|wait-timeout)|-t")
    found, is_value = [], False
    for word in arguments:
        if not is_value and not word.startswith("-"):
            found.append(word)
        is_value = not is_value and bool(with_value.fullmatch(word))
    return found


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
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command)}` says nothing within {PATIENCE:g} s. Start the container runtime again"
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())
            clash = re.search(r"services[.](\S+) conflicts with imported resource", said)
            if clash:
                return f"the service {clash[1]} is in your Compose file and in .localdev/compose.yaml. Rename yours"
            return text.format(said=said) if "{said}" in text else text
    return otherwise
