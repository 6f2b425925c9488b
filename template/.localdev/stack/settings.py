# SPDX-License-Identifier: MIT
"""The one reader of host-alias.conf, the answers of this repo, and of the ports that Compose publishes for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from messages import FileStop, Stop
from routes import NATIVE, is_host, is_port, shown

# ${NAME:-NUMBER} in the URL of a database: its port, which Compose reads in the same words.
PORT_OF_URL = re.compile(r"[$][{]([A-Z_]+):-([0-9]+)[}]")


class SettingsError(FileStop):
    """host-alias.conf says what cannot be; the text is FILE:LINE: what is wrong."""


class PortError(Stop):
    """Compose publishes no port that could be printed; the text is what is wrong, and what to do."""


@dataclass(frozen=True)
class Settings:
    """What host-alias.conf says. `databases` are URLs by name, each with ${NAME:-NUMBER} for its port."""

    label: str
    ip: str
    domain: str
    web_port: int | None
    https_port: int | None
    databases: dict[str, str]

    @property
    def has_proxy(self) -> bool:
        """Whether this stack has a web proxy."""
        return self.web_port is not None

    @property
    def services(self) -> list[str]:
        """The services that .localdev/compose.yaml brings: the proxy, then the databases."""
        return [*(["proxy"] if self.has_proxy else []), *self.databases]


@dataclass(frozen=True)
class Published:
    """What Compose makes of the settings: ports of 127.0.0.1, and whether containers dial Docker's host gateway.

    `http` and `https` are None in a stack without a proxy.
    """

    http: int | None
    https: int | None
    databases: dict[str, int]
    has_gateway: bool


def read(file: str) -> Settings:
    """Return the answers in `file`, lines of the form key=value. Raises SettingsError, and OSError."""
    answers: dict[str, str] = {}
    # A carriage return alone ends no line for host-alias, which reads this file, too.
    with open(file, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            name, equals, text = line.rstrip("\r\n").partition("=")
            if equals and not name.startswith("#"):
                problem = f"{name} is set twice. Keep one" if name in answers else problem_of(name, text)
                if problem:
                    raise SettingsError(f"{file}:{number}: {problem}", code=2)
                answers[name] = text
    try:
        ports = [None if answers[name] == "none" else int(answers[name]) for name in ("web_port", "https_port")]
        databases = dict(word.split("=", 1) for word in answers.get("databases", "").split(" ") if word)
        return Settings(answers["label"], answers["ip"], answers["domain"], *ports, databases)
    except KeyError as error:
        raise SettingsError(f"{file} has no line {error.args[0]}=. Restore it: git checkout {file}", code=2) from error


def problem_of(name: str, text: str) -> str | None:
    """Return what is wrong with the answer `text` to `name`, None where nothing is."""
    if name == "domain" and not is_host(text):
        return "domain must be a host name, e.g. my-app.localhost"
    if name == "ip" and not re.fullmatch("[0-9]+([.][0-9]+)+", text):
        return "ip must be an address, e.g. 10.254.254.254"
    if name in ("web_port", "https_port") and text != "none" and not is_port(text):
        return f"{name} must be a port, 1 to 65535, or none"
    # A backslash is in no URL, and fish reads it inside of quotes, too.
    if name == "databases" and not all(
        re.fullmatch(r"[a-z][a-z0-9-]*=[^\x00-\x1f\x7f\\]+", word) and "<!--#" not in word
        for word in text.split(" ")
        if word
    ):
        return "databases must be NAME=URL, by blanks; no URL has a backslash"
    return None


def published(settings: Settings, config: dict[str, Any]) -> Published:
    """Return the ports that Compose publishes; `config` is what compose.config returned.

    Raises PortError where a port is none that could be printed.
    """
    found = config.get("services") or {}

    def port_of(service: str, variable: str, target: str | None = None) -> int:
        ports = [port for port in (found.get(service) or {}).get("ports") or [] if port.get("protocol") != "udp"]
        texts = [str(port.get("published") or "") for port in ports if target in (None, str(port.get("target")))]
        if not texts:
            text = f"Compose publishes no port for {service}. Is .localdev/compose.yaml in your Compose file?"
            raise PortError(f"{text} Fix: include: [.localdev/compose.yaml]")
        if not is_port(texts[0]):
            text = f"{variable} is {shown(texts[0])}, which is no port"
            raise PortError(f"{text}. Give it a number from 1 to 65535")
        return int(texts[0])

    databases = {}
    for name, url in settings.databases.items():
        variable = PORT_OF_URL.search(url)
        if variable:
            databases[name] = port_of(name, variable[1])
    if not settings.has_proxy:
        return Published(None, None, databases, has_gateway(settings, config))
    variables = (found.get("proxy") or {}).get("environment") or {}
    http, https = (
        port_of("proxy", name, str(variables.get(name))) for name in ("LOCALDEV_HTTP_PORT", "LOCALDEV_HTTPS_PORT")
    )
    # Compose makes one of two that are the same.
    if http == https:
        raise PortError(f"LOCALDEV_HTTP_PORT and LOCALDEV_HTTPS_PORT are both {http}. Give one of them another number")
    return Published(http, https, databases, has_gateway(settings, config))


def has_gateway(settings: Settings, config: dict[str, Any]) -> bool:
    """Tell whether our containers dial Docker's host gateway, by LOCALDEV_HOST, and not the alias."""
    found = config.get("services") or {}
    dials = {entry for name in settings.services for entry in extra_hosts(found.get(name) or {})}
    return bool(dials) and f"{NATIVE}={settings.ip}" not in dials


def extra_hosts(service: dict[str, Any]) -> list[str]:
    """Return the entry of `service` that says where containers find the machine, as NAME=ADDRESS."""
    entries = service.get("extra_hosts") or []
    # A mapping, or NAME:ADDRESS, in older versions of Compose.
    words = [f"{name}={entries[name]}" for name in entries] if isinstance(entries, dict) else entries
    return [word.replace(":", "=", 1) for word in words if word.startswith((f"{NATIVE}=", f"{NATIVE}:"))]


def database_url(settings: Settings, ports: Published, name: str) -> str:
    """Return the URL of the database `name`, with the port that Compose publishes."""
    return PORT_OF_URL.sub(lambda found: str(ports.databases[name]), settings.databases[name])
