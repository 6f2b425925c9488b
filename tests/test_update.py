"""Updates: from every release to the working tree nothing of a user's is lost; what changed answers ask for is said."""

import difflib
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import PROJECT, Run, as_data
from versions import ANSWERS, RELEASES, commit, release, with_every_release

# The working tree with another comment in one file, so that from every release there is something to conflict with.
TARGET = "v999.1.0"
NEWEST = list(RELEASES)[-1]
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
    "Makefile": b"# caf\xe9\ninclude .localdev/localdev.mk\nmine: ; @echo mine",
    "compose.yaml": b"# mine\r\nname: shop\r\ninclude: [.localdev/compose.yaml]\r\nservices:\r\n  app: {image: x}",
    ".localdev/routes": b"# mine\r\nweb 3001 /\r\n",
    ".localdev/proxy/custom/mine.conf": b"# mine: caf\xe9",
    ".localdev/proxy/custom/server/mine.conf": b"# mine\n\n\n",
    "src/app.py": b"print('mine')\n",
    ".gitignore": b"/build/\n*.pyc\n",
}
STUBS = {"Makefile", "compose.yaml", ".localdev/routes", ".localdev/names.yaml"}
CONFLICT, MERGE = ".localdev/routes.awk", ".localdev/localdev.mk"


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


Fresh = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="session")
def fresh(releases: Path, copier: Run, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Returns a copy of TARGET with the given answers, made once: read it, don't write to it."""

    @functools.cache
    def made(*data: str) -> Path:
        folder = tmp_path_factory.mktemp("fresh") / "shop"
        copier("copy", "--trust", "--defaults", "-q", *data, releases, folder, cwd=releases, check=True)
        return folder

    return lambda answers: made(*as_data(answers))


def dev_update(repo: Path, run: Run, arguments: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run `make dev-update` in `repo` with these ARGS, as its README says."""
    copier = f"LOCALDEV_COPIER='{sys.executable}' -m copier"
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


def test_user_files_survive_an_update_and_a_second_one_changes_nothing(
    own_template: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "app"
    copier("copy", "--trust", "--defaults", "-q", own_template, repo, cwd=tmp_path, check=True)
    mine = {"Makefile": "all:\n", "compose.yaml": "include: [.localdev/compose.yaml]\n", ".localdev/routes": "a 1\n"}
    for name, text in mine.items():
        (repo / name).write_text(text)
    commit(repo, run)
    release(
        own_template, run, "v1.1.0",
        {
            "template/.localdev/localdev.mk": ("# Short names", "# Some short names"),
            "template/.localdev/routes.jinja": ("# Your services", "# Services"),
            "template/Makefile": ("# Yours", "# Still yours"),
        },
    )  # fmt: skip
    copier("update", "--trust", "--defaults", "-q", "-a", ANSWERS, cwd=repo, check=True)
    assert {name: (repo / name).read_text() for name in mine} == mine
    assert "# Some short names" in (repo / ".localdev/localdev.mk").read_text()
    assert yaml.safe_load((repo / ANSWERS).read_text())["_commit"] == "v1.1.0"
    commit(repo, run)
    copier("update", "--trust", "--defaults", "-q", "-a", ANSWERS, cwd=repo, check=True)
    assert run("git", "status", "--porcelain", cwd=repo, check=True).stdout == ""


# The newest one in a monorepo, and with what the oldest could not be asked.
@pytest.mark.parametrize(
    ("version", "below", "more"),
    [(version, "shop", {}) for version in RELEASES if version != NEWEST]
    + [(NEWEST, "apps/shop", {"web_domain": "shop.test"})],
)
def test_from_every_release_nothing_is_lost_and_all_else_is_as_in_a_fresh_copy(
    version: str,
    below: str,
    more: dict[str, Any],
    releases: Path,
    neighbour: Path,
    fresh: Fresh,
    copier: Run,
    run: Run,
    tmp_path: Path,
) -> None:
    answers = CHOSEN | more
    repo = tmp_path / below
    top = repo if below == "shop" else tmp_path
    copier(
        *("copy", "--trust", "--defaults", "-q", "--vcs-ref", version, *as_data(answers), releases, repo),
        cwd=tmp_path,
        check=True,
    )
    copier("copy", "--defaults", "-q", neighbour, repo, cwd=tmp_path, check=True)
    for name, content in USERS.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(content)
    (repo / CONFLICT).write_text(re.sub(r"\A.*\n", "# My first line.\n", (repo / CONFLICT).read_text()))
    newest = (fresh(answers) / MERGE).read_text()
    (repo / MERGE).write_text(with_a_line_that_merges((repo / MERGE).read_text(), newest, "# My own line.\n"))
    commit(top, run)
    before, wanted = files(repo), files(fresh(answers))

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

    # The index knows the three versions, so git's own ways to resolve it work.
    run("git", "checkout", "--theirs", CONFLICT, cwd=repo, check=True)
    assert files(repo)[CONFLICT] == wanted[CONFLICT]
    commit(top, run)
    again = dev_update(repo, run, check=True)
    assert run("git", "status", "--porcelain", "--ignored", cwd=top, check=True).stdout == ""
    (verdict,) = said(again)
    assert verdict.startswith("host-alias: ")
    # The neighbour can be updated as before.
    copier("update", "--defaults", "-q", "-a", ".copier-answers.yml", cwd=repo, check=True)
    assert run("git", "status", "--porcelain", "--ignored", cwd=top, check=True).stdout == ""


def test_the_compose_file_that_older_updates_left_behind_comes_by_the_command_in_the_changelog(
    releases: Path, fresh: Fresh, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo, stale = tmp_path / "shop", ".localdev/compose.yaml"
    words = ("--trust", "--defaults", "-q")
    copier("copy", *words, "--vcs-ref", "v0.1.0", *as_data(CHOSEN), releases, repo, cwd=tmp_path, check=True)
    for name, content in USERS.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(content)
    commit(repo, run)
    copier("update", *words, "--vcs-ref", NEWEST, "-a", ANSWERS, cwd=repo, check=True)
    commit(repo, run)
    dev_update(repo, run, check=True)
    commit(repo, run)
    before, wanted = files(repo), files(fresh(CHOSEN))
    assert before[stale] != wanted[stale]
    command = re.search("`copier (recopy .*)`", (PROJECT / "CHANGELOG.md").read_text())[1]
    copier(*command.split(), cwd=repo, check=True)
    assert files(repo) == before | {stale: wanted[stale]}


def test_an_edited_file_that_is_gone_and_a_file_of_ones_own_in_a_new_ones_place_are_not_lost(
    releases: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "shop"
    copier("copy", "--trust", "--defaults", "-q", "--vcs-ref", "v0.1.0", releases, repo, cwd=tmp_path, check=True)
    gone = ".localdev/proxy/nginx.conf"
    (repo / gone).write_text((repo / gone).read_text() + "# mine\n")
    own = repo / ".localdev/sh/ports.awk"
    own.write_text("# mine, and nobody's template had this file then\n")
    commit(repo, run)
    done = dev_update(repo, run, check=True)
    conflict, lost = said(done)
    assert conflict.startswith("Conflicts in: .localdev/sh/ports.awk. ")
    assert "# mine, and nobody's template had this file then" in own.read_text().splitlines()
    assert lost.startswith(f"No longer in the template, but edited by you: {gone}. Yours: git show ")
    commit(repo, run)
    assert run(*lost.split(": ")[-1].split(), cwd=repo, check=True).stdout.endswith("# mine\n")


def test_edits_that_did_not_fit_are_named_where_somebody_wants_them_in_files_of_their_own(
    releases: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    repo = tmp_path / "shop"
    copier("copy", "--trust", "--defaults", "-q", "--vcs-ref", "v0.1.0", releases, repo, cwd=tmp_path, check=True)
    for name in (CONFLICT, ".localdev/proxy/nginx.conf"):
        (repo / name).write_text(re.sub(r"\A.*\n", "# My first line.\n", (repo / name).read_text()))
    commit(repo, run)
    rejected, gone = said(dev_update(repo, run, "--conflict rej", check=True))
    assert rejected == (
        f"Your edits that did not fit: .localdev/proxy/nginx.conf.rej, {CONFLICT}.rej. Put them in by hand, delete the .rej "
        "files, then: make dev-up"
    )
    assert "+# My first line." in (repo / f"{CONFLICT}.rej").read_text().splitlines()
    assert gone.startswith("No longer in the template, but edited by you: .localdev/proxy/nginx.conf. ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("no repository", "Updating is only supported in git-tracked subprojects."),
        ("edited", "Please commit or stash your local changes and retry."),
        ("a new file", "Please commit or stash your local changes and retry."),
        ("a newer version", "Downgrades are not supported."),
    ],
)
def test_an_update_that_cannot_start_says_so_in_one_line_and_changes_nothing(
    state: str, words: str, fresh: Fresh, run: Run, tmp_path: Path
) -> None:
    repo = Path(shutil.copytree(fresh(CHOSEN), tmp_path / "shop"))
    if state != "no repository":
        commit(repo, run)
    if name := {"edited": "Makefile", "a new file": "new"}.get(state):
        (repo / name).write_text("include .localdev/localdev.mk\n")
    before = files(repo)
    done = dev_update(repo, run, "--vcs-ref v0.1.0" if state == "a newer version" else "")
    assert done.returncode != 0
    line, make = done.stderr.splitlines()
    assert line.endswith(words)
    assert make.startswith("make: *** ")
    assert files(repo) == before


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
    rules.write_text("# rules\nhost-alias.*\n!.localdev/routes.awk\n")
    for words in (("add", "-A"), ("commit", "-qm", "all")):
        run("git", *words, cwd=top, env=env, check=True)
    (repo / ".localdev/host-alias.conf").write_text("# mine, and nobody else has it\n")

    def state() -> tuple[dict[str, tuple[bool, bytes]], str, str]:
        status = run("git", "status", "--porcelain", cwd=top, env=env, check=True).stdout
        return files(top), status, run("git", "rev-parse", "HEAD", cwd=top, check=True).stdout

    before = state()
    assert before[1] == ""
    done = dev_update(repo, run, env=env)
    assert done.returncode != 0
    assert state() == before
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Nothing was updated")]
    three = ", ".join(f".localdev/host-alias.{kind}" for kind in ("conf", "plist", "service"))
    assert f"git ignores {three} (host-alias.* in {rules if rules.parent == tmp_path else place}, line 2)" in line


def test_an_update_goes_on_where_git_has_the_ignored_files_and_not_where_it_drops_the_edits_in_them(
    uncommitted: Path, run: Run, tmp_path: Path
) -> None:
    repo = Path(shutil.copytree(uncommitted, tmp_path / "shop"))
    (repo / ".gitignore").write_text("host-alias.*\n")
    conf = repo / ".localdev/host-alias.conf"
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
    assert "Nothing was updated: git on this machine ignores .localdev/host-alias.conf, " in refused.stderr
    assert f"(*.conf in {tmp_path}/excludes, line 1), so an update would drop your edits" in refused.stderr
    assert run("git", "status", "--porcelain", cwd=repo, check=True).stdout == ""


def test_a_new_file_that_git_ignores_comes_is_warned_about_and_the_next_update_stops(
    template: Path, own_template: Path, uncommitted: Path, run: Run, tmp_path: Path
) -> None:
    repo = Path(shutil.copytree(uncommitted, tmp_path / "shop"))
    answers = repo / ANSWERS
    answers.write_text(answers.read_text().replace(str(template), str(own_template)))
    (repo / ".gitignore").write_text("*.new\n")
    commit(repo, run)
    release(own_template, run, "v1.1.0", {"template/.localdev/file.new": ("", "text\n")})
    warning, _ = said(dev_update(repo, run, check=True))
    assert warning.startswith("Git ignores .localdev/file.new (*.new in .gitignore, line 1): ")
    assert (repo / ".localdev/file.new").read_text() == "text\n"
    commit(repo, run, force=False)
    assert dev_update(repo, run).returncode != 0
    # What both said is the way out.
    (repo / ".gitignore").write_text("*.log\n")
    commit(repo, run, force=False)
    (verdict,) = said(dev_update(repo, run, check=True))
    assert verdict.startswith("host-alias: ")
    assert (repo / ".localdev/file.new").read_text() == "text\n"
    assert run("git", "status", "--porcelain", cwd=repo, check=True).stdout == ""


# --- answers that change ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed(uncommitted: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repo with the answers CHOSEN and files of the user's that say some of them, committed."""
    repo = Path(shutil.copytree(uncommitted, tmp_path_factory.mktemp("committed") / "shop"))
    for name, text in {
        "config/app.yml": "host: 10.254.254.253\nurl: http://api.shop.localhost:8081/\n",
        "config/none.yml": "a: 110.254.254.253\nb: 10.254.254.2530\nc: my-shop.localhost\nd: shop.localhost.test:8081\n",
        ".localdev/proxy/custom/mine.conf": "# mine\n",
    }.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    commit(repo, run)
    return repo


Change = Callable[..., tuple[Path, list[str]]]


@pytest.fixture
def change(committed: Path, template: Path, copier: Run, run: Run, tmp_path: Path) -> Change:
    """Changes answers of a repo by an update; returns the repo, which is as a fresh copy is, and what the hook said."""

    def change(**answers: Any) -> tuple[Path, list[str]]:
        repo = Path(shutil.copytree(committed, tmp_path / "shop"))
        lines = said(dev_update(repo, run, " ".join(f"'{word}'" for word in as_data(answers)), check=True))
        new, now = tmp_path / "new", yaml.safe_load((repo / ANSWERS).read_text())
        data = {name: value for name, value in now.items() if not name.startswith("_")}
        copier("copy", "--trust", "--defaults", "-q", *as_data(data), template, new, cwd=tmp_path, check=True)
        fresh = files(new)
        mine = STUBS | {"config/app.yml", "config/none.yml", ".localdev/proxy/custom/mine.conf"}
        assert {name: file for name, file in files(repo).items() if name not in mine} == {
            name: file for name, file in fresh.items() if name not in STUBS
        }
        was, became = files(committed), files(repo)
        assert {name: became[name] for name in mine} == {name: was[name] for name in mine}
        # 2 would be: conf, plist and unit do not agree.
        assert run("sh", ".localdev/host-alias", "check", cwd=repo).returncode in (0, 3)
        assert lines[-1].startswith("host-alias: ")
        return repo, lines[:-1]

    return change


def test_a_new_address_takes_a_job_of_its_own_along(template: Path, copier: Run, run: Run, tmp_path: Path) -> None:
    repo = tmp_path / "app"
    copier("copy", "--trust", "--defaults", "-q", template, repo, cwd=tmp_path, check=True)
    commit(repo, run)
    first, own, _ = said(dev_update(repo, run, "-d alias_ip=10.254.254.252", check=True))
    assert first == (
        "Changed: alias_label local.host-alias.10.254.254.254 -> local.host-alias.10.254.254.252, "
        "alias_ip 10.254.254.254 -> 10.254.254.252. On every machine: make dev-up; it says how to remove the old boot job"
    )
    assert own == "Your own files still say 10.254.254.254: compose.yaml"
    assert "label=local.host-alias.10.254.254.252\n" in (repo / ".localdev/host-alias.conf").read_text()


def test_a_new_address_under_a_label_of_ones_own_asks_for_a_new_label(change: Change) -> None:
    _, lines = change(alias_ip="10.254.254.252")
    assert lines == [
        "Changed: alias_ip 10.254.254.253 -> 10.254.254.252. On every machine: make dev-up; it says how to remove the old boot job",
        "Where the boot job com.example.shop still adds 10.254.254.253, that refuses. Give the new address one of its own: "
        'make dev-update ARGS="-d alias_label=com.example.shop-2"',
        "Your own files still say 10.254.254.253: compose.yaml, config/app.yml",
    ]


def test_a_new_slug_names_what_keeps_the_old_one(change: Change) -> None:
    _, lines = change(project_slug="store", alias_label="com.example.store")
    assert lines == [
        "Changed: alias_label com.example.shop -> com.example.store. On every machine: make dev-up; it says how to remove the "
        "old boot job",
        "compose.yaml still has `name: shop`: change it to store after make dev-down. Until then containers and volumes are "
        "shop's; their data does not move along",
        'The URLs are still below shop.localhost. Or: make dev-update ARGS="-d web_domain=store.localhost"',
    ]


def test_databases_that_come_and_go_are_told_with_what_to_do(change: Change) -> None:
    _, lines = change(databases="[redis, mysql]")
    assert lines == [
        "No longer in the stack: postgres. On every machine: make dev-up ARGS=--remove-orphans",
        "The data stays. Where nobody needs it: docker volume rm shop_localdev-postgres17-data",
        "New in the stack: mysql. On every machine: make dev-up",
    ]


def test_without_a_proxy_the_snippets_are_named_that_are_not_read_any_more(
    committed: Path, run: Run, tmp_path: Path
) -> None:
    repo = Path(shutil.copytree(committed, tmp_path / "shop"))
    lines = said(dev_update(repo, run, "-d web_proxy=none -d databases=[]", check=True))
    assert lines[:-1] == [
        "No longer in the stack: postgres, proxy, redis. On every machine: make dev-down ARGS=--remove-orphans",
        "The data stays. Where nobody needs it: docker volume rm shop_localdev-postgres17-data shop_localdev-redis8-data",
        "Not read any more, as web_proxy is none: .localdev/proxy/custom/mine.conf",
    ]
    assert not (repo / ".localdev/names.yaml").exists()
    assert {path.name for path in (repo / ".localdev/proxy").iterdir()} == {"custom"}


def test_a_new_domain_names_what_has_to_follow_it(change: Change) -> None:
    _, lines = change(web_domain="shop.test", native_services="web:3000")
    assert lines == [
        "web_domain shop.localhost -> shop.test: make dev-up writes .localdev/names.yaml anew; commit it, too",
        "Where HTTPS is on: make dev-tls. Where /etc/hosts has the block `localdev shop.localhost`: delete it, then make "
        "dev-hosts",
        "native_services seeds .localdev/routes only once: write your services into it, then make dev-reload",
        "Your own files still say shop.localhost: config/app.yml",
    ]


def test_a_new_port_names_the_files_that_still_say_the_old_one(change: Change) -> None:
    _, lines = change(web_port=8082)
    assert lines == ["Your own files still say shop.localhost:8081: config/app.yml"]
