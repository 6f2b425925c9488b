"""The workflow that brings updates as a pull request: the commands of its jobs run here, the actions between them do not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import Settings, run_copy

from conftest import PROJECT, Run
from fast_copier import COMMAND
from versions import ANSWERS, commit, release

pytestmark = pytest.mark.changes(
    "template/.github", "template/.localdev/stack/update.py", "hooks", "tests/test_github_workflow.py"
)
WORKFLOW = yaml.safe_load((PROJECT / "template/.github/workflows/localdev-update.yml").read_text())
JOBS = WORKFLOW["jobs"]


def commands(job: str) -> str:
    """Return what a job runs, as GitHub's shell does: it ends at the first failure."""
    return "set -e\n" + "\n".join(step["run"] for step in JOBS[job]["steps"] if "run" in step)


@pytest.fixture
def own(template: Path, tmp_path: Path) -> Path:
    """A template of the test's own, to release versions of."""
    return Path(shutil.copytree(template, tmp_path / "template"))


@pytest.fixture
def repo(own: Path, tmp_path: Path, run: Run) -> Path:
    """A repo of the template's first release, with a commit, and a `pipx` that runs this Copier."""
    made = tmp_path / "repo"
    run_copy(
        str(own), made, {"github_workflow": True}, vcs_ref="v1.0.0", defaults=True, unsafe=True, quiet=True,
        skip_tasks=True, settings=Settings(),
    )  # fmt: skip
    commit(made, run)
    (tmp_path / "bin").mkdir()
    pipx = tmp_path / "bin/pipx"
    pipx.write_text(
        f'#!/bin/sh\n[ "$1 $2 $4" = "run --spec copier" ] || exit 9\nshift 4\nexec {" ".join(COMMAND)} "$@"\n'
    )
    pipx.chmod(0o755)
    return made


@pytest.fixture
def runner(tmp_path: Path, run: Run) -> Callable[[str, Path], Any]:
    """Returns a function that runs the commands of a job in a clone."""

    def runner(job: str, where: Path) -> Any:
        (tmp_path / "output").write_text("")
        env = {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
        }
        return run("bash", "-c", commands(job), cwd=where, env=env)

    return runner


def test_who_runs_the_templates_code_may_not_write_and_every_action_is_one_commit() -> None:
    assert WORKFLOW["permissions"] == {}
    assert [JOBS[name]["permissions"] for name in ("update", "pull-request")] == [
        {"contents": "read"},
        {"contents": "write", "pull-requests": "write"},
    ]
    checkout = JOBS["update"]["steps"][0]
    assert checkout["with"] == {"persist-credentials": False}
    assert ".localdev" not in commands("pull-request") and "make" not in commands("pull-request")
    text = (PROJECT / "template/.github/workflows/localdev-update.yml").read_text()
    uses = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert len(uses) == 5 and all(len(name.partition("@")[2]) == 40 for name in uses)
    assert text.count("\n") <= 50 and "secrets." not in text and "GITHUB_TOKEN" not in text


def test_a_new_version_is_a_patch_that_the_second_job_applies(
    repo: Path, own: Path, tmp_path: Path, run: Run, runner: Callable[[str, Path], Any]
) -> None:
    clone = tmp_path / "clone"
    done = runner("update", repo)
    assert done.returncode == 0, done.stderr
    assert ((tmp_path / "output").read_text(), (tmp_path / "update.patch").read_text()) == ("", "")
    mk = "template/.localdev/localdev.mk"
    release(
        own,
        run,
        "v1.1.0",
        {mk: ("# Short names", "# Names"), "template/.github/workflows/new.yml.jinja": ("", "{{ web_domain }}\n")},
    )
    run("git", "clone", "-q", repo, clone, cwd=tmp_path, check=True)
    done = runner("update", repo)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text() == "version=v1.1.0\n"
    assert (repo / ".github/workflows/new.yml").exists()
    assert runner("pull-request", clone).returncode == 0
    changed = run("git", "status", "--porcelain", cwd=clone, check=True).stdout.split()
    assert changed == ["M", ANSWERS, "M", ".localdev/localdev.mk"]
    assert "# Names" in (clone / ".localdev/localdev.mk").read_text()


def test_a_conflict_and_an_unread_version_end_the_first_job(
    repo: Path, own: Path, run: Run, runner: Callable[[str, Path], Any]
) -> None:
    path = repo / ".localdev/localdev.mk"
    path.write_text(path.read_text().replace("# Short names", "# My names"))
    commit(repo, run)
    release(own, run, "v1.1.0", {"template/.localdev/localdev.mk": ("# Short names", "# Names")})
    done = runner("update", repo)
    assert done.returncode == 1
    assert (
        done.stdout.splitlines()[-1]
        == "::error::conflicts in .localdev/localdev.mk. On your machine run: make dev-update"
    )
    run("git", "reset", "-q", "--hard", cwd=repo, check=True)
    answers = repo / ANSWERS
    answers.write_text(answers.read_text().replace("_commit: v1.0.0", "_commit: main"))
    commit(repo, run)
    done = runner("update", repo)
    assert done.returncode == 1 and "which is no release of" in done.stderr
