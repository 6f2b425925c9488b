"""Versions of the template, from this repository's history and made by tests, and what users commit in their repos."""

import io
import subprocess
import tarfile
from pathlib import Path

from conftest import PROJECT, Run
from needs import need

ANSWERS = ".copier-answers.localdev.yml"
# Above every version that will be released: the working tree.
CURRENT = "v999.0.0"
# What Copier reads of the template; older releases do not have all of it.
PARTS = ("copier.yml", "containers", "hooks", "template")
RELEASES = dict(
    line.split() for line in (PROJECT / "tests/releases").read_text().splitlines() if line and not line.startswith("#")
)


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


def with_every_release(folder: Path, template: Path, run: Run) -> Path:
    """Make a template in `folder` that has every released version as a tag, and the one in `template` as CURRENT."""
    folder.mkdir()
    run("git", "init", "-q", cwd=folder, check=True)
    for version, revision in RELEASES.items():
        known = run("git", "cat-file", "-e", f"{revision}^{{commit}}", cwd=PROJECT).returncode == 0
        need(known, f"the history with {version} ({revision[:7]})", "git fetch --unshallow")
        empty(folder, run)
        there = run("git", "ls-tree", "--name-only", revision, cwd=PROJECT, check=True).stdout.split()
        archive = subprocess.run(
            ["git", "archive", revision, *(name for name in PARTS if name in there)],
            cwd=PROJECT,
            capture_output=True,
            check=True,
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        release(folder, run, version, {})
    empty(folder, run)
    run("cp", "-R", *(template / name for name in PARTS), folder, cwd=folder, check=True)
    release(folder, run, CURRENT, {})
    return folder


def empty(folder: Path, run: Run) -> None:
    """Remove all that git has in `folder`."""
    run("git", "rm", "-rfq", "--ignore-unmatch", ".", cwd=folder, check=True)
