# SPDX-License-Identifier: MIT
"""What every check looks at and returns; and the checks of the engine and of Compose: can they reach this machine?"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import compose
import owners
import routes
import settings
from tools import Later, run

OK, WARN, FAIL = "ok", "warn", "fail"
GATEWAY, NO_GATEWAY = "LOCALDEV_HOST=host-gateway", "unset LOCALDEV_HOST && make dev-up"
COLIMA = "colima stop && colima start --network-host-addresses=false"
ENGINE_FLOOR, COMPOSE_FLOOR = (20, 10), (2, 23, 1)
# An engine says of itself "operating system|machine's name|socket". The first row that matches is the product; the command
# starts it, where only the socket's path is known.
PRODUCTS = (
    ("Podman machine", "podman-machine|localhost.localdomain", "podman machine start"),
    ("Docker Desktop", r"^Docker Desktop\||\|docker-desktop\||/\.docker/", "docker desktop start"),
    ("OrbStack", r"(?i)orbstack", "orb start"),
    ("Rancher Desktop", r"(?i)rancher.*\||/\.rd/", "rdctl start"),
    ("Colima", r"\|colima(-[^|]*)?\||/\.colima/", "colima start"),
    ("Lima", r"\|lima-|/\.lima/", ""),
    ("Docker Engine, rootless", "/run/user/", "systemctl --user start docker"),
)
# Their network drops what goes to 169.254.0.0/16: gvisor-tap-vsock, and https://github.com/orbstack/orbstack/issues/1788.
REFUSE_LINK_LOCAL = ("Colima", "Lima", "Rancher Desktop", "OrbStack", "Podman machine")


def change_ip(ip: str = "10.254.254.254") -> str:
    """Return the command that gives the project the alias `ip`, unless told otherwise one that every runtime takes."""
    return f'make dev-update ARGS="-d alias_ip={ip}"'


# What an engine cannot do, {0} with its version and {1} without, by the alias {2}; and what to do.
LIMITS = {
    "old": ("{0} is too old", "install Docker Engine 20.10 or later: https://docs.docker.com/engine/install"),
    "link-local": ("{1} does not let containers reach {2}, a link-local address", change_ip()),
    "wsl": ("containers of {1} cannot reach an address of this WSL distribution", f"export {GATEWAY} && make dev-up"),
    "host-addresses": ("{1}'s own machine has {2}, too (network.hostAddresses): containers end there", COLIMA),
    "gateway": (f"with {GATEWAY} containers of {{1}} reach its own machine, not this one", NO_GATEWAY),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `fix` is the command, or the change, that makes it go away."""

    level: str
    id: str
    subject: str
    text: str
    fix: str | None = None


# What is well, what keeps nothing from working, and what does: that always has a fix.
ok, warn, fail = (partial(Finding, level) for level in (OK, WARN, FAIL))


def known(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of compose.py returns, None where Compose or the engine does not answer."""
    try:
        return function(*arguments)
    except compose.UnknownError:
        return None


class Facts:
    """What the files, Compose and the engine say: each is asked once, and all at the same time, by threads."""

    def __init__(self, words: list[str]) -> None:
        """Begin to ask; `words` is the command for Compose. Raises settings.SettingsError and OSError."""
        self.words, self.engine = words, compose.engine_of(words)
        self.settings = settings.read(f"{owners.FOLDER}/host-alias.conf")
        self.routes: list[routes.Route] = []
        errors, file, fix = [], f"{owners.FOLDER}/routes", "correct it, then: make dev-reload"
        try:
            self.routes = routes.read(file, self.settings.domain)
        except routes.RoutesError as error:
            errors = error.lines
        except OSError as error:
            errors, fix = [f"{file}: {error.strerror}"], f"git checkout -- {file}"
        self.errors = [fail("routes.invalid", "routes", line, fix) for line in errors]
        # The engine's first question, and its last one where it does not answer: Docker Desktop can hang.
        self.version = Later(lambda: run(*self.engine, "version", "--format", "{{json .Server}}"))
        self.info = Later(self._info)
        self.endpoint = Later(self._endpoint)
        self.compose_version = Later(lambda: run(*words, "version", "--short"))
        self.config = Later(lambda: known(compose.config, words))
        self.containers = Later(lambda: known(compose.containers, words) if self.answers else None)
        self.inspected = Later(self._inspected)
        self.networks = Later(lambda: (known(compose.networks, words) or []) if self.answers else [])

    def _info(self) -> dict[str, Any]:
        """Return what `docker info` says, {} when no engine answers."""
        try:
            told = json.loads(run(*self.engine, "info", "--format", "{{json .}}").out) if self.answers else {}
        except ValueError:
            return {}
        # The client answers even where no server does.
        return told if told.get("ServerVersion") or "host" in told else {}

    def _endpoint(self) -> str:
        """Return where the engine is, as DOCKER_HOST would say it; '' when unknown."""
        if os.environ.get("DOCKER_HOST"):
            return os.environ["DOCKER_HOST"]
        done = run(*self.engine, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        return done.out.strip() if done.code == 0 else ""

    def _inspected(self) -> dict[str, dict[str, Any]]:
        """Return all that the engine knows of this project's containers, by their service."""
        ids = {item.id: service for service, item in self.services.items()}
        return {ids[about["Id"]]: about for about in known(compose.inspect, self.words, "container", list(ids)) or []}

    @property
    def answers(self) -> bool:
        """Whether the engine answers."""
        return self.version.result().code == 0

    @property
    def services(self) -> dict[str, compose.Container]:
        """The containers of this project by their service."""
        config, found = self.config.result(), self.containers.result()
        return {item.service: item for item in compose.of_project(config, found)} if config and found else {}

    @property
    def has_gateway(self) -> bool:
        """Whether containers dial Docker's host gateway instead of the alias."""
        config = self.config.result()
        return settings.has_gateway(self.settings, config) if config else bool(os.environ.get("LOCALDEV_HOST"))

    @property
    def listen(self) -> str:
        """The address that services have to listen on."""
        return "0.0.0.0" if self.has_gateway else self.settings.ip

    @property
    def product(self) -> str:
        """Which product the engine is."""
        info, endpoint = self.info.result(), self.endpoint.result()
        host, about = info.get("host") or {}, f"{info.get('OperatingSystem', '')}|{info.get('Name', '')}|{endpoint}"
        rootless = (host.get("security") or {}).get("rootless") or "rootless" in str(info.get("SecurityOptions"))
        if host or "Podman" in self.version.result().out:
            if re.search(PRODUCTS[0][1], about) or host.get("serviceIsRemote"):
                return PRODUCTS[0][0]
            return "Podman, rootless" if rootless else "Podman, rootful"
        engine = "Docker Engine, rootless" if rootless else "Docker Engine"
        return next((product for product, words, _ in PRODUCTS[1:] if re.search(words, about)), engine)


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that `version` begins with."""
    found = re.search(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def check_runtime(facts: Facts) -> Iterator[Finding]:
    """Find which engine it is, and what it cannot do."""
    ip, endpoint, info = facts.settings.ip, facts.endpoint.result(), facts.info.result()
    far = re.match(r"(ssh|tcp|https?)://(?:[^@/]*@)?(\[[^]]*\]|[^:/]*)", endpoint)
    if far and far[2] not in ("localhost", "127.0.0.1", "[::1]", ""):
        text = f"the engine is on another machine, {endpoint}: it cannot reach services of this one"
        yield fail("runtime.remote", "runtime", text, "docker context use default && unset DOCKER_HOST")
        return
    if not info:
        yield silence(facts, endpoint)
        return
    product, uses_alias = facts.product, not facts.has_gateway
    version = str(info.get("ServerVersion") or info.get("version", {}).get("Version", ""))
    # https://github.com/moby/moby/issues/52694
    is_fault = product == "Docker Engine, rootless" and (29, 5, 0) <= numbers(version) < (29, 5, 3)
    is_wsl = os.environ.get("WSL_DISTRO_NAME") or "microsoft" in os.uname().release.lower()
    is_so = {
        "old": not product.startswith("Podman") and numbers(version)[:2] < ENGINE_FLOOR,
        "link-local": uses_alias and ip.startswith("169.254.") and (product in REFUSE_LINK_LOCAL or is_fault),
        "wsl": uses_alias and product == "Docker Desktop" and is_wsl,
        "host-addresses": uses_alias and product == "Colima" and copies_addresses(str(info.get("Name", ""))),
        "gateway": not uses_alias and product == "Rancher Desktop",
    }
    faults = [(id, *LIMITS[id]) for id in LIMITS if is_so[id]]
    for id, text, fix in faults:
        level = WARN if id == "gateway" else FAIL
        yield Finding(level, f"runtime.{id}", "runtime", text.format(f"{product} {version}", product, ip), fix)
    if not faults:
        yield ok("runtime.found", "runtime", f"{product} {version}")


def silence(facts: Facts, endpoint: str) -> Finding:
    """Return why no engine answers, and how to start the one that should be at `endpoint`."""
    command, said = " ".join(facts.engine), facts.version.result().err
    if not shutil.which(facts.engine[0]):
        fix = "install Docker Desktop, OrbStack, Colima or Docker Engine (or: export LOCALDEV_COMPOSE='podman compose')"
        return fail("runtime.missing", "runtime", f"there is no {command} here", fix)
    if "permission denied" in said:
        fix = 'sudo usermod -aG docker "$USER" && newgrp docker'
        return fail("runtime.silent", "runtime", "you may not use the container runtime", fix)
    usual = "docker desktop start" if os.path.isdir("/Applications") else "sudo systemctl start docker"
    fix = next((start for _, words, start in PRODUCTS if start and re.search(words, endpoint)), usual)
    return fail("runtime.silent", "runtime", f"no container runtime answers {command}", fix)


def copies_addresses(name: str) -> bool:
    """Tell whether Colima's machine `name` was started with --network-host-addresses: then it has the alias itself."""
    profile = name.removeprefix("colima-") if name.startswith("colima-") else "default"
    home = os.environ.get("COLIMA_HOME") or os.path.expanduser("~/.colima")
    try:
        with open(os.path.join(home, profile, "colima.yaml"), encoding="utf-8", errors="replace") as file:
            return bool(re.search(r"^\s*hostAddresses:\s*true\s*(#.*)?$", file.read(), re.MULTILINE))
    except OSError:
        return False


def check_compose(facts: Facts) -> Iterator[Finding]:
    """Find whether Compose is there and new enough."""
    command, done = " ".join(facts.words), facts.compose_version.result()
    version = (done.out.split() or [""])[-1] if done.code == 0 else ""
    how = "install Docker Compose 2.23.1 or later: https://docs.docker.com/compose/install"
    if not version:
        yield fail("compose.missing", "compose", f"`{command}` does not work", how)
    # podman-compose is no Docker Compose: its numbers are its own.
    elif "podman-compose" not in command and numbers(version) < COMPOSE_FLOOR:
        yield fail("compose.old", "compose", f"Compose {version} is too old", how)
    else:
        yield ok("compose.found", "compose", f"Compose {version}")
