# SPDX-License-Identifier: MIT
"""The project as its files describe it: host-alias.conf, and routes as routes.awk reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from compose import engine_of
from tools import run

CONTAINERS_HOST = "host-alias"


class BadRoutesError(Exception):
    """The file routes, or .env, has errors; its text is what routes.awk said, one line each."""


@dataclass(frozen=True)
class Route:
    """A line of the file routes, one place: what is asked for there goes to `port` of `upstream`."""

    line: int
    service: str
    upstream: str
    port: int
    host: str
    path: str

    @property
    def native(self) -> bool:
        """Whether the service runs on this machine, not in a container."""
        return self.upstream == CONTAINERS_HOST


@dataclass
class Project:
    """What the checks look at."""

    folder: str
    ip: str
    label: str
    domain: str
    has_proxy: bool
    compose: list[str]

    @property
    def engine(self) -> list[str]:
        """The engine's command: docker of `docker compose`, podman of podman-compose."""
        return engine_of(self.compose)

    @property
    def gateway(self) -> bool:
        """Whether containers dial Docker's host gateway instead of the alias."""
        return bool(os.environ.get("LOCALDEV_HOST"))

    @property
    def listen(self) -> str:
        """The address that services have to listen on."""
        return "0.0.0.0" if self.gateway else self.ip

    def routes(self) -> list[Route]:
        """Return the routes in their order.

        Raises BadRoutesError when the file has errors.
        """
        files = [os.path.join(self.folder, "host-alias.conf"), os.path.join(self.folder, "routes")]
        if os.path.isfile(".env"):
            files.insert(1, ".env")
        done = run("awk", "-v", "want=table", "-f", os.path.join(self.folder, "routes.awk"), *files)
        if done.code != 0:
            raise BadRoutesError(done.err.strip())
        rows = (line.split("\t") for line in done.out.splitlines())
        return [Route(int(line), service, up, int(port), host, path) for line, service, up, port, host, path in rows]


def load(folder: str, compose: list[str]) -> Project:
    """Return the project whose template-owned files are in `folder`; `compose` is the command to run Compose by.

    Raises OSError, KeyError or ValueError when host-alias.conf is not what the template wrote.
    """
    with open(os.path.join(folder, "host-alias.conf"), encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if "=" in line and not line.startswith("#")]
    conf = dict(line.split("=", 1) for line in lines)
    return Project(folder, conf["ip"], conf["label"], conf["domain"], conf["web_port"] != "none", compose)
