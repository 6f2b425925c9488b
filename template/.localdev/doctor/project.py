# SPDX-License-Identifier: MIT
"""The project as its files describe it: host-alias.conf, and routes as stack/ reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import compose as tool
import routes as table
import settings
from routes import NATIVE as CONTAINERS_HOST
from routes import Route
from tools import Later

__all__ = ["CONTAINERS_HOST", "Project", "Route", "load"]


@dataclass
class Project:
    """What the checks look at."""

    folder: str
    ip: str
    label: str
    domain: str
    has_proxy: bool
    compose: list[str]
    dials_gateway: Later

    @property
    def engine(self) -> list[str]:
        """The engine's command: docker of `docker compose`, podman of podman-compose."""
        return tool.engine_of(self.compose)

    @property
    def gateway(self) -> bool:
        """Whether containers dial Docker's host gateway instead of the alias, as far as Compose says."""
        return bool(self.dials_gateway.result())

    @property
    def listen(self) -> str:
        """The address that services have to listen on."""
        return "0.0.0.0" if self.gateway else self.ip

    def routes(self) -> list[Route]:
        """Return the routes in their order. Raises routes.RoutesError where the file has errors."""
        return table.read(os.path.join(self.folder, "routes"), self.domain)


def load(folder: str, compose: list[str]) -> Project:
    """Return the project whose template-owned files are in `folder`; `compose` is the command to run Compose by.

    Raises OSError and settings.SettingsError when host-alias.conf is not what the template wrote.
    """
    answers = settings.read(os.path.join(folder, "host-alias.conf"))

    def dials_gateway() -> bool:
        try:
            return settings.has_gateway(answers, tool.config(compose))
        except tool.UnknownError:
            # engine.py says that Compose does not answer.
            return bool(os.environ.get("LOCALDEV_HOST"))

    # Compose takes 100 ms to read its files.
    asked = Later(dials_gateway)
    return Project(folder, answers.ip, answers.label, answers.domain, answers.has_proxy, compose, asked)
