# SPDX-License-Identifier: MIT
"""What of nginx's configuration follows from the routes; the rest of it is in .localdev/proxy."""

from __future__ import annotations

from collections.abc import Iterator

from routes import Route
from urls import Site

# Connections stay open for the next request, but for less time than any development server keeps them (the shortest
# known is 2 s): otherwise a request meets a connection that the service is just closing. There is room for more than any
# service has at once: beyond it, each request would open a connection of its own.
KEEPALIVE = "    keepalive 512;\n    keepalive_timeout 1s;\n"
# The folder of the configuration in use; proxy.py writes the folder's real name instead.
LIVE = "/srv/localdev/live"


def configuration(site: Site) -> str:
    """Return maps, an upstream for each native service, and a server for each host."""
    lines = []
    if site.has_https:
        lines += [f"ssl_certificate {LIVE}/tls.pem;", f"ssl_certificate_key {LIVE}/tls.pem;", "http2 on;"]
    # Nothing listens on port 1 of a database, so the answer says only whether the container has an address.
    databases = {name: f"http://{name}:1" for name in site.settings.databases}
    for variable, urls in (
        ("$probed", {name: upstream_url(route) for name, route in site.services.items()}),
        ("$database", databases),
    ):
        lines += [
            f"map $asked {variable} {{",
            "    volatile;",
            *(f"    {name} {url};" for name, url in urls.items()),
            "}",
        ]
    for name, route in site.services.items():
        if route.native:
            lines += [f"upstream {name} {{", f"    server {route.upstream}:{route.port};", f"{KEEPALIVE}}}"]
    hosts: dict[str, list[Route]] = {}
    for route in site.routes:
        hosts.setdefault(route.host, []).append(route)
    # The first server gets the hosts that no other has.
    lines += server(site, "_", [])
    for host in hosts:
        lines += server(site, host, with_wildcard(host, hosts))
    return "\n".join(lines) + "\n"


def with_wildcard(host: str, hosts: dict[str, list[Route]]) -> list[Route]:
    """Return the routes of `host`, and those of the wildcard above it where it says nothing else."""
    wildcard = f"*.{host.partition('.')[2]}"
    own = {route.path for route in hosts[host]}
    return hosts[host] + [route for route in hosts.get(wildcard, []) if wildcard != host and route.path not in own]


def server(site: Site, host: str, routes: list[Route]) -> Iterator[str]:
    """Yield the server of `host`."""
    yield "server {"
    yield f"    listen {site.ports.http};"
    if site.has_https:
        yield f"    listen {site.ports.https} ssl;"
    yield f"    server_name {server_name(host)};"
    yield f"    include {LIVE}/server.conf;"
    for route in routes:
        # A path is two locations, itself and what is below it: a single one would match /apix, too.
        if route.path != "/":
            yield from location(site, f"= {route.path}", route)
        yield from location(site, route.path.rstrip("/") + "/", route)
    if "/" not in {route.path for route in routes}:
        yield from (
            "    location / {",
            "        error_page 404 /__localdev/page/no-route.$page;",
            "        return 404;",
            "    }",
        )
    yield "}"


def server_name(host: str) -> str:
    """Return nginx's name for `host`. A wildcard is exactly one name, as in certificates; nginx's own is any number."""
    return "~^[^.]+{}$".format(host[1:].replace(".", "[.]")) if host.startswith("*") else host


def location(site: Site, match: str, route: Route) -> Iterator[str]:
    """Yield what goes to the service of `route`."""
    yield f"    location {match} {{"
    yield f"        set $service {route.service};"
    yield f"        set $target {site.address_of(route)};"
    yield f"        set $port {route.port};"
    yield f'        set $container "{"" if route.native else route.upstream}";'
    # A variable makes nginx ask for a container's address with each request: the container may start later, or again.
    if route.native:
        yield f"        proxy_pass {upstream_url(route)};"
    else:
        yield f"        set $upstream {upstream_url(route)};"
        yield "        proxy_pass $upstream;"
    # On the way to a page every request becomes a GET.
    yield "        set $method $request_method;"
    # Our page is only for a service that cannot be reached. What a service answers itself, 502 included, is passed on.
    yield "        error_page 502 504 /__localdev/page/down.$page;"
    yield "    }"


def upstream_url(route: Route) -> str:
    """Return where nginx finds the service: its upstream, which keeps connections, or its container."""
    return f"http://{route.service if route.native else f'{route.upstream}:{route.port}'}"
