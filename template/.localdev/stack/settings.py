# SPDX-License-Identifier: MIT
"""The answers of this repo, as host-alias.conf has them: lines of the form key=value."""

from __future__ import annotations

import os


def services(folder: str) -> list[str]:
    """Return the services that the compose.yaml in `folder` brings: the proxy, then the databases."""
    with open(os.path.join(folder, "host-alias.conf"), encoding="utf-8", errors="replace") as file:
        answers = dict(line.strip().split("=", 1) for line in file if "=" in line and not line.startswith("#"))
    databases = [word.split("=", 1)[0] for word in answers["databases"].split()]
    return databases if answers["web_port"] == "none" else ["proxy", *databases]
