"""Runs once after every `copier copy` and `copier update`, in the user's repo: says how things stand and what to do next.

Read-only, never root, never a prompt. It always exits 0: a hook that fails makes Copier delete a new project, and leaves an
updated one half done. Copier runs it with its own Python, so Jinja2 and PyYAML are there.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")


def git(root: Path, *arguments: str) -> str:
    """Return what git prints for `arguments` in `root`; "" where there is no git, no repository or nothing to print."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def mapping(text: str) -> dict[str, Any]:
    """Return the YAML mapping in `text`, or {} when it is something else; a user's file may be broken or half merged."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def conflicts(root: Path) -> list[str]:
    """Return the files that Copier left with conflict markers: it exits 0 with them, so nobody else would say it."""
    return sorted({line.split("\t", 1)[1] for line in git(root, "ls-files", "-u", "--", ".").splitlines()})


def ignored(root: Path, answers_file: str) -> list[str]:
    """Return generated files that the repo's .gitignore matches: they reach no teammate, and an update deletes them."""
    paths = [str(path.relative_to(root)) for path in sorted((root / "localdev").rglob("*")) if path.is_file()]
    # --no-index: a file that is tracked already is matched, too, and an update deletes it all the same.
    matches = git(root, "check-ignore", "--no-index", "--verbose", "--", answers_file, *paths).splitlines()
    # What our own .gitignore names (the certificate) was not generated.
    return [match.split("\t", 1)[1] for match in matches if not match.startswith("localdev/.gitignore:")]


def first_file(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of `names` that is a file in `root`, compared as written even on a case-insensitive disk."""
    present = {path.name for path in root.iterdir() if path.is_file()}
    return next((root / name for name in names if name in present), None)


def missing_includes(root: Path) -> list[str]:
    """Return one line for each of the user's own files that does not include ours yet: the line to add to it."""
    lines = []
    makefile = first_file(root, MAKEFILES)
    if makefile and not re.search(r"^-?include\s.*localdev/localdev\.mk", makefile.read_text(errors="replace"), re.M):
        lines.append(f"Add to {makefile.name}:  include localdev/localdev.mk")
    compose = first_file(root, COMPOSE_FILES)
    if compose and "localdev/compose.yaml" not in compose.read_text(errors="replace"):
        lines.append(f"Add to {compose.name}:  include: [localdev/compose.yaml]")
    return lines


def service_clashes(root: Path) -> list[str]:
    """Return one line for each service name that the repo's own Compose file takes from ours: Compose refuses both."""
    compose = first_file(root, COMPOSE_FILES)
    ours = mapping((root / "localdev/compose.yaml").read_text()).get("services") or {}
    theirs = mapping(compose.read_text(errors="replace")).get("services") if compose else None
    return [
        f"The service {name} is in {compose.name} and in localdev/compose.yaml: rename yours in {compose.name}"
        for name in sorted(set(ours) & set(theirs or {}))
        if compose
    ]


def alias_change(root: Path, answers_file: str) -> str:
    """Return what every machine has to do after label or IP changed with this update, or ""."""
    before = mapping(git(root, "show", f"HEAD:./{answers_file}"))
    now = mapping((root / answers_file).read_text())
    changed = [
        f"{name} {before[name]} -> {now.get(name)}"
        for name in ("alias_label", "alias_ip")
        if name in before and before[name] != now.get(name)
    ]
    if not changed:
        return ""
    return f"Changed: {', '.join(changed)}. On every machine: make dev-up; the job {before['alias_label']} stays until removed"


def verdict(root: Path) -> str:
    """Return in one line whether this machine has the alias, as `host-alias check` says it."""
    done = subprocess.run(
        ["sh", "localdev/host-alias", "check"], cwd=root, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode == 0:
        return done.stderr.strip() or "host-alias: this machine is ready"
    return done.stderr.strip() or f"host-alias: the check ended with exit code {done.returncode}"


def report(root: Path, answers_file: str) -> list[str]:
    """Return everything that the user should read, most urgent first; the verdict is last."""
    if unmerged := conflicts(root):
        return [
            f"Conflicts to resolve in: {', '.join(unmerged)}",
            "Then: git add the files, and make dev-status",
        ]
    lines = [
        f"Ignored by git: {path}. An update would delete it: change the rule in .gitignore"
        for path in ignored(root, answers_file)
    ]
    lines += missing_includes(root) + service_clashes(root)
    if change := alias_change(root, answers_file):
        lines.append(change)
    return [*lines, verdict(root)]


def main() -> int:
    """Print the report to stderr, where Copier's own messages go; exit 0 whatever happens (see the module's text)."""
    try:
        lines = report(Path.cwd(), sys.argv[1])
    except Exception as error:  # a bug here must not cost the user the new project
        lines = [f"The check after generation failed ({error}). Run: make dev-status"]
    print("", *lines, sep="\n", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
