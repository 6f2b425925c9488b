"""Updates: from every release to the working tree nothing of the user's is lost, and what changed answers ask for is said."""

import difflib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Run, as_data
from versions import ANSWERS, RELEASES, commit, release, with_every_release

# The working tree with another comment in one file, so that from every release there is something to conflict with.
TARGET = "v999.1.0"
# Not one default: what an update forgot would show.
CHOSEN = {
    "project_slug": "shop",
    "alias_ip": "10.254.254.253",
    "alias_label": "com.example.shop",
    "native_services": "web:3000 api:4000",
    "databases": "[postgres, redis]",
    "web_port": 8081,
}
# Bytes that no program would write the same way: another encoding, other line ends, no newline at the end.
USERS = {
    "Makefile": b"# caf\xe9\ninclude localdev/localdev.mk\nmine: ; @echo mine",
    "compose.yaml": b"# mine\r\nname: shop\r\ninclude: [localdev/compose.yaml]\r\nservices:\r\n  app: {image: x}",
    "localdev/routes": b"# mine\r\nweb 3001 /\r\n",
    "localdev/proxy/custom/mine.conf": b"# mine: caf\xe9",
    "localdev/proxy/custom/server/mine.conf": b"# mine\n\n\n",
    "src/app.py": b"print('mine')\n",
    ".gitignore": b"/build/\n*.pyc\n",
}
STUBS = {"Makefile", "compose.yaml", "localdev/routes", "localdev/names.yaml"}
CONFLICT, MERGE = "localdev/routes.awk", "localdev/localdev.mk"


def files(repo: Path) -> dict[str, tuple[bool, bytes]]:
    """Return every file in `repo` but git's: whether it may be run, and its bytes."""
    return {
        str(path.relative_to(repo)): (bool(path.stat().st_mode & 0o111), path.read_bytes())
        for path in repo.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(repo).parts
    }


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the hook printed during an update, and nothing of Copier's."""
    lines = done.stderr.split("\n\n", 1)[1].splitlines()
    own = ("Updating ", "Next:", " > Running", "Keeping", "Copying")
    return [line for line in lines if line and not line.startswith(own)]


@pytest.fixture(scope="session")
def releases(template: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A template with every release, and TARGET as the newest."""
    folder = with_every_release(tmp_path_factory.mktemp("releases") / "template", template, run)
    first = (folder / "template" / CONFLICT).read_text().splitlines()[0]
    release(folder, run, TARGET, {f"template/{CONFLICT}": (first, "# The first line of the newest version.")})
    return folder


@pytest.fixture(scope="session")
def neighbour(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Somebody else's template, which lives in the same repo with an answers file of its own."""
    folder = tmp_path_factory.mktemp("neighbour")
    for name, text in {
        "copier.yml": "_subdirectory: template\nname: {type: str, default: lib}\n",
        "template/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers|to_nice_yaml -}}\n",
        "template/.editorconfig": "root = true\n",
        "template/docs/{{ name }}.md.jinja": "# {{ name }}\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    commit(folder, run)
    run("git", "tag", "v1.0.0", cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def fresh(releases: Path, copier: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of TARGET with the answers CHOSEN."""
    folder = tmp_path_factory.mktemp("fresh") / "shop"
    copier("copy", "--trust", "--defaults", "-q", *as_data(CHOSEN), releases, folder, cwd=releases, check=True)
    return folder


def dev_update(repo: Path, run: Run, arguments: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run `make dev-update` in `repo` with these ARGS, as its README says."""
    copier = f"COPIER='{sys.executable}' -m copier"
    return run("make", "dev-update", copier, f"ARGS=--defaults {arguments}", cwd=repo, **more)


def unmerged(repo: Path, run: Run) -> set[str]:
    lines = run("git", "ls-files", "-u", cwd=repo, check=True).stdout.splitlines()
    return {line.split("\t")[1] for line in lines}


def with_a_line_that_merges(old: str, new: str, line: str) -> str:
    """Return `old` with `line` in the middle of the longest part that `new` has, too."""
    ours, theirs = old.splitlines(keepends=True), new.splitlines(keepends=True)
    block = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match()
    assert block.size > 8, "there is no place for an edit that merges"
    place = block.a + block.size // 2
    return "".join([*ours[:place], line, *ours[place:]])


@pytest.mark.parametrize("version", RELEASES)
def test_from_every_release_nothing_is_lost_and_all_else_is_as_in_a_fresh_copy(
    version: str, releases: Path, neighbour: Path, fresh: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "shop"
    copier(
        *("copy", "--trust", "--defaults", "-q", "--vcs-ref", version, *as_data(CHOSEN), releases, repo),
        cwd=tmp_path,
        check=True,
    )
    copier("copy", "--defaults", "-q", neighbour, repo, cwd=tmp_path, check=True)
    for name, content in USERS.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(content)
    (repo / CONFLICT).write_text(re.sub(r"\A.*\n", "# My first line.\n", (repo / CONFLICT).read_text()))
    newest = (fresh / MERGE).read_text()
    (repo / MERGE).write_text(with_a_line_that_merges((repo / MERGE).read_text(), newest, "# My own line.\n"))
    commit(repo, run)
    before, wanted = files(repo), files(fresh)

    done = dev_update(repo, run, check=True)

    after = files(repo)
    others = {".copier-answers.yml", ".editorconfig", "docs/lib.md"}
    assert {name: after[name] for name in {*USERS, *others}} == {name: before[name] for name in {*USERS, *others}}
    assert set(after) == set(wanted) | set(USERS) | others
    owned = set(wanted) - STUBS - {CONFLICT, MERGE}
    assert {name: after[name] for name in owned} == {name: wanted[name] for name in owned}
    assert (repo / MERGE).read_text().count("# My own line.\n") == 1
    assert (repo / MERGE).read_text().replace("# My own line.\n", "") == newest
    for line in ("<<<<<<< before updating", "# My first line.", "# The first line of the newest version."):
        assert line in (repo / CONFLICT).read_text().splitlines()
    assert unmerged(repo, run) == {CONFLICT}
    assert said(done) == [
        f"Conflicts in: {CONFLICT}. Resolve them (git mergetool, or edit and git add), then: make dev-up"
    ], "the hook ran once, and this is all there is to say"

    (repo / CONFLICT).write_bytes(wanted[CONFLICT][1])
    commit(repo, run)
    again = dev_update(repo, run, check=True)
    assert run("git", "status", "--porcelain", "--ignored", cwd=repo, check=True).stdout == ""
    (verdict,) = said(again)
    assert verdict.startswith("host-alias: ")
    # The neighbour can be updated as before.
    copier("update", "--defaults", "-q", "-a", ".copier-answers.yml", cwd=repo, check=True)
    assert run("git", "status", "--porcelain", "--ignored", cwd=repo, check=True).stdout == ""


def test_an_edited_file_that_is_gone_and_a_file_of_ones_own_in_a_new_ones_place_are_not_lost(
    releases: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "shop"
    copier("copy", "--trust", "--defaults", "-q", "--vcs-ref", "v0.1.0", releases, repo, cwd=tmp_path, check=True)
    (gone,) = (f"localdev/proxy/{name}.conf" for name in ("nginx",))
    (repo / gone).write_text((repo / gone).read_text() + "# mine\n")
    own = repo / "localdev/sh/ports.awk"
    own.write_text("# mine, and nobody's template had this file then\n")
    commit(repo, run)
    done = dev_update(repo, run, check=True)
    conflict, lost = said(done)
    assert conflict.startswith("Conflicts in: localdev/sh/ports.awk. ")
    assert "# mine, and nobody's template had this file then" in own.read_text().splitlines()
    assert lost.startswith(f"No longer in the template, but edited by you: {gone}. To see your version: ")
    assert run(*lost.split(": ")[-1].split(), cwd=repo, check=True).stdout.endswith("# mine\n")


# --- git ignores what the template brings -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uncommitted(template: Path, copier: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repo from the working tree, with the answers CHOSEN, before its first commit."""
    folder = tmp_path_factory.mktemp("uncommitted") / "shop"
    copier("copy", "--trust", "--defaults", "-q", *as_data(CHOSEN), template, folder, cwd=template, check=True)
    return folder


@pytest.mark.parametrize(
    ("below", "place"),
    [(".", ".gitignore"), ("apps/shop", ".gitignore"), (".", ".git/info/exclude"), (".", "core.excludesFile")],
)
def test_an_update_that_would_delete_ignored_files_stops_before_it_touches_anything(
    below: str, place: str, uncommitted: Path, run: Run, tmp_path: Path
) -> None:
    top = tmp_path / "top"
    repo = Path(shutil.copytree(uncommitted, top / below))
    rules = tmp_path / "excludes" if place == "core.excludesFile" else top / place
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.excludesFile",
        "GIT_CONFIG_VALUE_0": f"{tmp_path}/excludes",
    }
    run("git", "init", "-q", cwd=top, check=True)
    rules.write_text("# rules\nhost-alias.*\n!localdev/routes.awk\n")
    for words in (("add", "-A"), ("commit", "-qm", "all")):
        run("git", *words, cwd=top, env=env, check=True)
    (repo / "localdev/host-alias.conf").write_text("# mine, and nobody else has it\n")

    def state() -> tuple[dict[str, tuple[bool, bytes]], str, str]:
        status = run("git", "status", "--porcelain", cwd=top, env=env, check=True).stdout
        return files(top), status, run("git", "rev-parse", "HEAD", cwd=top, check=True).stdout

    before = state()
    assert before[1] == ""
    done = dev_update(repo, run, env=env)
    assert done.returncode != 0
    assert state() == before
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Nothing was updated")]
    three = ", ".join(f"localdev/host-alias.{kind}" for kind in ("conf", "plist", "service"))
    assert f"git ignores {three} (host-alias.* in {rules if rules.parent == tmp_path else place}, line 2)" in line

    # What it says is the way out.
    rules.write_text("*.log\n")
    run("git", "add", "-A", cwd=top, check=True)
    run("git", "commit", "-qm", "the rule is gone", cwd=top, check=True)
    dev_update(repo, run, env=env, check=True)
    assert (repo / "localdev/host-alias.conf").read_text() == "# mine, and nobody else has it\n"


def test_an_update_goes_on_where_git_has_the_ignored_files_and_not_where_it_drops_the_edits_in_them(
    uncommitted: Path, run: Run, tmp_path: Path
) -> None:
    repo = Path(shutil.copytree(uncommitted, tmp_path / "shop"))
    (repo / ".gitignore").write_text("host-alias.*\n")
    conf = repo / "localdev/host-alias.conf"
    conf.write_text(conf.read_text() + "# mine\n")
    commit(repo, run)
    verdict = said(dev_update(repo, run, check=True))
    assert len(verdict) == 1
    assert conf.read_text().endswith("# mine\n")

    (tmp_path / "excludes").write_text("*.conf\n")
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.excludesFile",
        "GIT_CONFIG_VALUE_0": f"{tmp_path}/excludes",
    }
    refused = dev_update(repo, run, env=env)
    assert refused.returncode != 0
    assert "Nothing was updated: git on this machine ignores localdev/host-alias.conf, " in refused.stderr
    assert f"(*.conf in {tmp_path}/excludes, line 1), so an update would drop your edits" in refused.stderr
    assert run("git", "status", "--porcelain", cwd=repo, check=True).stdout == ""


def test_a_new_file_that_git_ignores_comes_is_warned_about_and_the_next_update_stops(
    template: Path, uncommitted: Path, run: Run, tmp_path: Path
) -> None:
    repo = Path(shutil.copytree(uncommitted, tmp_path / "shop"))
    own_template = Path(shutil.copytree(template, tmp_path / "template"))
    answers = repo / ANSWERS
    answers.write_text(answers.read_text().replace(str(template), str(own_template)))
    (repo / ".gitignore").write_text("*.new\n")
    commit(repo, run)
    release(own_template, run, "v1.1.0", {"template/localdev/file.new": ("", "text\n")})
    warning, _ = said(dev_update(repo, run, check=True))
    assert warning.startswith("Git ignores localdev/file.new (*.new in .gitignore, line 1): ")
    assert (repo / "localdev/file.new").read_text() == "text\n"
    commit(repo, run, force=False)
    assert dev_update(repo, run).returncode != 0
    assert (repo / "localdev/file.new").read_text() == "text\n"
    assert run("git", "status", "--porcelain", cwd=repo, check=True).stdout == ""
