"""Versions of the template that tests make, and what users commit in their repos."""

import re
from pathlib import Path

from conftest import Run

ANSWERS = ".copier-answers.localdev.yml"
# What Copier reads of the template.
PARTS = ("copier.yml", "containers", "hooks", "template")


def commit(repo: Path, run: Run, text: str = "all", *, force: bool = True) -> None:
    """Commit everything in `repo`, with `force` also what git ignores; make it a repository first."""
    if not (repo / ".git").exists():
        run("git", "init", "-q", cwd=repo, check=True)
    run("git", "add", "-Af" if force else "-A", cwd=repo, check=True)
    run("git", "commit", "-qm", text, cwd=repo, check=True)


def release(template: Path, run: Run, version: str, changes: dict[str, tuple[str, str]]) -> None:
    """Release `version` of `template` in which each file's text had one replacement; a new file replaces ""."""
    for name, (old, new) in changes.items():
        text = (template / name).read_text() if old else ""
        assert old in text
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text(text.replace(old, new, 1))
    run("git", "add", "-A", cwd=template, check=True)
    run("git", "commit", "--allow-empty", "-qm", version, cwd=template, check=True)
    run("git", "tag", version, cwd=template, check=True)


def with_format(text: str, number: int) -> str:
    """Return a boot job, plist or unit, with another `host-alias format`: as an older or a newer release has it."""
    return re.sub(r"(?<=host-alias format )\d+:", f"{number}:", text)
