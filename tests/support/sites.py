"""What stack/ makes of a file routes, without Compose: for tests that import it."""

from pathlib import Path
from typing import Any

import compose
import routes
import settings
from urls import Site

CONF = "label=a.b\nip=10.254.254.254\ndomain=shop.localhost\nweb_port=8080\nhttps_port=8443\n"
DATABASES = "redis=redis://:dev@127.0.0.1:${REDIS_PORT:-6379}/0 mongodb=mongodb://dev:dev@127.0.0.1:${MONGODB_PORT:-27017}/?a=1&b=2"


def read_routes(folder: Path, text: str, domain: str = "shop.localhost") -> list[routes.Route]:
    """Return the routes of `text`."""
    (folder / "routes").write_bytes(text.encode())
    return routes.read(str(folder / "routes"), domain)


def read_settings(folder: Path, conf: str = CONF, databases: str = "") -> settings.Settings:
    """Return the settings of `conf`."""
    (folder / "host-alias.conf").write_bytes(f"{conf}databases={databases}\n".encode())
    return settings.read(str(folder / "host-alias.conf"))


def compose_config(answers: settings.Settings, **moved: int | str) -> dict[str, Any]:
    """Return what Compose would say of a stack with `answers`; `moved` are published ports by service, http and https."""
    ports = {"http": answers.web_port, "https": answers.https_port} | moved
    services: dict[str, Any] = {}
    if answers.has_proxy:
        services["proxy"] = {
            "environment": {"LOCALDEV_HTTP_PORT": str(ports["http"]), "LOCALDEV_HTTPS_PORT": str(ports["https"])},
            "ports": [
                {"target": ports[name], "published": str(ports[name]), "protocol": "tcp"} for name in ("http", "https")
            ],
        }
    for name, url in answers.databases.items():
        found = settings.PORT_OF_URL.search(url)
        usual = found[2] if found else "1"
        services[name] = {
            "ports": [{"target": int(usual), "published": str(moved.get(name, usual)), "protocol": "tcp"}]
        }
    address = "host-gateway" if moved.get("gateway") else answers.ip
    for name, service in services.items():
        service["extra_hosts"] = [f"host-alias={address}"]
        service["labels"] = {compose.OURS: name}
        service["networks"] = {"default": None}
    return {"name": "shop", "networks": {"default": {"name": "shop_default"}}, "services": services}


def site_of(
    folder: Path, text: str, *, conf: str = CONF, databases: str = "", has_https: bool = False, **moved: int | str
) -> Site:
    """Return the site of a file routes."""
    answers = read_settings(folder, conf, databases)
    ports = settings.published(answers, compose_config(answers, **moved))
    return Site(answers, read_routes(folder, text, answers.domain), ports, has_https)
