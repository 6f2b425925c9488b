# SPDX-License-Identifier: MIT
"""What every check looks at and returns, and the checks of the engine and of Compose: new enough, able to reach this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import compose
import owners
import routes
import settings
from tools import Later, run

OK, WARN, FAIL = "ok", "warn", "fail"
ENGINE_FLOOR, COMPOSE_FLOOR = (20, 10), (2, 23, 1)
SAFE_IP = "10.254.254.254"
# The first row that matches "operating system|machine's name|socket", which is what an engine says of itself, is the product.
PRODUCTS = (
    ("Docker Desktop", r"^Docker Desktop\||\|docker-desktop\|"),
    ("OrbStack", r"(?i)orbstack"),
    ("Rancher Desktop", r"(?i)rancher.*\||/\.rd/"),
    ("Colima", r"\|colima(-[^|]*)?\||/\.colima/"),
    ("Lima", r"\|lima-|/\.lima/"),
)
# Their network drops what goes to 169.254.0.0/16: measured with gvisor-tap-vsock, https://github.com/orbstack/orbstack/issues/1788.
REFUSE_LINK_LOCAL = ("Colima", "Lima", "Rancher Desktop", "OrbStack", "Podman machine")
# How to start the engine whose socket has these words in its path.
STARTS = {
    "/.orbstack/": "orb start",
    "/.colima/": "colima start",
    "/.rd/": "rdctl start",
    "/.docker/": "docker desktop start",
    "podman-machine": "podman machine start",
    "/run/user/": "systemctl --user start docker",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `fix` is the command, or the change, that makes it go away."""

    level: str
    id: str
    subject: str
    text: str
    fix: str | None = None


def ok(id: str, subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(OK, id, subject, text)


def warn(id: str, subject: str, text: str, fix: str | None = None) -> Finding:
    """Return a finding that does not keep anything from working."""
    return Finding(WARN, id, subject, text, fix)


def fail(id: str, subject: str, text: str, fix: str) -> Finding:
    """Return a finding that keeps something from working; it always says what to do."""
    return Finding(FAIL, id, subject, text, fix)


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
        self.errors: list[Finding] = []
        try:
            self.routes = routes.read(f"{owners.FOLDER}/routes", self.settings.domain)
        except routes.RoutesError as error:
            fix = "correct it, then: make dev-reload"
            self.errors = [fail("routes.invalid", "routes", line, fix) for line in error.lines]
        except OSError as error:
            file = f"{owners.FOLDER}/routes"
            self.errors = [fail("routes.invalid", "routes", f"{file}: {error.strerror}", f"git checkout -- {file}")]
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
        host, name = info.get("host") or {}, str(info.get("Name", ""))
        rootless = (host.get("security") or {}).get("rootless") or "rootless" in str(info.get("SecurityOptions"))
        if host or "Podman" in self.version.result().out:
            in_machine = "machine" in endpoint or name.startswith(("podman-machine", "localhost.localdomain"))
            if in_machine or host.get("serviceIsRemote"):
                return "Podman machine"
            return "Podman, rootless" if rootless else "Podman, rootful"
        about = f"{info.get('OperatingSystem', '')}|{name}|{endpoint}"
        engine = "Docker Engine, rootless" if rootless else "Docker Engine"
        return next((product for product, words in PRODUCTS if re.search(words, about)), engine)


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that `version` begins with."""
    found = re.search(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def change_ip(ip: str = SAFE_IP) -> str:
    """Return the command that gives the project the alias `ip`, unless told otherwise one that every runtime takes."""
    return f'make dev-update ARGS="-d alias_ip={ip}"'


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
    product, has_gateway = facts.product, facts.has_gateway
    version = str(info.get("ServerVersion") or info.get("version", {}).get("Version", ""))
    link_local = product in REFUSE_LINK_LOCAL or (
        # https://github.com/moby/moby/issues/52694
        product == "Docker Engine, rootless" and (29, 5, 0) <= numbers(version) < (29, 5, 3)
    )
    wsl = os.environ.get("WSL_DISTRO_NAME") or "microsoft" in os.uname().release.lower()
    faults = (
        (
            not product.startswith("Podman") and numbers(version)[:2] < ENGINE_FLOOR,
            *("runtime.old", f"{product} {version} is too old"),
            "install Docker Engine 20.10 or later: https://docs.docker.com/engine/install",
        ),
        (
            not has_gateway and ip.startswith("169.254.") and link_local,
            *("runtime.link-local", f"{product} does not let containers reach {ip}, a link-local address"),
            change_ip(),
        ),
        (
            not has_gateway and product == "Docker Desktop" and wsl,
            *("runtime.wsl", "containers of Docker Desktop cannot reach an address of this WSL distribution"),
            "export LOCALDEV_HOST=host-gateway && make dev-up",
        ),
        (
            not has_gateway and product == "Colima" and copies_addresses(str(info.get("Name", ""))),
            "runtime.host-addresses",
            f"Colima's own machine has {ip}, too (network.hostAddresses): containers end there",
            "colima stop && colima start --network-host-addresses=false",
        ),
    )
    found = [fail(id, "runtime", text, fix) for is_so, id, text, fix in faults if is_so]
    if has_gateway and product == "Rancher Desktop":
        text = "with LOCALDEV_HOST=host-gateway containers of Rancher Desktop reach its own machine, not this one"
        found.append(warn("runtime.gateway", "runtime", text, "unset LOCALDEV_HOST && make dev-up"))
    yield from found or [ok("runtime.found", "runtime", f"{product} {version}")]


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
    fix = next((command for part, command in STARTS.items() if part in endpoint), usual)
    return fail("runtime.silent", "runtime", f"no container runtime answers {command}", fix)


def copies_addresses(name: str) -> bool:
    """Tell whether Colima, whose machine is called `name`, was started with --network-host-addresses: it has the alias itself."""
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
