"""The hook around a generation. Copier runs it in the user's repo with its own Python, so Copier and PyYAML are there.

    generation.py after ANSWERS_FILE     once after every copy and update: says how things stand and what to do next
    generation.py before ANSWERS_FILE    once before an update changes anything: refuses where files would be lost

Read-only, never root, never a prompt. `after` always exits 0: when a task fails, Copier deletes a new project, and leaves an
updated one half done. When `before` exits 1, Copier stops, and has changed nothing yet.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clashes import has_only_ours, missing_includes, name_clashes, service_clashes
from repository import SOURCE, git


def checked(folder: Path) -> str:
    """Return in one line what `host-alias check` in `folder` says of this machine."""
    command = ["sh", ".localdev/host-alias", "check"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode == 0:
        return done.stderr.strip() or "host-alias: this machine is ready"
    return done.stderr.strip() or f"host-alias: the check ended with exit code {done.returncode}"


def verdict(root: Path) -> str:
    """Return in one line whether this machine has the alias, as the template's own `host-alias check` says it.

    Whoever wrote to the repo may have edited its copy of the scripts. An edited copy is read here, but never run.
    """
    ours, theirs = SOURCE / "template/.localdev", root / ".localdev"
    paths = (path.relative_to(ours) for path in ours.rglob("*") if path.is_file() and path.suffix != ".jinja")
    scripts = [path for path in paths if path.parts[0] not in ("doctor", "proxy", "stack")]
    if all((theirs / path).is_file() and same(ours / path, theirs / path) for path in scripts):
        return checked(root)
    import shutil  # a fifth of the hook's time
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        for path in scripts:
            (Path(folder) / ".localdev" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ours / path, Path(folder) / ".localdev" / path)
        for rendered in ours.glob("host-alias*.jinja"):
            shutil.copy(theirs / rendered.stem, Path(folder) / ".localdev")
        return checked(Path(folder))


def same(one: Path, other: Path) -> bool:
    """Tell whether both files have the same bytes."""
    return one.read_bytes() == other.read_bytes()


def report(root: Path, answers_file: str) -> list[str]:
    """Return everything that the user should read, most urgent first; the verdict is last."""
    lines, last = [], []
    # Each question to git costs 3 ms, and a new project is no repository yet.
    if git(root, "rev-parse", "--git-dir"):
        from answers import changes
        from losses import conflicts, lost_edits, warnings

        unmerged = conflicts(root, answers_file)
        lines = [*unmerged, *lost_edits(root, answers_file), *warnings(root, answers_file)]
        last = changes(root, answers_file)
    else:
        unmerged = []
    lines += missing_includes(root)
    if not has_only_ours(root):
        lines += [*service_clashes(root), *name_clashes()]
    lines += last
    # A host-alias.conf with conflict markers in it has no verdict.
    return lines if unmerged else [*lines, verdict(root)]


def main() -> int:
    """Print to stderr, where Copier's own messages go; exit 1 only to refuse, never for a fault of ours."""
    moment, answers_file = sys.argv[1:]
    refused = False
    try:
        if moment == "before":
            from losses import refusals

            lines = refusals(Path.cwd(), answers_file)
            refused = bool(lines)
        else:
            lines = report(Path.cwd(), answers_file)
    except Exception as error:  # a bug here must not cost the user the new project
        lines = [f"The check {moment} generation failed ({error}). Run: make dev-status"]
    if lines:
        print("", *lines, sep="\n", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
