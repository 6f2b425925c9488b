# SPDX-License-Identifier: MIT
"""The container engine and Compose: which ones, new enough, and able to reach this machine at the alias."""

from __future__ import annotations

import json
import os
import re
import threading
from typing import Any

from finding import Finding, fail, ok, warn
from project import CONTAINERS_HOST, Project
from tools import Done, once, run

ENGINE_FLOOR, COMPOSE_FLOOR = (20, 10), (2, 23, 1)
SAFE_IP = "10.254.254.254"


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers that the version in `text` begins with."""
    found = re.search(r"[0-9]+(\.[0-9]+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


class Engine:
    """What the engine says; each question is asked once, by the first check that needs it."""

    def __init__(self, project: Project) -> None:
        """Ask nothing yet."""
        self.project = project
        self.locks: dict[str, Any] = {}
        self.locks["once"] = threading.RLock()

    def ask(self, *words: str) -> Done:
        """Run the engine's own command."""
        return run(*self.project.engine, *words)

    def compose(self, *words: str) -> Done:
        """Run Compose."""
        return run(*self.project.compose, *words)

    @once
    def info(self) -> dict[str, Any]:
        """Return what `docker info` says, {} when no engine answers."""
        done = self.ask("info", "--format", "{{json .}}")
        try:
            told = json.loads(done.out)
        except ValueError:
            return {}
        # The client answers even where no server does.
        return told if told.get("ServerVersion") or "host" in told else {}

    @once
    def components(self) -> str:
        """Return what the engine's parts are called; Podman says its own name there."""
        return self.ask("version", "--format", "{{json .Server.Components}}").out

    @once
    def endpoint(self) -> str:
        """Return where the engine is, as DOCKER_HOST would say it; '' when unknown."""
        if os.environ.get("DOCKER_HOST"):
            return os.environ["DOCKER_HOST"]
        done = self.ask("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        return done.out.strip() if done.code == 0 else ""

    @once
    def compose_version(self) -> Done:
        """Return how Compose answered when asked for its version."""
        return self.compose("version", "--short")

    @once
    def containers(self) -> list[dict[str, Any]] | None:
        """Return what the engine knows of each container of this project, stopped ones too; None when it does not answer."""
        done = self.compose("ps", "--all", "--quiet")
        if done.code != 0:
            return None
        ids = done.out.split()
        if not ids:
            return []
        try:
            found: list[dict[str, Any]] = json.loads(self.ask("inspect", *ids).out)
        except ValueError:
            return None
        return found

    @once
    def wanted(self) -> list[str]:
        """Return the names of the services that the Compose files have."""
        return self.compose("config", "--services").out.split()

    def container(self, service: str) -> dict[str, Any] | None:
        """Return the container of `service`, None when there is none."""
        for container in self.containers() or []:
            if service_of(container) == service:
                return container
        return None


def service_of(container: dict[str, Any]) -> str:
    """Return which service of the Compose files `container` is."""
    labels = container.get("Config", {}).get("Labels") or {}
    name = labels.get("com.docker.compose.service") or labels.get("io.podman.compose.service")
    return str(name or container.get("Name", "").lstrip("/"))


def host_alias_of(container: dict[str, Any]) -> str:
    """Return the address that `host-alias` is in `container`, '' when it has no such name."""
    for line in container.get("HostConfig", {}).get("ExtraHosts") or []:
        name, _, address = line.partition(":")
        if name == CONTAINERS_HOST:
            return str(address)
    return ""


def kind(info: dict[str, Any], components: str, endpoint: str) -> str:
    """Return which product the engine is: what its own words, its machine's name or its socket tell."""
    if "host" in info:
        rootless = info["host"].get("security", {}).get("rootless")
        remote = info["host"].get("serviceIsRemote")
        return "Podman machine" if remote else "Podman, rootless" if rootless else "Podman, rootful"
    system, name = str(info.get("OperatingSystem", "")), str(info.get("Name", ""))
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or [])
    if "Podman" in components:
        if "machine" in endpoint or name.startswith(("podman-machine", "localhost.localdomain")):
            return "Podman machine"
        return "Podman, rootless" if rootless else "Podman, rootful"
    if system == "Docker Desktop" or name == "docker-desktop":
        return "Docker Desktop"
    if system == "OrbStack" or "orbstack" in (name + endpoint).lower():
        return "OrbStack"
    if "rancher" in (system + name).lower() or "/.rd/" in endpoint:
        return "Rancher Desktop"
    if name == "colima" or name.startswith("colima-") or "/.colima/" in endpoint:
        return "Colima"
    if name.startswith("lima-") or "/.lima/" in endpoint:
        return "Lima"
    return "Docker Engine, rootless" if rootless else "Docker Engine"


def is_remote(endpoint: str) -> bool:
    """Tell whether the engine at `endpoint` is on another machine."""
    found = re.match(r"(ssh|tcp|https?)://(?:[^@/]*@)?(\[[^]]*\]|[^:/]*)", endpoint)
    return bool(found) and found.group(2) not in ("localhost", "127.0.0.1", "[::1]", "")


def colima_copies_addresses(info: dict[str, Any]) -> bool:
    """Tell whether Colima was started with --network-host-addresses: its machine then has the alias itself."""
    profile = str(info.get("Name", "")).replace("colima-", "", 1) or "colima"
    profile = "default" if profile == "colima" else profile
    home = os.environ.get("COLIMA_HOME") or os.path.expanduser("~/.colima")
    try:
        with open(os.path.join(home, profile, "colima.yaml"), encoding="utf-8", errors="replace") as file:
            return bool(re.search(r"^\s*hostAddresses:\s*true\s*(#.*)?$", file.read(), re.MULTILINE))
    except OSError:
        return False


def change_ip(ip: str = SAFE_IP) -> str:
    """Return the command that gives the project the alias `ip`, unless told otherwise one that every runtime takes."""
    return f'make dev-update ARGS="-d alias_ip={ip}"'


def check(engine: Engine) -> list[Finding]:
    """Find what is wrong with engine and Compose."""
    return [*check_engine(engine), *check_compose(engine)]


def check_engine(engine: Engine) -> list[Finding]:
    """Find which engine it is, and what it cannot do."""
    project, command = engine.project, " ".join(engine.project.engine)
    endpoint = engine.endpoint()
    if is_remote(endpoint):
        text = f"the engine is on another machine, {endpoint}: it cannot reach services of this one"
        return [fail("runtime.remote", "runtime", text, "docker context use default && unset DOCKER_HOST")]
    info = engine.info()
    if not info:
        if run(*project.engine, "--version").code is None:
            text = f"there is no {command} here"
            fix = "install Docker Desktop, OrbStack, Colima or Docker Engine (or: export LOCALDEV_COMPOSE='podman compose')"
            return [fail("runtime.missing", "runtime", text, fix)]
        denied = "permission denied" in engine.ask("ps").err
        if denied:
            return [
                fail(
                    "runtime.silent",
                    "runtime",
                    "you may not use the container runtime",
                    'sudo usermod -aG docker "$USER" && newgrp docker',
                )
            ]
        return [fail("runtime.silent", "runtime", f"no container runtime answers {command}", start_command(endpoint))]

    product = kind(info, engine.components(), endpoint)
    version = str(info.get("ServerVersion") or info.get("version", {}).get("Version", ""))
    findings = []
    if not product.startswith("Podman") and version_of(version)[:2] < ENGINE_FLOOR:
        text = f"{product} {version} is too old"
        findings.append(
            fail(
                "runtime.old",
                "runtime",
                text,
                "install Docker Engine 20.10 or later: https://docs.docker.com/engine/install",
            )
        )
    if project.gateway:
        if product == "Rancher Desktop":
            text = "with LOCALDEV_HOST=host-gateway containers of Rancher Desktop reach its own machine, not this one"
            findings.append(warn("runtime.gateway", "runtime", text, "unset LOCALDEV_HOST && make dev-up"))
    elif project.ip.startswith("169.254.") and refuses_link_local(product, version):
        text = f"{product} does not let containers reach {project.ip}, a link-local address"
        findings.append(fail("runtime.link-local", "runtime", text, change_ip()))
    elif product == "Docker Desktop" and in_wsl():
        text = "containers of Docker Desktop cannot reach an address of this WSL distribution"
        findings.append(fail("runtime.wsl", "runtime", text, "export LOCALDEV_HOST=host-gateway && make dev-up"))
    elif product == "Colima" and colima_copies_addresses(info):
        text = f"Colima's own machine has {project.ip}, too (network.hostAddresses): containers end there"
        findings.append(
            fail(
                "runtime.host-addresses", "runtime", text, "colima stop && colima start --network-host-addresses=false"
            )
        )
    return findings or [ok("runtime.found", "runtime", f"{product} {version}")]


def refuses_link_local(product: str, version: str) -> bool:
    """Tell whether the network stack of `product` drops what goes to 169.254.0.0/16, as measured or reported."""
    if product == "Docker Engine, rootless":
        return (29, 5, 0) <= version_of(version) < (29, 5, 3)
    return product in ("Colima", "Lima", "Rancher Desktop", "OrbStack", "Podman machine")


def in_wsl() -> bool:
    """Tell whether this is a distribution of WSL."""
    return bool(os.environ.get("WSL_DISTRO_NAME")) or "microsoft" in os.uname().release.lower()


def start_command(endpoint: str) -> str:
    """Return how to start the engine that should be at `endpoint`."""
    for part, command in (
        ("/.orbstack/", "orb start"),
        ("/.colima/", "colima start"),
        ("/.rd/", "rdctl start"),
        ("/.docker/", "docker desktop start"),
        ("podman-machine", "podman machine start"),
        ("/run/user/", "systemctl --user start docker"),
    ):
        if part in endpoint:
            return command
    return "docker desktop start" if os.path.isdir("/Applications") else "sudo systemctl start docker"


def check_compose(engine: Engine) -> list[Finding]:
    """Find whether Compose is there and new enough."""
    command = " ".join(engine.project.compose)
    done = engine.compose_version()
    version = done.out.strip().splitlines()[-1] if done.code == 0 and done.out.strip() else ""
    how = "install Docker Compose 2.23.1 or later: https://docs.docker.com/compose/install"
    if not version:
        return [fail("compose.missing", "compose", f"`{command}` does not work", how)]
    # podman-compose is no Docker Compose: its numbers are its own.
    if "podman-compose" not in command and version_of(version) < COMPOSE_FLOOR:
        return [fail("compose.old", "compose", f"Compose {version} is too old", how)]
    return [ok("compose.found", "compose", f"Compose {version}")]
