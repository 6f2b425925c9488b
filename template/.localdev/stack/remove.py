# SPDX-License-Identifier: MIT
"""Stops the stack; deletes data only where it is known whose it is, and somebody agreed."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import compose
import owners
import root
import start
from messages import Stop, say


def deletes_volumes(arguments: list[str]) -> bool:
    """Tell whether `docker compose down` would delete volumes: --volumes, --volumes=true, -v, also in -tv or -vt3."""
    return any(re.match(r"--volumes(=|\Z)|-[a-z]*v", word) for word in arguments)


def data_in(config: dict[str, Any], found: list[compose.Container], volumes: frozenset[str]) -> list[str]:
    """Return what `docker compose down --volumes` deletes: declared volumes, and unnamed ones by their container."""
    declared = {volume["name"] for volume in (config.get("volumes") or {}).values() if not volume.get("external")}
    unnamed = {
        f"the unnamed volume of {container.name}"
        for container in found
        if container.project == config["name"] and any(re.fullmatch("[0-9a-f]{64}", name) for name in container.mounts)
    }
    # The proxy's is no data: make dev-up fills it again.
    return sorted((declared & volumes) - {f"{config['name']}_localdev-proxy"}) + sorted(unnamed)


def down(words: list[str], arguments: list[str]) -> int:
    """Stop the stack, with the data only where it is known whose it is, and somebody agreed."""
    stop = [*words, "down", *(word for word in arguments if word != "--yes")]
    try:
        config, found = compose.config(words), compose.containers(words)
        refusals = list(owners.elsewhere(config, found, os.getcwd(), compose.files_are_named(words), words))
        if refusals:
            raise Stop(*refusals)
        names = data_in(config, found, compose.volumes(words)) if deletes_volumes(arguments) else []
    except compose.UnknownError as error:
        if deletes_volumes(arguments):
            text = f"nothing was deleted: whose data it is cannot be known, as `{error}` fails. Without a check:"
            raise Stop(f"{text} {' '.join(stop)}") from error
        names = []
    if names:
        say(f"this deletes all data in {', '.join(names)}")
        if "--yes" not in arguments:
            if not root.can_ask():
                text = "nobody can be asked here, so nothing was deleted. To delete it:"
                raise Stop(f"{text} make dev-down ARGS='--volumes --yes'", code=4)
            if not root.ask("Delete it for good?"):
                raise Stop("nothing was stopped, nothing was deleted")
    try:
        code = subprocess.run(stop, check=False).returncode
    except OSError:
        code = 1
    if code:
        raise Stop(start.failure(words, "the stack did not stop (the message is above)"))
    return 0
