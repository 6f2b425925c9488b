# SPDX-License-Identifier: MIT
"""Whose are the containers, volumes and names of this project? Each answer is a Refusal: what is wrong, and what to do.

Two servers on one volume lose rows; a second checkout under the same project name re-creates the first one's containers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from compose import OURS, Container

FOLDER = ".localdev"
LOSS = "two servers on one data folder lose rows"
EITHER = "other containers would reach either of them"
# https://docs.docker.com/compose/intro/compose-application-model/#the-compose-file
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")

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
    services = (config.get("services") or {}).items()
    # The label's value, too: a service of theirs that extends one of ours has the label, and another name.
    return [name for name, service in services if (service.get("labels") or {}).get(OURS) == name]


def volumes_of(config: Config, service: str) -> set[str]:
    """Return the volumes that `service` mounts, by the names that the engine has for them."""
    known = config.get("volumes") or {}
    found = set()
    for mount in config["services"][service].get("volumes") or []:
        source = mount.get("source") or ""
        if mount.get("type") == "volume" and source:
            found.add((known.get(source) or {}).get("name", source))
        elif source.endswith("/_data"):  # the engine's own folder of a volume
            found.add(source.split("/")[-2])
    # volumes_from mounts what another service or container has: NAME, NAME:ro or container:NAME.
    # https://docs.docker.com/reference/compose-file/services/#volumes_from
    for entry in config["services"][service].get("volumes_from") or []:
        _, is_container, rest = entry.partition("container:")
        lender = (rest if is_container else entry).split(":")[0]
        named = {container_name(config, name): name for name in config["services"]}
        lender = named.get(lender, lender) if is_container else lender
        if lender in config["services"] and lender != service:
            found |= volumes_of(config, lender)
    return found


def names_of(config: Config, service: str) -> dict[str, set[str]]:
    """Return, by the engine's name of each network, the names under which `service` is found there."""
    found, known = config["services"][service], config.get("networks") or {}
    # Engine 20.10 takes the hostname for one, too.
    own = {service, *(str(found[key]) for key in ("container_name", "hostname") if found.get(key))}
    return {
        (known.get(network) or {}).get("name", network): own | set((said or {}).get("aliases") or [])
        for network, said in (found.get("networks") or {}).items()
    }


def container_name(config: Config, service: str) -> str:
    """Return the name of the first container of `service`."""
    return str(config["services"][service].get("container_name") or f"{config['name']}-{service}-1")


def conflicts(config: Config) -> Iterator[Refusal]:
    """Find the services of the Compose files that use a volume, a network name or a container name of ours."""
    ours = our_services(config)
    for our in ours:
        # A compose.override.yaml may add to ours, but not put its own data in the place of ours.
        volumes = volumes_of(config, our)
        if volumes and not any(volume.startswith(f"{config['name']}_localdev-") for volume in volumes):
            text = f"a service {our} of yours is merged into ours: its data is in the volume {min(volumes)}"
            yield Refusal(text, f"give yours another name than {our}")
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
                for name in sorted(names & theirs.get(network, set())):
                    text = f"the service {service} is called {name} in the network {network}, and so is {our}: {EITHER}"
                    yield Refusal(text, f"give {service} another name there")


def others(config: Config, found: list[Container]) -> list[Container]:
    """Return the containers of `found` that are no service of ours in this project."""
    return [item for item in found if not (item.project == config["name"] and item.is_ours)]


def in_our_networks(config: Config, found: list[Container]) -> list[Container]:
    """Return the running containers of others in a network of ours."""
    ours = set().union(*(names_of(config, our) for our in our_services(config)))
    return [item for item in others(config, found) if item.runs and item.networks & ours]


def strangers(config: Config, found: list[Container], names: dict[str, dict[str, set[str]]]) -> Iterator[Refusal]:
    """Find the containers that use a volume, a network name or a container name of ours without being ours.

    `names` is what compose.names_in_networks says of those in our networks.
    """
    for container in others(config, found):
        whose = f"the container {container.name}"
        whose += f" of the project {container.project}" if container.project else ""
        for our in our_services(config):
            for volume in sorted(container.mounts & volumes_of(config, our) if container.runs else ()):
                text = f"{whose} uses the volume {volume} of {our}: {LOSS}"
                yield Refusal(text, f"docker stop {container.name}")
            if container.name == container_name(config, our):
                text = f"{whose} has the name that {our} needs"
                yield Refusal(text, f"docker rename {container.name} {container.name}-old")
            for network, ours in names_of(config, our).items():
                shared = ours & names.get(container.id, {}).get(network, set())
                if shared:
                    text = f"{whose} is called {min(shared)} in the network {network}, and so is {our}: {EITHER}"
                    yield Refusal(text, f"docker network disconnect {network} {container.name}")


def data_in(config: Config, found: list[Container], volumes: frozenset[str]) -> list[str]:
    """Return what `docker compose down --volumes` deletes: declared volumes, and unnamed ones by their container."""
    declared = {volume["name"] for volume in (config.get("volumes") or {}).values() if not volume.get("external")}
    unnamed = {
        f"the unnamed volume of {container.name}"
        for container in found
        if container.project == config["name"] and any(re.fullmatch("[0-9a-f]{64}", name) for name in container.mounts)
    }
    # The proxy's is no data: make dev-up fills it again.
    return sorted((declared & volumes) - {f"{config['name']}_localdev-proxy"}) + sorted(unnamed)


def checkout_of(folder: str) -> str | None:
    """Return the checkout that `folder` is in: the nearest folder with .localdev or .git in it. None where there is none."""
    while not any(os.path.exists(os.path.join(folder, name)) for name in (FOLDER, ".git")):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder


def compose_folder(here: str) -> str:
    """Return the folder where Compose finds its file when it is called in `here`: the nearest one, upwards."""
    folder = here
    while not any(os.path.isfile(os.path.join(folder, name)) for name in COMPOSE_FILES):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return here
    return folder


def belongs_elsewhere(container: Container, here: str, files_are_named: bool) -> bool:
    """Tell whether `container` was made in another folder than the checkout `here`.

    Compose files that are gone were moved or deleted: nobody works there. Where somebody names the Compose files, by
    COMPOSE_FILE or -f (`files_are_named`), they may be outside of `here`, so only another checkout of ours counts then.
    """
    files = [file for file in container.files.split(",") if file] or [container.folder]
    if not any(os.path.exists(file) for file in files):
        return False
    folder = os.path.realpath(container.folder)
    if is_same(folder, here) or is_same(folder, compose_folder(here)):
        return False
    checkout = checkout_of(folder)
    if checkout and os.path.isdir(os.path.join(checkout, FOLDER)):
        return not is_same(checkout, here)
    return not files_are_named


def elsewhere(
    config: Config, found: list[Container], here: str, files_are_named: bool, compose: list[str]
) -> Iterator[Refusal]:
    """Find the folders other than `here` with containers of this project, which a command would re-create or remove."""
    project = config["name"]
    theirs = (item for item in found if item.project == project)
    for folder in sorted({item.folder for item in theirs if belongs_elsewhere(item, here, files_are_named)}):
        yield Refusal(
            f"the containers of the project {project} belong to {folder}",
            f"{' '.join(compose)} -p {project} down (or, to have both, a project of its own here: "
            f"COMPOSE_PROJECT_NAME={project}-2 in .env, and other ports)",
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
        source = mount.get("source", "")
        if mount.get("target") == f"/{FOLDER}/proxy" and not is_same(source, os.path.join(here, FOLDER, "proxy")):
            text = f"Compose would run the proxy of {source}"
            yield Refusal(text, "correct COMPOSE_FILE or LOCALDEV_COMPOSE, which name the files of another checkout")


def is_same(one: str, other: str) -> bool:
    """Tell whether both paths lead to one file or folder."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
