"""Versions of the template that tests make, what users commit in their repos, and what the hook says there."""

import re
import sys
from pathlib import Path

from conftest import PROJECT, Run

ANSWERS = ".copier-answers.localdev.yml"


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


def files(repo: Path) -> dict[str, tuple[bool, bytes]]:
    """Return every file in `repo` but git's: whether it may be run, and its bytes."""
    return {
        str(path.relative_to(repo)): (bool(path.stat().st_mode & 0o111), path.read_bytes())
        for path in repo.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(repo).parts
    }


def hook(repo: Path, run: Run, moment: str = "after", *, code: int = 0, **env: str) -> list[str]:
    """Run the hook in `repo` as Copier does and return its lines; it must exit with `code` and change nothing."""
    before = files(repo)
    words = (sys.executable, PROJECT / "hooks/generation.py", moment, ANSWERS)
    done = run(*words, cwd=repo, env={"PYTHONDONTWRITEBYTECODE": "1"} | env)
    assert (done.returncode, done.stdout) == (code, "")
    assert files(repo) == before
    return done.stderr.strip().splitlines()


def with_format(text: str, number: int) -> str:
    """Return a boot job, plist or unit, with another `host-alias format`: as an older or a newer release has it."""
    return re.sub(r"(?<=host-alias format )\d+:", f"{number}:", text)
