"""`make release`, in a clone in which make's tools are stand-ins that write down how they were called."""

import datetime
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from versions import commit

pytestmark = pytest.mark.changes(".ci/release", "tests/test_release.py")

VERSION = "v100.1.0"
HEADING = f"## {VERSION[1:]} - {datetime.date.today()}"
NOTES = "### Upgrade notes\n\nNone.\n"
# Fails where a test says so.
TOOL = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>"${0%/bin/*}/calls"
[ ! -e "${0%/bin/*}/fail-${0##*/}" ]
"""


class Clone:
    """A clone of the working tree that is ready to be released as VERSION."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run, self.tools = folder, run, folder / ".venv"
        self.calls = self.tools / "calls"
        (self.tools / "bin").mkdir(parents=True)
        tools = dict.fromkeys(("pip", "ruff", "shellcheck", "shfmt", "pytest"), TOOL)
        for name, text in tools.items() | {("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')}:
            (self.tools / "bin" / name).write_text(text)
            (self.tools / "bin" / name).chmod(0o755)
        (self.tools / "requirements-test").touch()
        project = (folder / "pyproject.toml").read_text()
        (folder / "pyproject.toml").write_text(
            re.sub(r'^version = ".*"$', f'version = "{VERSION[1:]}"', project, flags=re.M)
        )
        self.changelog(f"{HEADING}\n\n### Added\n\n- All.\n\n{NOTES}")

    def git(self, *words: str) -> str:
        return self.run("git", *words, cwd=self.folder, check=True).stdout.strip()

    def changelog(self, text: str) -> None:
        (self.folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{text}\n## 0.0.1 - 2020-01-01\n\n{NOTES}")
        commit(self.folder, self.run, "ready", force=False)

    def state(self) -> tuple[str, str]:
        return self.git("for-each-ref"), self.git("status", "--porcelain", "--branch")

    def release(self, *more: str, version: str = VERSION) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        return self.run("make", "release", f"VERSION={version}", *more, cwd=self.folder)


@pytest.fixture
def clone(project: Path, run: Run, tmp_path: Path) -> Clone:
    return Clone(Path(shutil.copytree(project, tmp_path / "clone")), run)


def test_a_release_is_a_tag_on_the_tested_commit(clone: Clone) -> None:
    head = clone.git("rev-parse", "HEAD")
    # What would leave tests out is not passed on.
    done = clone.release("ARGS=-k routes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"{VERSION} is released here. Publish it: git push --atomic origin main {VERSION}"
    )
    assert clone.git("cat-file", "-t", VERSION) == "tag"
    assert clone.git("rev-parse", f"{VERSION}^{{commit}}") == clone.git("rev-parse", "main") == head
    assert clone.git("for-each-ref", "--format=%(contents)", f"refs/tags/{VERSION}") == (
        f"{VERSION}\n\n### Added\n\n- All.\n\n### Upgrade notes\n\nNone."
    )
    calls = clone.calls.read_text().splitlines()
    assert [call for call in calls if call.startswith("pytest")] == [
        "pytest -n auto -m not engine --no-skips",
        "pytest -m engine --no-skips",
    ]
    assert [call.split()[:2] for call in calls if call.startswith("ruff")] == [["ruff", "check"], ["ruff", "format"]]
    # What it says to do is possible.
    clone.git("init", "-q", "--bare", "../remote.git")
    clone.git("remote", "add", "origin", "../remote.git")
    clone.git("push", "-q", "--atomic", "origin", "main", VERSION)


def test_what_is_not_ready_is_refused_in_one_line_and_nothing_changes(clone: Clone) -> None:
    def assert_refused(words: str, version: str = VERSION, prepare: Callable[[], object] = lambda: None) -> None:
        prepare()
        before = clone.state()
        done = clone.release(version=version)
        assert done.returncode != 0, words
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("release: "))
        assert line.startswith(f"release: {words}")
        assert "Traceback" not in done.stderr
        assert clone.state() == before, words
        # Nothing slow runs before what is quick to see.
        assert bool(clone.calls.read_text()) == words.startswith("make ")

    for version in ("1.2.3", "v1.2", "v01.2.3", "v1.2.3-rc1", ""):
        assert_refused(f"{version!r} is no version. Run: make release VERSION=v1.2.3", version)
    assert_refused('pyproject.toml has another version. Make it: version = "100.1.1"', "v100.1.1")
    new = clone.folder / "new.txt"
    assert_refused("the work tree has changes. Commit them or put them away:", prepare=new.touch)
    new.unlink()
    for words in (("checkout", "-q", "--detach"), ("switch", "-qc", "other")):
        clone.git(*words)
        assert_refused("this is not the branch main. Run: git switch main")
        clone.git("switch", "-q", "main")
    for name, command in (("ruff", "make lint"), ("pytest", "make test-all NO_SKIPS=1")):
        fault = clone.tools / f"fail-{name}"
        assert_refused(f"{command} failed, see above. Correct it, then commit", prepare=fault.touch)
        fault.unlink()

    first, none = "CHANGELOG.md's first section is", "CHANGELOG.md has no ### Upgrade notes. Say there what users do"
    for text, words in (
        (f"## Unreleased\n\n- Forgotten.\n\n{HEADING}\n\n{NOTES}", f"{first} 'Unreleased'. Make it: {HEADING}"),
        (f"## 100.1.0 - 2020-02-02\n\n{NOTES}", f"{first} '100.1.0 - 2020-02-02'. Make it: {HEADING}"),
        (f"{HEADING}\n\n- All.\n", none),
        (f"{HEADING}\n\n### Upgrade notes\n\n### Added\n\n- All.\n", none),
    ):
        clone.changelog(text)
        assert_refused(words)

    clone.git("tag", "v100.10.0")
    assert_refused(f"{VERSION} is not higher than v100.10.0, which is released. ")
