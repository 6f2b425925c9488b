# SPDX-License-Identifier: MIT
"""The one reader of the file routes: which host and path leads to which service."""

from __future__ import annotations

import re
from dataclasses import dataclass

from messages import FileStop

# The name by which containers reach the machine itself.
NATIVE = "host-alias"
LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"{LABEL}(?:[.]{LABEL})*")
PORT = re.compile("[1-9][0-9]{0,4}")


class RoutesError(FileStop):
    """The file has errors; the text is FILE:LINE: what is wrong, one line for each."""


@dataclass(frozen=True)
class Route:
    """One place of a line: a request for `host` and `path`, or for what is below `path`, goes to `port` of `upstream`."""

    line: int
    service: str
    upstream: str
    port: int
    host: str
    path: str

    @property
    def native(self) -> bool:
        """Whether the service runs on this machine, not in a container."""
        return self.upstream == NATIVE

    @property
    def target(self) -> tuple[str, int]:
        """Where the service listens."""
        return self.upstream, self.port


def is_host(text: str) -> bool:
    """Tell whether `text` can be the name of a host: https://www.rfc-editor.org/rfc/rfc1123#section-2.1, in lower case."""
    return len(text) <= 253 and bool(HOST.fullmatch(text))


def is_port(text: str) -> bool:
    """Tell whether `text` is a port as people write it, 1 to 65535."""
    return bool(PORT.fullmatch(text)) and int(text) <= 65535


def shown(text: str) -> str:
    """Return `text` as a message can have it: short, and without what a terminal would act on."""
    text = re.sub("[^ -~]", "?", text)
    return text if len(text) <= 60 else f"{text[:60]}..."


def read(file: str, domain: str) -> list[Route]:
    """Return the routes in `file`, in its order; `domain` is the project's own. Raises RoutesError, and OSError."""
    # Bytes, not letters: every word of this format is ASCII.
    with open(file, encoding="latin-1", newline="\n") as lines:
        text = lines.read()
    routes: list[Route] = []
    errors = []
    taken: dict[tuple[str, str], int] = {}
    known: dict[str, Route] = {}
    # Some editors on Windows begin a file with a byte order mark.
    for number, line in enumerate(text.removeprefix("\xef\xbb\xbf").split("\n"), 1):
        try:
            found = places(number, re.sub(r"(^|[ \t])#.*$", "", line.removesuffix("\r")), domain, known, taken)
        except ValueError as error:
            errors += [f"{file}:{number}: {reason}" for reason in error.args]
        else:
            routes += found
            known.update((route.service, known.get(route.service, route)) for route in found)
            taken.update(((route.host, route.path), number) for route in found)
    if errors:
        raise RoutesError(*errors)
    return routes


def places(
    number: int, line: str, domain: str, known: dict[str, Route], taken: dict[tuple[str, str], int]
) -> list[Route]:
    """Return the routes of one line. `known` and `taken` are the services and places of the lines above it.

    Raises ValueError with each reason.
    """
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line):
        raise ValueError("there is a control character; delete it")
    words = [word for word in re.split("[ \t]+", line) if word]
    if not words:
        return []
    service, target, wheres = words[0], "".join(words[1:2]), words[2:] or [f"{words[0]}."]
    upstream, colon, port = target.partition(":")
    if not colon:
        upstream, port = NATIVE, target
    if not re.fullmatch("[a-z][a-z0-9-]{0,62}", service):
        raise ValueError("a service is named with a-z, 0-9 and -, e.g. web")
    if not re.fullmatch("[a-z0-9][a-z0-9_.-]{0,62}", upstream):
        raise ValueError("a container is written as name:port, e.g. pgadmin:80")
    if upstream == "proxy":
        raise ValueError("proxy is this stack's own proxy: a request would never end. Write the port of a service")
    if not is_port(port):
        raise ValueError("after the service comes its port, 1 to 65535, or container:port")
    first = known.get(service)
    if first and first.target != (upstream, int(port)):
        is_now = f"service {service} is {first.upstream}:{first.port} on line {first.line}"
        raise ValueError(f"{is_now}; give this one another name")
    found: list[Route] = []
    errors = []
    for where in wheres:
        try:
            host, path = place(where, domain)
            here = (
                number if any((route.host, route.path) == (host, path) for route in found) else taken.get((host, path))
            )
            if here:
                raise ValueError(f"{shown(host + path)} is already on line {here}; remove one")
        except ValueError as error:
            errors += error.args
        else:
            found.append(Route(number, service, upstream, int(port), host, path))
    if errors:
        raise ValueError(*errors)
    return found


def place(where: str, domain: str) -> tuple[str, str]:
    """Return the host and the path that one place of a line means. Raises ValueError with the reason."""
    host, slash, rest = where.partition("/")
    host, path = host.lower(), slash + rest or "/"
    if not host:
        host = domain
    elif host.endswith("."):
        host += domain
    elif "." not in host:
        name = shown(host)
        hint = f"write {name}. for {name}.{domain}, or /{name} for a path"
        raise ValueError(f"{shown(where)} is neither a host nor a path: {hint}")
    if not is_host(host.removeprefix("*.")) or len(host) > 253:
        hint = "use letters, digits, - and dots, or *. for any one name in front"
        raise ValueError(f"{shown(where)} has no valid host name; {hint}")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", path) or re.search(r"/[.][.]?(/|\Z)", path):
        raise ValueError(f"{shown(where)} has no valid path; use letters, digits, . _ ~ - and single slashes")
    path = path.rstrip("/") or "/"
    if f"{path}/".startswith("/__localdev/"):
        raise ValueError(f"{shown(where)}: paths below /__localdev belong to the proxy; use another path")
    return host, path


def services(routes: list[Route]) -> dict[str, Route]:
    """Return each service with its first route, in the file's order."""
    found: dict[str, Route] = {}
    for route in routes:
        found.setdefault(route.service, route)
    return found


def hosts(routes: list[Route], domain: str) -> list[str]:
    """Return every host that leads to the proxy. The project's `domain` always does: the dashboard is there."""
    return list(dict.fromkeys([domain, *(route.host for route in routes)]))
