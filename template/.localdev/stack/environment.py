# SPDX-License-Identifier: MIT
"""The environment for native services: what `make dev-env` prints, for eval in sh, bash, zsh or direnv, and for fish's source."""

from __future__ import annotations

from settings import database_url
from urls import Site

# Each variable that says where to listen, with the programs that read it. HOST is none of them: zsh takes it for this
# machine's name in its prompt. Nor is PORT: two services would have one port.
LISTEN = {
    "HOST_ALIAS_IP": 'your own commands: where to listen so that containers reach you, as in --host "$HOST_ALIAS_IP"',
    "BINDING": "Rails: bin/rails server",
    "NUXT_HOST": "Nuxt: nuxt dev",
    "FLASK_RUN_HOST": "Flask: flask run",
    "UVICORN_HOST": "uvicorn",
    "GRANIAN_HOST": "granian",
    "LITESTAR_HOST": "Litestar: litestar run",
    "SERVER_HOST": "Laravel: php artisan serve",
    "SERVER_ADDRESS": "Spring Boot",
}
# What has servers believe the proxy's X-Forwarded-*, so that their URLs begin with https:// where the browser's do.
BEHIND_A_PROXY = [
    ("uvicorn and gunicorn: the proxy may say who asks, and by which scheme", "FORWARDED_ALLOW_IPS", "*"),
    ("Spring Boot: the same", "SERVER_FORWARD_HEADERS_STRATEGY", "framework"),
    ("SvelteKit's server for Node: the same", "PROTOCOL_HEADER", "x-forwarded-proto"),
    ("Create React App: a page's WebSocket goes where the page came from", "WDS_SOCKET_HOST", "0.0.0.0"),
    ("", "WDS_SOCKET_PORT", "0"),
]


def variables(site: Site) -> list[tuple[str, str, str]]:
    """Return each variable with who reads it, '' for the same as the one before, and its value."""
    found = [(reader, name, site.listen) for name, reader in LISTEN.items()]
    found += BEHIND_A_PROXY if site.settings.has_proxy else []
    found += [
        (
            "Rails, in development: the names by which services are asked for",
            "RAILS_DEVELOPMENT_HOSTS",
            ",".join(allowed_hosts(site, site.settings.domain)),
        ),
        (
            "Vite: one more domain, as some versions accept only one; .localhost is always allowed",
            "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS",
            widest_domain(site),
        ),
        (
            "your own settings: Django's ALLOWED_HOSTS, Next's allowedDevOrigins, webpack's and Vite's allowedHosts",
            "PROXY_HOSTS",
            ",".join(allowed_hosts(site, "")),
        ),
    ]
    # Rails in RAILS_ENV=test, Django and Prisma prefer DATABASE_URL to their own settings: a test run would empty the
    # database of development. https://guides.rubyonrails.org/configuring.html#configuring-a-database
    reader = "your own settings; there is no DATABASE_URL, because test runs would use it, too"
    for name in site.settings.databases:
        found.append((reader, f"{name.upper()}_URL", database_url(site.settings, site.ports, name)))
        reader = ""
    return found


def lines(found: list[tuple[str, str, str]]) -> str:
    """Return one `export` for each variable of `found`, below a comment that says who reads it."""
    return "".join(f"{reader and f'# {reader}{chr(10)}'}{exported(name, value)}\n" for reader, name, value in found)


def exported(name: str, value: str) -> str:
    """Return the line that exports `value`. In single quotes only the quote itself has a meaning."""
    return "export {}='{}'".format(name, value.replace("'", "'\\''"))


def allowed_hosts(site: Site, domain: str) -> list[str]:
    """Return every host by which services are asked for. A dot in front stands for any one name.

    Hosts on `domain` or right below it are one entry, .DOMAIN; '' for none.
    """
    # By this name containers ask a service directly.
    found = [f".{domain}", "host-alias"] if domain else ["host-alias"]
    if not site.settings.has_proxy:
        return ["host-alias"]
    return [
        *found,
        *(host.lstrip("*") for host in site.hosts if domain not in (host, host.partition(".")[2]) or not domain),
    ]


def widest_domain(site: Site) -> str:
    """Return the domain with the most hosts, of those that are not below .localhost, with all that is below it."""
    best, below = "host-alias", {"host-alias": 0}
    for host in site.hosts if site.settings.has_proxy else []:
        if host.endswith(".localhost"):
            continue
        labels = host.removeprefix("*.").split(".")
        # Not a whole top-level domain.
        for first in range(len(labels) - 1):
            domain = "." + ".".join(labels[first:])
            below[domain] = below.get(domain, 0) + 1
            if below[domain] > below[best]:
                best = domain
    return best
