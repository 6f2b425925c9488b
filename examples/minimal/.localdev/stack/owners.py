# SPDX-License-Identifier: MIT
"""Whose are the containers, volumes and names of this project? Each answer is a Refusal: what is wrong, and what to do.

Two servers on one volume lose rows; a second checkout under the same project name re-creates the first one's containers.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from compose import OURS, Container

FOLDER = ".localdev"
LOSS = "two servers on one data folder lose rows"
EITHER = "other containers would reach either of them"

Config = dict[str, Any]


class Refusal(NamedTuple):
    """A reason to start or remove nothing: `text` says what is wrong, `fix` what to do."""

    text: str
    fix: str

    def __str__(self) -> str:
        """Return both as one line."""
        return f"{self.text}. Fix: {self.fix}"


def our_services(config: Config) -> list[str]:
    """Return the services of `config` that .localdev/compose.yaml brought, by their label."""
    return [name for name, service in (config.get("services") or {}).items() if (service.get("labels") or {}).get(OURS)]


def volumes_of(config: Config, service: str) -> set[str]:
    """Return the volumes that `service` mounts, by the names that the engine has for them."""
    known = config.get("volumes") or {}
    mounted = (mount for mount in config["services"][service].get("volumes") or [] if mount.get("type") == "volume")
    names = {mount["source"] for mount in mounted if mount.get("source")}
    # volumes_from mounts what another service has: NAME or NAME:ro. https://docs.docker.com/reference/compose-file/services
    lenders = {entry.split(":")[0] for entry in config["services"][service].get("volumes_from") or []}
    lent = (volumes_of(config, lender) for lender in lenders - {service} if lender in config["services"])
    return {(known.get(name) or {}).get("name", name) for name in names}.union(*lent)


def names_of(config: Config, service: str) -> dict[str, set[str]]:
    """Return, by network, the names under which `service` is found there, its own name left out."""
    found = config["services"][service]
    own = {found["container_name"]} if found.get("container_name") else set()
    networks = found.get("networks") or {}
    return {network: own | set((said or {}).get("aliases") or []) for network, said in networks.items()}


def container_name(config: Config, service: str) -> str:
    """Return the name of the first container of `service`."""
    return str(config["services"][service].get("container_name") or f"{config['name']}-{service}-1")


def conflicts(config: Config) -> Iterator[Refusal]:
    """Find the services of the Compose files that use a volume, a network name or a container name of ours."""
    ours = our_services(config)
    for service in sorted(set(config.get("services") or {}) - set(ours)):
        theirs = names_of(config, service)
        for our in ours:
            for volume in sorted(volumes_of(config, service) & volumes_of(config, our)):
                text = f"the service {service} uses the volume {volume} of {our}: {LOSS}"
                yield Refusal(text, f"give {service} a volume of another name")
            taken = container_name(config, our)
            if container_name(config, service) == taken:
                text = f"the services {service} and {our} both have the container name {taken}"
                yield Refusal(text, f"give {service} another container_name")
                continue
            for network, names in names_of(config, our).items():
                for name in sorted((names | {our}) & theirs.get(network, set())):
                    text = f"the service {service} is called {name} in the network {network}, and so is {our}: {EITHER}"
                    yield Refusal(text, f"give {service} another name there")


def strangers(config: Config, found: list[Container]) -> Iterator[Refusal]:
    """Find the containers that use a volume, a network name or a container name of ours without being ours."""
    project, ours = config["name"], our_services(config)
    networks = config.get("networks") or {}
    for container in found:
        if container.project == project and (container.ours or container.service in ours):
            continue
        whose = f"the container {container.name}"
        whose += f" of the project {container.project}" if container.project else ""
        for our in ours:
            for volume in sorted(container.mounts & volumes_of(config, our) if container.runs else ()):
                text = f"{whose} uses the volume {volume} of {our}: {LOSS}"
                yield Refusal(text, f"docker stop {container.name}")
            if container.name == container_name(config, our):
                text = f"{whose} has the name that {our} needs"
                yield Refusal(text, f"docker rename {container.name} {container.name}-old")
            shared = {(networks.get(name) or {}).get("name", "") for name in names_of(config, our)} & container.networks
            if container.runs and container.project != project and container.service == our and shared:
                text = f"{whose} is called {our} in the network {min(shared)}, too: {EITHER}"
                yield Refusal(text, "give the networks of the two projects different names")


def checkout_of(folder: str) -> str | None:
    """Return the checkout that `folder` is in: the nearest folder with .localdev in it. None where there is none."""
    while not os.path.isdir(os.path.join(folder, FOLDER)):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder


def belongs_elsewhere(container: Container, here: str, files_are_named: bool) -> bool:
    """Tell whether `container` was made in another folder than the checkout `here`.

    A folder that is gone was moved or deleted: nobody works there. Where somebody names the Compose files, by COMPOSE_FILE
    or -f (`files_are_named`), Compose's folder may be outside of `here`, so only another checkout counts then.
    """
    folder = os.path.realpath(container.folder)
    if not container.folder or not os.path.isdir(folder):
        return False
    checkout = checkout_of(folder)
    if checkout is None:
        return not files_are_named
    return not os.path.samefile(checkout, here)


def elsewhere(
    config: Config, found: list[Container], here: str, files_are_named: bool, orphans: bool
) -> Iterator[Refusal]:
    """Find the folders other than `here` whose containers a command would re-create or remove.

    With `orphans` also the containers of services that the Compose files here do not have.
    """
    project, services = config["name"], config.get("services") or {}
    theirs = (item for item in found if item.project == project and (orphans or item.service in services))
    for folder in sorted({item.folder for item in theirs if belongs_elsewhere(item, here, files_are_named)}):
        place = shlex.quote(folder)
        down = f"make -C {place} dev-down" if checkout_of(folder) else f"cd {place} && docker compose down"
        yield Refusal(
            f"the containers of the project {project} belong to {folder}",
            f"{down} (or a project of its own here, with ports of its own, in .env: COMPOSE_PROJECT_NAME={project}-2)",
        )


def missing(config: Config, here: str, wanted: Iterable[str]) -> Iterator[Refusal]:
    """Find what the Compose files do not have of ours: the services `wanted`, and the proxy of the checkout `here`."""
    ours = our_services(config)
    lost = [name for name in wanted if name not in ours]
    if lost:
        yield Refusal(
            f"Compose does not know our {', '.join(lost)}, as its files do not include {FOLDER}/compose.yaml",
            f"include: [{FOLDER}/compose.yaml] in your Compose file, or correct COMPOSE_FILE or LOCALDEV_COMPOSE",
        )
    for mount in config["services"]["proxy"].get("volumes") or [] if "proxy" in ours else []:
        if mount.get("target") == f"/{FOLDER}" and not is_same(mount.get("source", ""), os.path.join(here, FOLDER)):
            text = f"Compose would run the proxy of {mount.get('source')}"
            yield Refusal(text, "correct COMPOSE_FILE or LOCALDEV_COMPOSE, which name the files of another checkout")


def is_same(one: str, other: str) -> bool:
    """Tell whether both paths lead to one file or folder."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
