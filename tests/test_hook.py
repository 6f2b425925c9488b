"""The hook after a generation: exactly once, read-only, exit 0, one verdict and what to do next."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Render, Run, as_data
from versions import ANSWERS, commit, release


@pytest.fixture
def counting(own_template: Path, tmp_path: Path, run: Run) -> Path:
    """The file to which the hook of `own_template` adds a line, the folder it runs in, each time it runs."""
    log = tmp_path / "hook.log"
    hook = own_template / "hooks/generation.py"
    hook.write_text(
        hook.read_text().replace(
            "def main() -> int:",
            f"open({str(log)!r}, 'a').write(sys.argv[1] + ' ' + str(Path.cwd()) + '\\n')\n\n\ndef main() -> int:",
        )
    )
    run("git", "commit", "-qam", "the hook leaves a trace", cwd=own_template, check=True)
    run("git", "tag", "-f", "v1.0.0", cwd=own_template, check=True)
    return log


def test_the_hook_runs_once_per_copy_and_once_per_update_in_the_real_folder(
    own_template: Path, counting: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "app"
    copier("copy", "--trust", "--defaults", "-q", own_template, repo, cwd=tmp_path, check=True)
    assert counting.read_text().splitlines() == [f"after {repo}"]
    commit(repo, run)
    release(own_template, run, "v1.1.0", {"template/.localdev/localdev.mk": ("# Short names", "# Some short names")})
    for times in (1, 2):  # to a new version, and once more to the same
        copier("update", "--trust", "--defaults", "-q", "-a", ANSWERS, cwd=repo, check=True)
        assert counting.read_text().splitlines()[1:] == [f"before {repo}", f"after {repo}"] * times
        commit(repo, run, "updated") if times == 1 else None


def test_without_trust_the_same_project_comes_and_no_hook_runs(
    own_template: Path, counting: Path, copier: Run, tmp_path: Path
) -> None:
    refused = copier("copy", "--defaults", own_template, tmp_path / "refused", cwd=tmp_path)
    assert refused.returncode == 4
    copier("copy", "--defaults", "--skip-tasks", own_template, tmp_path / "app", cwd=tmp_path, check=True)
    assert not counting.exists()
    copier("copy", "--defaults", "--trust", own_template, tmp_path / "trusted" / "app", cwd=tmp_path, check=True)
    done = subprocess.run(["diff", "-r", tmp_path / "app", tmp_path / "trusted/app"], capture_output=True, check=False)
    assert done.stdout == b""


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def hook(repo: Path, template: Path, run: Run, **env: str) -> list[str]:
    """Run the hook of `template` in `repo` as Copier does and return its lines; it must exit 0 and change nothing."""
    before = tree(repo)
    done = run(
        sys.executable,
        template / "hooks/generation.py",
        "after",
        ANSWERS,
        cwd=repo,
        env={"PYTHONDONTWRITEBYTECODE": "1"} | env,
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert tree(repo) == before
    return done.stderr.strip().splitlines()


def test_the_last_line_is_the_verdict_of_check(repo: Render, template: Path, run: Run) -> None:
    here = repo()
    check = run("sh", ".localdev/host-alias", "check", cwd=here)
    (verdict,) = hook(here, template, run)
    assert verdict == (check.stderr.strip() or "host-alias: this machine is ready")
    assert hook(here, template, run, LOCALDEV_HOST="host-gateway")[-1].startswith(
        "host-alias: LOCALDEV_HOST=host-gateway"
    )


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


@pytest.mark.parametrize(
    ("makefile", "compose"),
    [
        *(("Makefile", "compose.yaml"), ("GNUmakefile", "compose.yml")),
        *(("makefile", "docker-compose.yaml"), ("Makefile", "docker-compose.yml")),
    ],
)
def test_existing_files_stay_and_the_line_to_add_is_printed(
    makefile: str, compose: str, template: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "app [1]*?"  # signs that a glob would take
    repo.mkdir()
    mine = {makefile: b"all:\r\n\ttrue", compose: b"services:\r\n  app: {image: 'x'}"}
    for name, text in mine.items():
        (repo / name).write_bytes(text)
    done = copier("copy", "--trust", "--defaults", template, repo, cwd=tmp_path, check=True)
    assert {name: (repo / name).read_bytes() for name in mine} == mine
    present = {path.name for path in repo.iterdir()}
    assert present == {makefile, compose, ".localdev", ANSWERS}, (
        "a second Makefile or Compose file would be ignored or win"
    )
    assert f"Add to {makefile}:  include .localdev/localdev.mk" in done.stderr
    assert f"Add to {compose}:  include: [.localdev/compose.yaml]" in done.stderr
    # What is printed is what works.
    (repo / makefile).write_bytes(mine[makefile] + b"\ninclude .localdev/localdev.mk\n")
    (repo / compose).write_bytes(mine[compose] + b"\ninclude: [.localdev/compose.yaml]\n")
    assert hook(repo, template, run) == hook(repo, template, run)[-1:]
    assert "dev-up" in run("make", "dev-help", cwd=repo, check=True).stdout
    # An update keeps to that.
    commit(repo, run)
    copier("update", "--trust", "--defaults", "-q", "-a", ANSWERS, cwd=repo, check=True)
    assert {path.name for path in repo.iterdir()} == present | {".git"}


def test_a_service_of_the_same_name_is_found(repo: Render, template: Path, run: Run) -> None:
    here = repo(databases="[postgres]")
    (here / "compose.yaml").write_text(
        "include: [.localdev/compose.yaml]\nservices:\n  postgres: {image: x}\n  mine: {image: x}\n"
    )
    (line, _) = hook(here, template, run)
    assert line == "The service postgres is in compose.yaml and in .localdev/compose.yaml: rename yours in compose.yaml"


def test_ignored_files_are_named(repo: Render, template: Path, run: Run) -> None:
    here = repo()
    (here / ".gitignore").write_text("*.conf\n!.localdev/proxy/nginx/*.conf\n*.pem\n*.own\n")
    for name in ("tls.pem", "proxy/custom/mine.own"):  # not generated: no update deletes them
        (here / ".localdev" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / ".localdev" / name).write_text("mine")
    run("git", "init", "-q", cwd=here, check=True)
    (line, _) = hook(here, template, run)
    assert line == (
        "Git ignores .localdev/host-alias.conf (*.conf in .gitignore, line 1): no teammate gets that, and updates will stop. "
        "Change that rule, and commit"
    )


def test_an_update_leaves_certificate_snippets_and_names_alone_and_complains_of_none(
    repo: Render, template: Path, copier: Run, run: Run
) -> None:
    here = repo()
    users = {"tls.pem": "key\n", "proxy/custom/x.conf": "# mine\n", "proxy/custom/server/y.conf": "# mine\n"}
    users["names.yaml"] = "services:\n  proxy: {} # mine\n"
    for name, text in users.items():
        (here / ".localdev" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / ".localdev" / name).write_text(text)
    commit(here, run, force=False)
    done = copier("update", "--trust", "--defaults", "-a", ANSWERS, "-dweb_port=8081", cwd=here, check=True)
    assert "web_port=8081" in (here / ".localdev/host-alias.conf").read_text()
    assert {name: (here / ".localdev" / name).read_text() for name in users} == users
    assert "Ignored by git" not in done.stderr
    assert run("git", "ls-files", ".localdev/tls.pem", cwd=here, check=True).stdout == ""


def test_a_changed_address_is_told_for_every_machine(repo: Render, template: Path, copier: Run, run: Run) -> None:
    here = repo()
    commit(here, run)
    done = copier(
        *("update", "--trust", "--defaults", "-a", ANSWERS, *as_data({"alias_ip": "10.254.254.253"})),
        cwd=here,
        check=True,
    )
    assert "alias_ip 10.254.254.254 -> 10.254.254.253" in done.stderr
    assert "On every machine: make dev-up" in done.stderr
    assert "ip=10.254.254.253" in (here / ".localdev/host-alias.conf").read_text()


@pytest.fixture
def with_caddy(own_template: Path, copier: Run, run: Run, tmp_path: Path) -> Path:
    """A repo with Caddy, made when Caddy was a choice. The newest version of its template has nginx alone."""
    alone, both = "  choices: [nginx, none]\n", "  choices: [nginx, caddy, none]\n"
    release(own_template, run, "v1.1.0", {"copier.yml": (alone, both)})
    repo = tmp_path / "app"
    copier("copy", "--trust", "--defaults", "-q", "-dweb_proxy=caddy", own_template, repo, cwd=tmp_path, check=True)
    (repo / ".localdev/proxy/custom/server").mkdir(parents=True)
    for name in ("mine.conf", "mine.caddy", "server/mine.caddy"):
        (repo / ".localdev/proxy/custom" / name).write_text("# mine\n")
    commit(repo, run)
    release(own_template, run, "v1.2.0", {"copier.yml": (both, alone)})
    return repo


@pytest.mark.parametrize("flags", [("--defaults",), (), ("--defaults", "-dweb_proxy=caddy")], ids=" ".join)
def test_an_update_of_a_repo_with_caddy_stops_and_says_what_to_answer(
    flags: tuple[str, ...], with_caddy: Path, copier: Run, run: Run
) -> None:
    done = copier("update", "--trust", *flags, "-a", ANSWERS, cwd=with_caddy)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if re.match("Nothing|ValueError", line)] == [
        "Nothing was updated: web_proxy is caddy, which is no longer a choice. Answer nginx or none: "
        'make dev-update ARGS="-d web_proxy=nginx"'
    ]
    assert run("git", "status", "--porcelain", cwd=with_caddy, check=True).stdout == ""


@pytest.mark.parametrize(
    ("answer", "unread"),
    [("nginx", ["mine.caddy", "server/mine.caddy"]), ("none", ["mine.caddy", "mine.conf", "server/mine.caddy"])],
)
def test_with_another_answer_the_update_of_a_repo_with_caddy_goes_on(
    answer: str, unread: list[str], with_caddy: Path, copier: Run
) -> None:
    flags = ("--trust", "--defaults", f"-dweb_proxy={answer}")
    done = copier("update", *flags, "-a", ANSWERS, cwd=with_caddy, check=True)
    assert f"\nweb_proxy: {answer}\n" in (with_caddy / ANSWERS).read_text()
    names = ", ".join(f".localdev/proxy/custom/{name}" for name in unread)
    assert f"Not read any more, as web_proxy is {answer}: {names}\n" in done.stderr


def test_conflicts_are_told_first_and_alone(own_template: Path, copier: Run, run: Run, tmp_path: Path) -> None:
    repo = tmp_path / "app"
    copier("copy", "--trust", "--defaults", "-q", own_template, repo, cwd=tmp_path, check=True)
    makefile = repo / ".localdev/localdev.mk"
    makefile.write_text(makefile.read_text().replace("# Short names", "# My names"))
    commit(repo, run)
    release(own_template, run, "v1.1.0", {"template/.localdev/localdev.mk": ("# Short names", "# Some short names")})
    done = copier("update", "--trust", "--defaults", "-a", ANSWERS, cwd=repo, check=True)
    assert "Conflicts in: .localdev/localdev.mk." in done.stderr
    assert "host-alias: " not in done.stderr.split("Conflicts")[1]


@pytest.mark.parametrize(
    "fault", ["no git", "broken compose", "no conf", "no answers", "broken answers", "no localdev"]
)
def test_whatever_is_broken_the_hook_exits_0_with_one_line(
    fault: str, repo: Render, template: Path, run: Run, tmp_path: Path
) -> None:
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
    lines = hook(here, template, run, **env)
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
