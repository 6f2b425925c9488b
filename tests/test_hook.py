"""The hook after a generation: exactly once, read-only, exit 0, one verdict and what to do next."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from copier import Settings, run_copy

from conftest import Render, Run
from versions import ANSWERS, commit, hook, release


def test_the_hook_runs_once_per_copy_and_once_per_update_in_the_real_folder_and_never_without_trust(
    own_template: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    # A line each time that it runs: what it is called with, and the folder.
    log, script = tmp_path / "hook.log", own_template / "hooks/generation.py"
    note = f"open({str(log)!r}, 'a').write(sys.argv[1] + ' ' + str(Path.cwd()) + '\\n')\n\n\ndef main() -> int:"
    script.write_text(script.read_text().replace("def main() -> int:", note))
    run("git", "commit", "-qam", "the hook leaves a trace", cwd=own_template, check=True)
    run("git", "tag", "-f", "v1.0.0", cwd=own_template, check=True)

    refused = copier("copy", "--defaults", own_template, tmp_path / "refused", cwd=tmp_path)
    assert refused.returncode == 4
    copier("copy", "--defaults", "--skip-tasks", own_template, tmp_path / "app", cwd=tmp_path, check=True)
    assert not log.exists()
    repo = tmp_path / "trusted/app"
    copier("copy", "--defaults", "--trust", own_template, repo, cwd=tmp_path, check=True)
    assert log.read_text().splitlines() == [f"after {repo}"]
    done = subprocess.run(["diff", "-r", tmp_path / "app", repo], capture_output=True, check=False)
    assert done.stdout == b""

    commit(repo, run)
    release(own_template, run, "v1.1.0", {"template/.localdev/localdev.mk": ("# Short names", "# Some short names")})
    copier("update", "--trust", "--defaults", "-q", "-a", ANSWERS, cwd=repo, check=True)
    assert log.read_text().splitlines()[1:] == [f"before {repo}", f"after {repo}"]


def test_the_last_line_is_the_verdict_of_check(repo: Render, run: Run) -> None:
    here = repo()
    check = run("sh", ".localdev/host-alias", "check", cwd=here)
    (verdict,) = hook(here, run)
    assert verdict == (check.stderr.strip() or "host-alias: this machine is ready")
    assert hook(here, run, LOCALDEV_HOST="host-gateway")[-1].startswith("host-alias: LOCALDEV_HOST=host-gateway")


def test_the_hook_asks_compose_only_where_the_user_has_something_that_could_clash(
    repo: Render, run: Run, tmp_path: Path
) -> None:
    here, asked = repo(), tmp_path / "asked"
    (tmp_path / "docker").write_text(f"#!/bin/sh\ntouch {asked}\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    hook(here, run, PATH=path)
    assert not asked.exists(), "the Compose file is the one that Copier has just written"
    stub = (here / "compose.yaml").read_text()
    for name, text, env in (
        ("compose.yaml", f"{stub}\nservices: {{app: {{image: x}}}}\n", {}),
        ("compose.yaml", stub.replace("include:\n", "include:\n  - mine.yaml\n"), {}),
        ("compose.override.yml", "services: {app: {image: x}}\n", {}),
        (".env", "COMPOSE_FILE=mine.yaml\n", {}),
        ("unread", "", {"COMPOSE_FILE": "mine.yaml"}),
        ("unread", "", {"LOCALDEV_COMPOSE": "docker compose -f mine.yaml"}),
    ):
        before = (here / name).read_text() if (here / name).exists() else None
        (here / name).write_text(text)
        hook(here, run, PATH=path, **env)
        assert asked.exists(), (name, text, env)
        asked.unlink()
        (here / name).unlink() if before is None else (here / name).write_text(before)


def test_the_hook_runs_nothing_that_somebody_wrote_into_the_repo(repo: Render, run: Run) -> None:
    here = repo()
    usual = hook(here, run)
    for name in ("host-alias", "alias/common.sh"):
        (here / ".localdev" / name).write_text("#!/bin/sh\necho mine >&2\ntouch ran\n")
    assert hook(here, run) == usual
    assert not (here / "ran").exists()


def test_a_copy_ends_with_the_verdict_and_the_next_command(template: Path, copier: Run, tmp_path: Path) -> None:
    done = copier("copy", "--trust", "--defaults", template, tmp_path / "my app's repo", cwd=tmp_path, check=True)
    verdict, _, _, next_line, later = [line for line in done.stderr.splitlines() if line][-5:]
    assert verdict.startswith("host-alias: ")
    assert next_line.startswith("Next:   cd ") and next_line.endswith(" && make dev-up")
    folder = next_line.removeprefix("Next:   cd ").removesuffix(" && make dev-up")
    assert (
        subprocess.run(
            ["sh", "-c", f"cd {folder} && ls .localdev/host-alias"], capture_output=True, check=False
        ).returncode
        == 0
    )
    assert f"-a {ANSWERS}" in later


@pytest.mark.parametrize(("makefile", "compose"), [("Makefile", "compose.yml"), ("makefile", "docker-compose.yaml")])
def test_existing_files_stay_and_the_line_to_add_is_printed(
    makefile: str, compose: str, template: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "app [1]*?"  # signs that a glob would take
    workflow = ".github/workflows/localdev-update.yml"
    mine = {makefile: b"all:\r\n\ttrue", compose: b"services:\r\n  app: {image: 'x'}", workflow: b"name: mine\n"}
    mine |= {".github/workflows/ci.yml": b"name: ci\n"}
    for name, text in mine.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(text)
    run_copy(
        str(template), repo, {"github_workflow": True}, defaults=True, overwrite=True, unsafe=True, quiet=True,
        skip_tasks=True, settings=Settings(),
    )  # fmt: skip

    def assert_all_is_there() -> None:
        # A second Makefile or Compose file would be ignored or win.
        assert {path.name for path in repo.iterdir()} - {".git"} == {makefile, compose, ".github", ".localdev", ANSWERS}
        assert {path.name for path in (repo / workflow).parent.iterdir()} == {"localdev-update.yml", "ci.yml"}
        assert {name: (repo / name).read_bytes() for name in mine} == mine

    assert_all_is_there()
    added = {makefile: "include .localdev/localdev.mk", compose: "include: [.localdev/compose.yaml]"}
    assert hook(repo, run)[:-1] == [f"Add to {name}:  {line}" for name, line in added.items()]
    # What is printed is what works.
    for name, line in added.items():
        mine[name] += f"\n{line}\n".encode()
        (repo / name).write_bytes(mine[name])
    assert hook(repo, run) == hook(repo, run)[-1:]
    assert "dev-up" in run("make", "dev-help", cwd=repo, check=True).stdout
    if makefile == "makefile":  # an update keeps to that
        commit(repo, run)
        copier("update", "--trust", "--defaults", "-q", "-a", ANSWERS, cwd=repo, check=True)
        assert_all_is_there()


def test_a_service_of_the_same_name_is_found(repo: Render, run: Run) -> None:
    here = repo(databases="[postgres]")
    (here / "compose.yaml").write_text(
        "include: [.localdev/compose.yaml]\nservices:\n  postgres: {image: x}\n  mine: {image: x}\n"
    )
    (line, _) = hook(here, run)
    assert line == "The service postgres is in compose.yaml and in .localdev/compose.yaml: rename yours in compose.yaml"


def test_ignored_files_are_named(repo: Render, run: Run) -> None:
    here = repo()
    (here / ".gitignore").write_text("*.conf\n!.localdev/proxy/*.conf\n*.own\n")
    (here / ".localdev/proxy/custom").mkdir()
    (here / ".localdev/proxy/custom/mine.own").write_text("mine")  # not generated: no update deletes it
    run("git", "init", "-q", cwd=here, check=True)
    (line, _) = hook(here, run)
    assert line == (
        "Git ignores .localdev/host-alias.conf (*.conf in .gitignore, line 1): no teammate gets that, and updates will stop. "
        "Change that rule, and commit"
    )


@pytest.mark.parametrize(
    "fault", ["no git", "broken compose", "no conf", "no answers", "broken answers", "no localdev"]
)
def test_whatever_is_broken_the_hook_exits_0_with_one_line(fault: str, repo: Render, run: Run, tmp_path: Path) -> None:
    here = repo()
    env = {}
    if fault == "no git":
        (tmp_path / "bin").mkdir()
        for name in ("sh", "ip", "awk"):
            (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "/bin/false")
        env = {"PATH": str(tmp_path / "bin")}
    elif fault == "broken compose":
        (here / "compose.yaml").write_text("include: [.localdev/compose.yaml\n<<<<<<<")
    elif fault == "no conf":
        (here / ".localdev/host-alias.conf").unlink()
    elif fault == "no answers":
        (here / ANSWERS).unlink()
    elif fault == "broken answers":
        (here / ANSWERS).write_text("- <<<<<")
    else:
        shutil.rmtree(here / ".localdev")
    lines = hook(here, run, **env)
    assert lines
    assert not any("Traceback" in line for line in lines)


def test_a_hook_that_fails_costs_nobody_the_project(template: Path, copier: Run, tmp_path: Path) -> None:
    """Copier deletes a new project when a task fails; a machine on which nothing works must get it all the same."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("git", "sed", "basename", "dirname", "uname", "cat", "tr", "env"):  # what git itself needs; no sh
        (tools / name).symlink_to(str(shutil.which(name)))
    done = copier(
        *("copy", "--trust", "--defaults", template, tmp_path / "app"), cwd=tmp_path, env={"PATH": str(tools)}
    )
    assert done.returncode == 0
    assert (tmp_path / "app/.localdev/host-alias").exists()
    assert "The check after generation failed" in done.stderr
