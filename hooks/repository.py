"""What the hook reads of the user's repo: its files, and what git knows about them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
ROUTES = ".localdev/routes"
OUR_COMPOSE = ".localdev/compose.yaml"
SNIPPETS = ".localdev/proxy/custom/"


def git(root: Path, *arguments: str, stdin: str = "") -> str:
    """Return what git prints for `arguments` in `root`; "" where there is no git, no repository or nothing to print."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, input=stdin.encode(), capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def decoded(file: Path) -> str:
    """Return the text of `file`, whatever bytes are in it."""
    return file.read_bytes().decode(errors="replace")


def mapping(text: str) -> dict:
    """Return the YAML mapping in `text`, {} when it is something else: a user's file may be broken or half merged."""
    import yaml  # a fifth of the hook's time, and a first copy does not need it

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def some(names: Iterable[str]) -> str:
    """Return `names` as part of a line: all when they are few, else the first three and how many more."""
    first, more = sorted(names)[:4], len(set(names)) - 3
    return ", ".join(first) if more <= 1 else f"{', '.join(first[:3])} and {more} more"


def generated(root: Path, answers_file: str) -> list[str]:
    """Return the files of the repo that the template has, too: what an update may write or delete."""
    folder = SOURCE / "template"
    names = (str(path.relative_to(folder)).removesuffix(".jinja") for path in folder.rglob("*"))
    names = (name.replace("{{ _copier_conf.answers_file }}", answers_file) for name in names)
    return sorted(name for name in names if (root / name).is_file())


def first_file(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of `names` that is a file in `root`, compared as written even on a case-insensitive disk."""
    present = {path.name for path in root.iterdir() if path.is_file()}
    return next((root / name for name in names if name in present), None)
