# SPDX-License-Identifier: MIT
"""The proxy's own pages, as files in which nginx's server-side includes fill in what is known only when a page is asked for.

HTML has sources in proxy/pages: a @word@ in them is replaced by what is here. Text and JSON are short, and made here.
https://nginx.org/en/docs/http/ngx_http_ssi_module.html
"""

from __future__ import annotations

import json
import os
import re
from html import escape

from messages import named
from settings import database_url
from urls import Site

DOWN = "{service} does not answer at {target}"
NO_ROUTE = "no route leads here. To add one, edit .localdev/routes, then: make dev-reload"
NO_SERVICE = "there are no services yet. To add one, edit .localdev/routes, then: make dev-reload"
DOCTOR = "make dev-doctor"
NO_ALIAS = 'This machine does not have the alias IP {ip}. This adds it: <code class="copy">make dev-alias</code>'


def this(name: str) -> str:
    """Return the include that prints a variable of the request."""
    return f'<!--# echo var="{name}" -->'


def is_up(number: int, service: str) -> str:
    """Return the includes that print a service's state; `number` is its own on the page.

    A service that answers the probe, a HEAD, leaves no text. A page's subrequests share their variables.
    """
    ask = f'<!--# include virtual="/__localdev/probe/{service}" set="answer{number}" -->'
    return f'{ask}<!--# if expr="$answer{number}" -->{this(f"answer{number}")}<!--# else -->up<!--# endif -->'


def is_running(database: str) -> str:
    """Return the include that prints a database's state."""
    return f'<!--# include virtual="/__localdev/running/{database}" -->'


def made(site: Site, folder: str) -> dict[str, str]:
    """Return every page by its name; `folder` has the sources of the HTML. Raises OSError."""
    pages = {"up.txt": is_up(0, "${service}"), "down.txt": down_text(site), "down.json": down_json(site)}
    pages |= {"dashboard.txt": dashboard_text(site), "dashboard.json": dashboard_json(site)}
    pages |= {"no-route.txt": no_route_text(site), "no-route.json": no_route_json(site)}
    words = words_of(site)
    frame = source(folder, "frame.html")
    for name in ("dashboard", "down", "no-route"):
        head, _, body = source(folder, f"{name}.html").partition("\n<body")
        page = frame.replace("@head@", head).replace("@body@", "<body" + body.rstrip("\n"))
        pages[f"{name}.html"] = re.sub("@([a-z-]+)@", lambda found: words[found[1]], page)
    return {name: named(page) for name, page in pages.items()}


def source(folder: str, name: str) -> str:
    """Return the text of a source."""
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


def rows(site: Site) -> list[tuple[str, str]]:
    """Return each service and URL, in the order of routes."""
    return [(route.service, url) for route in site.routes for url in site.urls(route.host, route.path)]


def urls_of(site: Site, service: str) -> list[str]:
    """Return the URLs of `service`."""
    return [url for route in site.routes if route.service == service for url in site.urls(route.host, route.path)]


def databases(site: Site) -> dict[str, str]:
    """Return the URL of each database, without its user and password: whoever gets a page gets those, too."""
    urls = {name: database_url(site.settings, site.ports, name) for name in site.settings.databases}
    return {name: re.sub("//[^/@]*@", "//", url) for name, url in urls.items()}


def down_text(site: Site) -> str:
    """Return the page of a service that is down, for terminals."""
    said = DOWN.format(service=this("service"), target=this("target"))
    return f"localdev: {said} ({this('reason')}). To see why: {DOCTOR}\nAll services: {site.dashboard}\n"


def down_json(site: Site) -> str:
    """Return the page of a service that is down, for programs."""
    page = {name: this(name) for name in ("service", "target", "reason")}
    message = DOWN.format(**page)
    return printed({"error": "down", **page, "message": message, "fix": DOCTOR, "dashboard": site.dashboard})


def dashboard_text(site: Site) -> str:
    """Return the page of all services, for terminals: the state first, as its width is not known."""
    width = max((len(name) for name in [*site.services, *site.settings.databases]), default=0)
    targets = max((len(site.address_of(route)) for route in site.services.values()), default=0)
    lines = []
    for number, (name, route) in enumerate(site.services.items()):
        for url in urls_of(site, name):
            lines.append(f"{is_up(number, name)}\t{name:{width}}  {site.address_of(route):{targets}}  {url}")
    lines = lines or [f"localdev: {NO_SERVICE}"]
    lines += [f"{is_running(name)}\t{name:{width}}  {url}" for name, url in databases(site).items()]
    return "\n".join(lines) + "\n"


def dashboard_json(site: Site) -> str:
    """Return the page of all services, for programs and for the script of the HTML."""
    found = [
        {"name": name, "target": site.address_of(route), "state": is_up(number, name), "urls": urls_of(site, name)}
        for number, (name, route) in enumerate(site.services.items())
    ]
    stores = [{"name": name, "url": url, "state": is_running(name)} for name, url in databases(site).items()]
    return printed({"domain": site.settings.domain, "services": found, "databases": stores})


def no_route_text(site: Site) -> str:
    """Return the page of what is in no route, for terminals."""
    width = max((len(name) for name in site.services), default=0)
    lines = [f"localdev: {NO_ROUTE}", *(f"{name:{width}}  {url}" for name, url in rows(site))]
    return "\n".join([*lines, f"All services: {site.dashboard}"]) + "\n"


def no_route_json(site: Site) -> str:
    """Return the page of what is in no route, for programs."""
    found = [{"service": name, "url": url} for name, url in rows(site)]
    return printed({"error": "no-route", "message": NO_ROUTE, "routes": found, "dashboard": site.dashboard})


def printed(page: dict[str, object]) -> str:
    """Return `page` as JSON; nginx looks for its includes in it, so their quotes stay as they are."""
    text = json.dumps(page, ensure_ascii=False, indent=2)
    return re.sub(r"<!--#.*?-->", lambda found: found[0].replace('\\"', '"'), text) + "\n"


def words_of(site: Site) -> dict[str, str]:
    """Return what replaces each @word@ in the HTML."""
    is_alias = not site.ports.has_gateway
    to = f"to {site.settings.ip} port" if is_alias else "to any port"
    services = []
    for number, (name, route) in enumerate(site.services.items()):
        links = "\n".join(f"<li>{link(url)}</li>" for url in urls_of(site, name))
        about = f'<strong>{name}</strong> <code class="target">{escape(site.address_of(route))}</code>'
        services.append(f'<li>{about} {state_of(name, is_up(number, name))}\n<ul class="to">\n{links}\n</ul>\n</li>')
    stores = [
        f'<li><strong>{name}</strong> <span class="to"><code class="copy">{escape(url)}</code></span> '
        f"{state_of(name, is_running(name))}</li>"
        for name, url in databases(site).items()
    ]
    places = [f'<li><strong>{name}</strong> <span class="to">{link(url)}</span></li>' for name, url in rows(site)]
    return {
        "domain": site.settings.domain,
        "listen": site.listen,
        "or-all": f"on {site.settings.ip} or on all addresses" if is_alias else "on all addresses",
        "firewall": f"sudo ufw allow from 172.16.0.0/12 {to} {this('port')}",
        "alias-item": f"<li>{NO_ALIAS.format(ip=site.settings.ip)}</li>" if is_alias else "",
        "none": " hidden" if services else "",
        "some": "" if services else " hidden",
        "with-databases": "" if stores else " hidden",
        "services": "\n".join(services),
        "databases": "\n".join(stores),
        "routes": "\n".join(places),
        **{f"this-{name}": this(name) for name in ("service", "target", "port", "container", "reason", "method")},
    }


def state_of(name: str, state: str) -> str:
    """Return the HTML of the state of `name`, which the page's script keeps up to date."""
    return f'<span class="state" data-name="{name}">{state}</span>'


def link(url: str) -> str:
    """Return the HTML of `url`. A wildcard is no address that a browser can open."""
    text = escape(url)
    return text if "*" in url else f'<a href="{text}">{text}</a>'
