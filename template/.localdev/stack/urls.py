# SPDX-License-Identifier: MIT
"""Which URL leads to which service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routes import Route, hosts, services
from settings import Published, Settings


@dataclass(frozen=True)
class Site:
    """All that is served: what the files say, and the ports at which Compose publishes it."""

    settings: Settings
    routes: list[Route]
    ports: Published
    has_https: bool

    @property
    def hosts(self) -> list[str]:
        """Every host that leads to the proxy."""
        return hosts(self.routes, self.settings.domain)

    @property
    def services(self) -> dict[str, Route]:
        """Each service with its first route."""
        return services(self.routes)

    @property
    def listen(self) -> str:
        """The address where native services must listen.

        By the host gateway containers reach any address of the machine but its own loopback ones.
        """
        return "0.0.0.0" if self.ports.has_gateway else self.settings.ip

    @property
    def dashboard(self) -> str:
        """The URL of the page that has all services."""
        return self.urls(self.settings.domain, "/__localdev/")[0]

    def address_of(self, route: Route) -> str:
        """Return where people look for a service: their own machine by its alias IP, a container by its name."""
        is_alias = route.native and not self.ports.has_gateway
        return f"{self.settings.ip if is_alias else route.upstream}:{route.port}"

    def urls(self, host: str, path: str) -> list[str]:
        """Return the URLs of `path`, that of HTTPS first, as browsers show them: without the usual port."""
        found = [f"http://{host}{'' if self.ports.http == 80 else f':{self.ports.http}'}{path}"]
        if self.has_https:
            found.insert(0, f"https://{host}{'' if self.ports.https == 443 else f':{self.ports.https}'}{path}")
        return found


def rows(site: Site) -> list[tuple[str, str, list[str]]]:
    """Return each route's service, where that is, and its URLs, HTTP's first: every tool takes it."""
    if not site.settings.has_proxy:
        places = [(route.service, site.address_of(route)) for route in site.routes]
        return [(service, address, [f"http://{address}/"]) for service, address in places]
    return [(route.service, site.address_of(route), site.urls(route.host, route.path)[::-1]) for route in site.routes]


def listed(site: Site) -> dict[str, Any]:
    """Return the routes for programs."""
    found = [{"service": service, "target": address, "urls": urls} for service, address, urls in rows(site)]
    return {"dashboard": site.dashboard if site.settings.has_proxy else None, "routes": found}


def table(site: Site) -> str:
    """Return a line for each route: its service, its URL, and where the service is; then the dashboard's."""
    found = rows(site)
    width = max((len(service) for service, _, _ in found), default=0)
    url_width = max((len(urls[0]) for _, _, urls in found), default=0)
    lines = []
    for service, address, urls in found:
        lines.append(f"{service:{width}}  {urls[0]:{url_width}}  {address}")
        lines += [f"{'':{width}}  {url}" for url in urls[1:]]
    if site.settings.has_proxy:
        lines.append(f"All of them, up or down: {site.dashboard}")
    return "".join(f"{line}\n" for line in lines)
