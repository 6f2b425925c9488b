"""A `docker` that prints what a test says Compose and the engine would, and writes down what changes something."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import settings
from sites import compose_config

# What the fake says that Compose publishes: on this machine nobody has these.
PORTS = {"http": 18090, "https": 18453}


class FakeDocker:
    """A folder of commands before all others in PATH; `says` tells what `docker` prints, `calls` returns what was asked of it."""

    def __init__(self, folder: Path, name: str = "docker") -> None:
        """Make it in `folder`; `name` is the command."""
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(exist_ok=True)
        self.write(
            name,
            f"""case "$*" in
*"config --format json") cat {folder}/config ;;
"ps --all "*) cat {folder}/containers ;;
"volume ls --quiet") cat {folder}/volumes ;;
inspect*) echo '[]' ;;
*"config --services" | *version* | *"config --quiet" | *"ps --quiet") ;;
*) printf '%s\\n' "$*" >>{folder}/calls ;;
esac
""",
        )
        self.says({"name": "shop", "services": {}}, [], [])

    def write(self, name: str, text: str) -> None:
        """Put a shell script into the folder of commands."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}")
        (self.bin / name).chmod(0o755)

    def says(self, config: dict[str, Any], containers: list[list[str]], volumes: list[str]) -> None:
        """Have `docker` print these; each container is a row of compose.containers."""
        (self.folder / "config").write_text(json.dumps(config))
        (self.folder / "containers").write_text("".join(json.dumps(row) + "\n" for row in containers))
        (self.folder / "volumes").write_text("".join(f"{name}\n" for name in volumes))

    def calls(self) -> list[str]:
        """Return what `docker` was called for since the last time."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


class Repo(FakeDocker):
    """A repo in which make's targets have that `docker`. No alias is needed: LOCALDEV_HOST is host-gateway."""

    def __init__(self, here: Path, folder: Path, clean_env: dict[str, str]) -> None:
        """`here` is the repo."""
        super().__init__(folder)
        self.here = here
        path = f"{self.bin}:{os.environ['PATH']}"
        self.answers = settings.read(str(here / ".localdev/host-alias.conf"))
        self.says(compose_config(self.answers, **PORTS), [], [])
        self.env = clean_env | {"PATH": path, "LOCALDEV_HOST": "host-gateway", "XDG_STATE_HOME": str(folder / "state")}

    def make(self, *words: str, program: str = "make", **env: str) -> subprocess.CompletedProcess[str]:
        """Run make without a terminal."""
        return subprocess.run(
            [program, *words], cwd=self.here, env=self.env | env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            start_new_session=True, check=False,
        )  # fmt: skip
