"""What an update would lose or has lost: files that git ignores, edits that could not be merged, files that are gone.

Copier 9.19.1 deletes generated files that git ignores, leaves conflict markers with exit code 0, and deletes edited files
that the template no longer has. It prints none of this.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from repository import SOURCE, decoded, generated, git, mapping, some

# --- files that git ignores -------------------------------------------------------------------------------------------


def ignored(root: Path, names: list[str], prefix: str = "") -> dict[str, set[str]]:
    """Return the untracked ones of `names`, below `prefix`, that git ignores in `root`, by the rule that does it."""
    asked = "\0".join(prefix + name for name in names)
    fields = git(root, "check-ignore", "--verbose", "-z", "--stdin", stdin=asked).split("\0")
    found: dict[str, set[str]] = {}
    for file, line, pattern, name in zip(*(iter(fields),) * 4, strict=False):
        if not pattern.startswith("!"):
            found.setdefault(f"{pattern} in {file}, line {line}", set()).add(name.removeprefix(prefix))
    return found


def ignored_everywhere(root: Path, names: list[str]) -> dict[str, set[str]]:
    """Return those of `names` that git ignores in every repository of this machine, by the rule that does it.

    Copier compares two copies of the template in new repositories of its own. Only such rules reach those. Copier does not
    see there that the user's repository tracks the file.
    """
    with TemporaryDirectory() as folder:
        git(Path(folder), "init", "--quiet", "--template=")
        return ignored(Path(folder), names, git(root, "rev-parse", "--show-prefix").strip("\n"))


def refusals(root: Path, answers_file: str) -> list[str]:
    """Return one line for each rule of git that would make an update lose a user's work, and what to do."""
    names = generated(root, answers_file)
    lines = [
        f"Nothing was updated: git ignores {some(files)} ({rule}), so an update would delete what it does not change. "
        "Change that rule, and commit the files"
        for rule, files in ignored(root, names).items()
    ]
    return lines or [
        f"Nothing was updated: git on this machine ignores {some(files)} in every repo ({rule}), so an update would drop "
        "your edits. Change that rule"
        for rule, files in ignored_everywhere(root, names).items()
    ]


def warnings(root: Path, answers_file: str) -> list[str]:
    """Return one line for each rule of git that matches generated files."""
    return [
        f"Git ignores {some(files)} ({rule}): no teammate gets that, and updates will stop. Change that rule, and commit"
        for rule, files in ignored(root, generated(root, answers_file)).items()
    ]


# --- what an update could not merge -----------------------------------------------------------------------------------


def conflicts(root: Path, answers_file: str) -> list[str]:
    """Return which files Copier left with conflict markers or .rej files, and how to go on."""
    unmerged = {line.split("\t", 1)[1] for line in git(root, "ls-files", "-uz", "--", ".").split("\0") if line}
    rejected = {str(path.relative_to(root)) for path in (root / ".localdev").rglob("*.rej")}
    rejected |= {f"{name}.rej" for name in generated(root, answers_file) if (root / f"{name}.rej").is_file()}
    lines = []
    if unmerged:
        lines.append(
            f"Conflicts in: {some(unmerged)}. Resolve them (git mergetool, or edit and git add), then: make dev-up"
        )
    if rejected:
        lines.append(
            f"Your edits that did not fit: {some(rejected)}. Put them in by hand, delete the .rej files, then: make dev-up"
        )
    return lines


def lost_edits(root: Path, answers_file: str) -> list[str]:
    """Return which files this update removed although the user had edited them."""
    gone = git(root, "diff", "--name-only", "--relative", "--diff-filter=D", "-z", "HEAD", "--", ".").split("\0")
    gone = [name for name in gone if name]
    before = mapping(git(root, "show", f"HEAD:./{answers_file}")) if gone else {}
    if "_commit" not in before:
        return []
    from copier import run_copy  # takes half a second

    with TemporaryDirectory() as folder:
        answers = {name: value for name, value in before.items() if not name.startswith("_")}
        run_copy(
            str(SOURCE), folder, answers, answers_file=answers_file, vcs_ref=before["_commit"], defaults=True,
            unsafe=True, skip_tasks=True, quiet=True,
        )  # fmt: skip
        old = Path(folder)
        edited = [
            name
            for name in gone
            if not (old / name).is_file() or git(root, "show", f"HEAD:./{name}") != decoded(old / name)
        ]
    if not edited:
        return []
    commit = git(root, "rev-parse", "--short", "HEAD").strip()
    return [f"No longer in the template, but edited by you: {some(edited)}. Yours: git show {commit}:./{edited[0]}"]
