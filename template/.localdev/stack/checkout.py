# SPDX-License-Identifier: MIT
"""This checkout: its files, what Compose says of it, and what would harm it or others."""

from __future__ import annotations

import os
from typing import Any

import certificate
import compose
import owners
import ports
import proxy
import routes
import settings
import urls
from messages import Stop, say
from tools import Later

FOLDER = owners.FOLDER
NO_PROXY = 'this stack has no proxy. Add one: make dev-update ARGS="-d web_proxy=nginx"'


class Checkout:
    """Its files, and what Compose says of it; each is read only once."""

    def __init__(self, words: list[str], config: Later, containers: Later) -> None:
        """`words` is the command for Compose, which was asked for both already. Raises Stop, and OSError."""
        self.words, self._config, self._containers = words, config, containers
        self.engine = compose.engine_of(words)
        self.settings = settings.read(f"{FOLDER}/host-alias.conf")
        self.routes = routes.read(f"{FOLDER}/routes", self.settings.domain)

    @property
    def config(self) -> dict[str, Any]:
        """The project as Compose sees it. Raises Stop."""
        try:
            return self._config.result()
        except compose.UnknownError as error:
            hint = f"`{error}` prints no JSON. Install Docker Compose 2.23.1 or later"
            raise Stop(compose.failure(self.words, hint)) from error

    def containers(self) -> list[compose.Container]:
        """Return the engine's containers before anything is changed. Raises compose.UnknownError."""
        return self._containers.result()

    def containers_now(self) -> list[compose.Container]:
        """Return this project's containers as they are now. Raises compose.UnknownError."""
        return compose.of_project(self.config, compose.containers(self.words))

    def site(self) -> urls.Site:
        """Return all that is served. Raises Stop."""
        # A stack without containers publishes nothing.
        config = self.config if self.settings.services else {}
        lost = list(owners.missing(config, os.getcwd(), self.settings.services)) if config else []
        if lost:
            raise Stop(*lost)
        has_https = self.settings.has_proxy and os.path.exists(certificate.place(os.curdir))
        return urls.Site(self.settings, self.routes, settings.published(self.settings, config), has_https)

    def configuration(self, site: urls.Site) -> proxy.Configuration:
        """Return the proxy's configuration for `site`; name the hosts that its certificate does not have."""
        stored = certificate.read(os.curdir)
        for host in certificate.uncertified(site.hosts, stored) if stored else []:
            say(f"the certificate does not have {host}. Run: make dev-tls")
        return proxy.Configuration(site, FOLDER, stored)

    def need_proxy(self) -> None:
        """Raise Stop where this stack has no proxy."""
        if not self.settings.has_proxy:
            raise Stop(NO_PROXY)

    def may_start(self, services: list[str]) -> bool:
        """Refuse where a start would harm what is not this checkout's, or cannot work. Tell whether all is known."""
        refusals = list(owners.conflicts(self.config))
        found = None
        if not refusals:
            try:
                found = self.containers()
                refusals += self.elsewhere(found)
                names = compose.names_in_networks(self.words, owners.in_our_networks(self.config, found))
                refusals += owners.strangers(self.config, found, names)
            except compose.UnknownError:
                pass
        # A service of a profile that is off does not start.
        if not services and any(service.get("profiles") for service in self.config["services"].values()):
            services = compose.active_services(self.words)
        refusals += ports.busy(self.config, services, found)
        if refusals:
            raise Stop(*refusals)
        return found is not None

    def elsewhere(self, found: list[compose.Container]) -> list[owners.Refusal]:
        """Return why a command would harm the containers of another folder."""
        named = compose.files_are_named(self.words)
        return list(owners.elsewhere(self.config, found, os.getcwd(), named, self.words))

    def refuse_elsewhere(self) -> None:
        """Raise Stop where the containers of this project belong to another folder; nobody knows without an engine."""
        try:
            refusals = self.elsewhere(self.containers())
        except compose.UnknownError:
            return
        if refusals:
            raise Stop(*refusals)
