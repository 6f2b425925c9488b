# SPDX-License-Identifier: MIT
"""What of nginx's configuration follows from the routes; the rest of it is in .localdev/proxy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from routes import Route
from urls import Site

# Connections stay open for the next request, but for less time than any development server keeps them (the shortest
# known is 2 s): otherwise a request meets a connection that the service is just closing. There is room for more than any
# service has at once: beyond it, each request would open a connection of its own.
KEEPALIVE = "    keepalive 512;\n    keepalive_timeout 1s;\n"
# The project's hosts are those of routes, those below its domain, and this machine's own names: no web page gets one of them.
OWN = ("localhost", "127.0.0.1", "[::1]")
STRANGER = "localdev: .localdev/routes does not have this host. Which it has: make dev-urls"
# What only a proxy may say, as words. X-Forwarded-Prefix and the like are read by some servers, whoever sends them.
FORGED = [
    *(["X", "Forwarded", word] for word in ["For", "Proto", "Host", "Port", "Ssl", "Scheme", "Prefix", "Server"]),
    *(["X", *words.split()] for words in ("Real IP", "Client IP", "Original URL", "Rewrite URL")),
    ["Client", "IP"], ["True", "Client", "IP"], ["Forwarded"], ["Proxy"],
]  # fmt: skip
# Those that server.conf sets.
SET = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP")
# The folder of the configuration in use; proxy.py writes the folder's real name instead.
LIVE = "/srv/localdev/live"


def configuration(site: Site, has_snippets: bool = False) -> str:
    """Return maps, an upstream for each native service, and a server for each host; `has_snippets`: some include a user's."""
    lines = []
    if site.has_https:
        lines += [f"ssl_certificate {LIVE}/tls.pem;", f"ssl_certificate_key {LIVE}/tls.pem;", "http2 on;"]
    # Nothing listens on port 1 of a database, so the answer says only whether the container has an address.
    databases = {name: f"http://{name}:1" for name in site.settings.databases}
    probed = {name: upstream_url(route) for name, route in site.services.items()}
    hosts_of = {name: site.urls(route.host.replace("*", "any"), "")[-1][7:] for name, route in site.services.items()}
    lines += [*asked("probed", probed), *asked("probe_host", hosts_of), *asked("database", databases)]
    for name, route in site.services.items():
        if route.native:
            lines += [f"upstream {name} {{", f"    server {route.upstream}:{route.port};", f"{KEEPALIVE}}}"]
    hosts: dict[str, list[Route]] = {}
    for route in site.routes:
        hosts.setdefault(route.host, []).append(route)
    # The first server gets the hosts that no other has. A web page that leads a name of its own to this machine reads
    # the answer (DNS rebinding), so there is nothing in it.
    lines += ["server {", *listens(site), "    default_type text/plain;", f'    return 421 "{STRANGER}\\n";', "}"]
    for host in hosts:
        lines += server(site, [server_name(host)], with_wildcard(host, hosts), has_snippets)
    # The project's other names, last: nginx takes the first pattern that matches.
    own = [*([] if site.settings.domain in hosts else [site.settings.domain]), *OWN]
    lines += server(site, [*own, "~[.]{}$".format(site.settings.domain.replace(".", "[.]"))], [], has_snippets)
    return "\n".join(lines) + "\n"


def asked(variable: str, values: dict[str, str]) -> list[str]:
    """Return the map that gives `variable` its value for the service or database that a page asks for."""
    return [f"map $asked ${variable} {{", "    volatile;", *(f"    {key} {values[key]};" for key in values), "}"]


def forged() -> str:
    """Return what takes away the headers that only a proxy may set, in every spelling.

    Rack, WSGI, CGI and PHP make one name of `-`, `_` and `.`: X.Forwarded_For is HTTP_X_FORWARDED_FOR, too.
    """
    names = [
        "".join(parts)
        for first, *words in FORGED
        for parts in itertools.product([first], *[[mark + word for mark in "-_."] for word in words])
    ]
    return "".join(f'proxy_set_header {name} "";\n' for name in names if name not in SET)


def with_wildcard(host: str, hosts: dict[str, list[Route]]) -> list[Route]:
    """Return the routes of `host`, and those of the wildcard above it where it says nothing else."""
    wildcard = f"*.{host.partition('.')[2]}"
    own = {route.path for route in hosts[host]}
    return hosts[host] + [route for route in hosts.get(wildcard, []) if wildcard != host and route.path not in own]


def listens(site: Site) -> list[str]:
    """Return where a server listens."""
    return [f"    listen {site.ports.http};", *([f"    listen {site.ports.https} ssl;"] if site.has_https else [])]


def server(site: Site, names: list[str], routes: list[Route], has_snippets: bool) -> Iterator[str]:
    """Yield the server of the hosts `names`."""
    yield "server {"
    yield from listens(site)
    yield f"    server_name {' '.join(names)};"
    if has_snippets:
        yield f"    include {LIVE}/headers.conf;"
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
