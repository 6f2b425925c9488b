"""What the user's own files lack or say twice: an include of ours, a service, a volume or a name that we have, too."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from repository import COMPOSE_FILES, MAKEFILES, OUR_COMPOSE, SOURCE, decoded, first_file, mapping

# template/compose.yaml.jinja without its comments.
STUB = r'name: "[^"]*"\n+include:\n  - [.]localdev/compose[.]yaml\s*'


def missing_includes(root: Path) -> list[str]:
    """Return one line for each of the user's own files that does not include ours yet: the line to add to it."""
    lines = []
    makefile = first_file(root, MAKEFILES)
    if makefile and not re.search(r"^-?include\s.*[.]localdev/localdev\.mk", decoded(makefile), re.M):
        lines.append(f"Add to {makefile.name}:  include .localdev/localdev.mk")
    compose = first_file(root, COMPOSE_FILES)
    if compose and OUR_COMPOSE not in decoded(compose):
        lines.append(f"Add to {compose.name}:  include: [{OUR_COMPOSE}]")
    return lines


def has_only_ours(root: Path) -> bool:
    """Tell whether Compose reads nothing here but what this template wrote, so that no name can clash.

    Compose itself needs a tenth of a second to say so, which is most of the time of a first copy's hook.
    """
    steered = any(name.startswith(("COMPOSE_", "LOCALDEV_COMPOSE")) for name in os.environ)
    if steered or (root / ".env").exists() or any(root.glob("*compose.override.y*ml")):
        return False
    file = first_file(root, COMPOSE_FILES)
    return bool(file) and bool(re.fullmatch(STUB, re.sub("(?m)^#.*\n?", "", decoded(file))))


def service_clashes(root: Path) -> list[str]:
    """Return one line for each service name that the repo's own Compose file takes from ours: Compose refuses both."""
    compose = first_file(root, COMPOSE_FILES)
    ours = mapping(decoded(root / OUR_COMPOSE)).get("services") or {}
    theirs = mapping(decoded(compose)).get("services") if compose else None
    return [
        f"The service {name} is in {compose.name} and in {OUR_COMPOSE}: rename yours in {compose.name}"
        for name in sorted(set(ours) & set(theirs or {}))
        if compose
    ]


def name_clashes() -> list[str]:
    """Return one line for each service of the user's that has a volume or a name of ours, as Compose reads the files here.

    Without Compose, or where a file has an error, nobody knows: `make dev-up` asks again before it starts anything.
    """
    # `make dev-up` asks the same modules. These are the template's: the repo's own copy is the user's.
    sys.dont_write_bytecode = True
    sys.path.append(str(SOURCE / "template/.localdev/stack"))
    import compose
    import owners

    words = shlex.split(os.environ.get("LOCALDEV_COMPOSE", "")) or ["docker", "compose"]
    try:
        config = compose.config(words)
        if not owners.our_services(config):
            ours = compose.config([*words, "-p", config["name"], "-f", f"{owners.FOLDER}/compose.yaml"])
            for part in ("services", "volumes", "networks"):
                config[part] = {**(config.get(part) or {}), **(ours.get(part) or {})}
    except (compose.UnknownError, ValueError):
        return []
    return [str(refusal) for refusal in owners.conflicts(config)]
