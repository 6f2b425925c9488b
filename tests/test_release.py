"""`make release`, in a clone in which make's tools are stand-ins that count how they were called."""

import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from machine import retry
from versions import commit

VERSION = "v100.1.0"
# Writes down what it was called with; fails or waits where a test says so.
TOOL = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>"${0%/bin/*}/calls"
if [ -e "${0%/bin/*}/wait" ]; then exec sleep 60; fi
[ ! -e "${0%/bin/*}/fail-${0##*/}" ]
"""


class Clone:
    """A clone of the working tree that is ready to be released as VERSION."""

    def __init__(self, folder: Path, run: Run, env: dict[str, str]) -> None:
        self.folder, self.run, self.env = folder, run, env
        self.tools = folder / ".venv"

    def prepare(self) -> None:
        (self.tools / "bin").mkdir(parents=True)
        for name in ("pip", "ruff", "shellcheck", "shfmt", "pytest"):
            (self.tools / "bin" / name).write_text(TOOL)
            (self.tools / "bin" / name).chmod(0o755)
        (self.tools / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (self.tools / "bin/python").chmod(0o755)
        (self.tools / "requirements-test").touch()
        self.replace("pyproject.toml", r'(?m)^version = ".*"$', f'version = "{VERSION[1:]}"')
        self.changelog(
            f"## {VERSION[1:]} - {datetime.date.today()}\n\n### Added\n\n- All.\n\n### Upgrade notes\n\nNone.\n"
        )
        self.git("tag", "-d", "v1.0.0")
        self.commit()

    def git(self, *words: str) -> str:
        return self.run("git", *words, cwd=self.folder, check=True).stdout.strip()

    def commit(self) -> None:
        commit(self.folder, self.run, "ready", force=False)

    def replace(self, name: str, pattern: str, text: str) -> None:
        before = (self.folder / name).read_text()
        after = re.sub(pattern, lambda _: text, before, count=1)
        assert after != before, name
        (self.folder / name).write_text(after)

    def changelog(self, text: str) -> None:
        (self.folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{text}\n## 0.0.1 - 2020-01-01\n\n- First.\n")

    def state(self) -> tuple[str, str, str]:
        refs = self.git("for-each-ref", "--format=%(refname) %(objectname)")
        releases = self.folder / "tests/releases"
        return refs, self.git("status", "--porcelain"), releases.read_text() if releases.exists() else ""

    def release(self, *more: str, version: str = VERSION) -> subprocess.CompletedProcess[str]:
        return self.run("make", "release", f"VERSION={version}", *more, cwd=self.folder)

    def calls(self) -> list[str]:
        path = self.tools / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="session")
def ready(template: Path, run: Run, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("ready") / "clone"))
    Clone(folder, run, clean_env).prepare()
    return folder


@pytest.fixture
def clone(ready: Path, run: Run, clean_env: dict[str, str], tmp_path: Path) -> Clone:
    return Clone(Path(shutil.copytree(ready, tmp_path / "clone", symlinks=True)), run, clean_env)


def test_a_release_is_a_tag_on_the_tested_commit_and_a_line_in_the_list(clone: Clone) -> None:
    head, before = clone.git("rev-parse", "HEAD"), clone.state()[2]
    # What would leave tests out is not passed on.
    done = clone.release("ARGS=-k routes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"{VERSION} is released here. Publish it: git push --atomic origin main {VERSION}"
    )
    assert clone.git("cat-file", "-t", VERSION) == "tag"
    assert clone.git("rev-parse", f"{VERSION}^{{commit}}") == head
    assert clone.git("for-each-ref", "--format=%(contents)", f"refs/tags/{VERSION}") == (
        f"{VERSION}\n\n### Added\n\n- All.\n\n### Upgrade notes\n\nNone."
    )
    assert clone.git("rev-parse", "main^") == head
    assert clone.git("diff", "--name-only", head, "main") == "tests/releases"
    assert clone.state()[1:] == ("", f"{before}{VERSION} {head}\n")
    assert [call for call in clone.calls() if call.startswith("pytest")] == [
        "pytest -n auto -m not engine --no-skips",
        "pytest -m engine --no-skips",
    ]
    assert [call for call in clone.calls() if call.startswith("ruff")] == ["ruff check", "ruff format --check"]
    # The same again, and what it says to do, are refused and possible.
    done = clone.release()
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        f"release: {VERSION} is not higher than {VERSION}, which is released. Choose a higher one",
    )
    clone.git("init", "-q", "--bare", "../remote.git")
    clone.git("remote", "add", "origin", "../remote.git")
    clone.git("push", "-q", "--atomic", "origin", "main", VERSION)


def listed(clone: Clone) -> None:
    (clone.folder / "tests/releases").write_text("# a comment\nv100.2.0 0123456789012345678901234567890123456789\n")
    clone.commit()


TODAY = f"## {VERSION[1:]} - {datetime.date.today()}"
NOTES = "### Upgrade notes\n\nNone.\n"


def changelog(text: str) -> Callable[[Clone], None]:
    def prepare(clone: Clone) -> None:
        clone.changelog(text)
        clone.commit()

    return prepare


@pytest.mark.parametrize(
    ("prepare", "version", "words"),
    [
        (None, "1.2.3", "'1.2.3' is no version. Run: make release VERSION=v1.2.3"),
        (None, "v1.2", "'v1.2' is no version. "),
        (None, "v01.2.3", "'v01.2.3' is no version. "),
        (None, "v1.2.3-rc1", "'v1.2.3-rc1' is no version. "),
        (None, "", "'' is no version. "),
        (
            lambda c: c.git("switch", "-qc", "other"),
            VERSION,
            "this is other. Releases are made on main: git switch main",
        ),
        (lambda c: c.git("checkout", "-q", "--detach"), VERSION, "this is no branch. "),
        (
            lambda c: (c.folder / "new.txt").touch(),
            VERSION,
            "the work tree has changes (new.txt). Commit them or put them away",
        ),
        (lambda c: c.git("tag", "v100.10.0"), VERSION, f"{VERSION} is not higher than v100.10.0, which is released. "),
        (listed, VERSION, f"{VERSION} is not higher than v100.2.0, which is released. "),
        (None, "v100.1.1", 'pyproject.toml has version 100.1.0. Make it: version = "100.1.1"'),
        (
            changelog(f"## Unreleased\n\n- Forgotten.\n\n{TODAY}\n\n{NOTES}"),
            VERSION,
            "CHANGELOG.md has entries under Unreleased. Move them under 100.1.0",
        ),
        (
            changelog(f"## 100.1.0 - 2020-02-02\n\n{NOTES}"),
            VERSION,
            f"CHANGELOG.md's first section is '100.1.0 - 2020-02-02'. Make it: {TODAY}",
        ),
        (changelog(f"{TODAY}\n\n- All.\n"), VERSION, "CHANGELOG.md says nothing under ### Upgrade notes of 100.1.0. "),
        (
            changelog(f"{TODAY}\n\n### Upgrade notes\n\n### Added\n\n- All.\n"),
            VERSION,
            "CHANGELOG.md says nothing under",
        ),
        (lambda c: (c.tools / "fail-ruff").touch(), VERSION, "make lint failed, see above. Correct it, then commit"),
        (lambda c: (c.tools / "fail-pytest").touch(), VERSION, "make test NO_SKIPS=1 failed, see above. "),
    ],
)
def test_what_is_not_ready_is_refused_in_one_line_and_nothing_changes(
    clone: Clone, prepare: Callable[[Clone], object] | None, version: str, words: str
) -> None:
    if prepare:
        prepare(clone)
    before = clone.state()
    done = clone.release(version=version)
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("release: "))
    assert line.startswith(f"release: {words}")
    assert "Traceback" not in done.stderr
    assert clone.state() == before
    # Nothing slow runs before what is quick to see.
    assert bool(clone.calls()) == words.startswith("make ")


def test_an_empty_section_for_what_comes_next_is_fine(clone: Clone) -> None:
    clone.changelog(f"## Unreleased\n\n{TODAY.replace('100.1.0', '[100.1.0]')}\n\n{NOTES}")
    clone.commit()
    assert clone.release().returncode == 0


def test_a_release_that_git_refuses_leaves_nothing_behind(clone: Clone) -> None:
    # Git refuses the last step: a tag cannot be made beside a folder of its name.
    (clone.folder / ".git/refs/tags" / VERSION).mkdir(parents=True)
    (clone.folder / ".git/refs/tags" / VERSION / "x").write_text(clone.git("rev-parse", "HEAD") + "\n")
    before = clone.state()
    done = clone.release()
    assert done.returncode != 0 and "release: git update-ref failed: " in done.stderr
    assert clone.state() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_release_leaves_nothing_behind(clone: Clone, number: signal.Signals) -> None:
    before = clone.state()
    (clone.tools / "wait").touch()
    process = subprocess.Popen(
        ["make", "release", f"VERSION={VERSION}"],
        cwd=clone.folder,
        env=clone.env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    retry(lambda: (clone.tools / "calls").read_text().index("ruff"))
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "release: interrupted, nothing is released. Run it again\n" in err and "Traceback" not in err
    assert clone.state() == before
