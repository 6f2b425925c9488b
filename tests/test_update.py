"""Updates: nothing of a user's is lost; what could not be merged, and what changed answers ask for, is said."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import Settings, run_copy, run_update

from conftest import Render, Run, as_data
from fast_copier import COMMAND
from versions import ANSWERS, commit, files, hook, release

# No answer is the default: an answer that an update forgets would show.
CHOSEN = {
    "project_slug": "shop",
    "alias_ip": "10.254.254.253",
    "alias_label": "com.example.shop",
    "native_services": "web:3000 api:4000",
    "databases": "[postgres, redis]",
    "web_port": 8081,
}
# Bytes that no program would write the same way: another encoding, other line ends, no newline at the end.
STUBS = {
    "Makefile": b"# caf\xe9\ninclude .localdev/localdev.mk\nmine: ; @echo mine",
    "compose.yaml": b"# mine\r\nname: shop\r\ninclude: [.localdev/compose.yaml]\r\nservices:\r\n  app: {image: x}",
    ".localdev/routes": b"# mine\r\nweb 3001 /\r\n",
}
USERS = STUBS | {
    ".localdev/proxy/custom/mine.conf": b"# mine: caf\xe9",
    ".localdev/proxy/custom/server/mine.conf": b"# mine\n\n\n",
    "src/app.py": b"print('mine')\n",
    ".gitignore": b"/build/\nignored.*\n",
}
# Repos come from the first of these releases, and are updated to the second one.
OLDER, NEWER = "v1.1.0", "v1.2.0"
# What differs between the two: a line that users edit, too, another line in a file that they edit, and whole files.
CONFLICT, MERGE = ".localdev/stack/routes.py", ".localdev/localdev.mk"
GONE, ADDED, IGNORED = (f".localdev/alias/{name}.sh" for name in ("gone", "added", "ignored"))
# An update renders `_exclude` with the answers of the older release, too, which has no such question.
QUESTION = """
flavour: {type: str, default: plain}
_exclude:
  - "{% if flavour | default('plain') != 'plain' %}/.localdev{% endif %}"
"""


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the hook printed during an update, and nothing of Copier's."""
    lines = done.stderr.split("\n\n", 1)[1].splitlines()
    own = ("Updating ", "Next:", " > Running", "Keeping", "Copying")
    return [line for line in lines if line and not line.startswith(own)]


def dev_update(repo: Path, run: Run, arguments: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """Run `make dev-update` in `repo` with these ARGS, as its README says."""
    copier = "LOCALDEV_COPIER=" + " ".join(f"'{word}'" for word in COMMAND)
    return run("make", "dev-update", copier, f"ARGS=--defaults {arguments}", cwd=repo, **more)


def with_first_line(path: Path, line: str) -> None:
    """Replace the first line of the file at `path`."""
    path.write_text(re.sub(r"\A.*", line, path.read_text()))


@pytest.fixture(scope="session")
def releases(template: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A template with the releases OLDER and NEWER: the working tree with other changes each."""
    folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("releases") / "template"))
    job = ("host-alias format ", "host-alias format 0: another text than format ")
    jobs = {f"template/.localdev/host-alias.{kind}.jinja": job for kind in ("plist", "service")}
    release(folder, run, OLDER, {f"template/{GONE}": ("", "# gone\n"), **jobs})
    run("git", "read-tree", "--reset", "-u", "v1.0.0", cwd=folder, check=True)
    changed = {
        f"template/{name}": ((folder / "template" / name).read_text().splitlines()[0], "# The newer first line.")
        for name in (CONFLICT, MERGE, "Makefile", ".localdev/routes.jinja")
    }
    added = {f"template/{name}": ("", "# added\n") for name in (ADDED, IGNORED)}
    added["copier.yml"] = ("\n_exclude:\n", QUESTION)
    release(folder, run, NEWER, changed | added)
    return folder


@pytest.fixture(scope="session")
def made(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a repo that a release of `releases` makes, made once: read it, don't write to it."""
    repos: dict[str, Path] = {}

    def made(version: str) -> Path:
        if version not in repos:
            repos[version] = tmp_path_factory.mktemp("made") / "shop"
            run_copy(
                str(releases), repos[version], CHOSEN | {"web_domain": "shop.test"}, vcs_ref=version, defaults=True,
                unsafe=True, quiet=True, skip_tasks=True, settings=Settings(),
            )  # fmt: skip
        return repos[version]

    return made


@pytest.fixture
def older(made: Callable[[str], Path], tmp_path: Path) -> Path:
    """A repo of the test's own, from OLDER and without a commit, below the folder `apps`."""
    return Path(shutil.copytree(made(OLDER), tmp_path / "apps/shop"))


@pytest.fixture(scope="session")
def neighbour(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Somebody else's template, which lives in the same repo with an answers file of its own."""
    folder = tmp_path_factory.mktemp("neighbour")
    texts = {
        "copier.yml": "_subdirectory: template\nname: {type: str, default: lib}\n",
        "template/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers|to_nice_yaml -}}\n",
        "template/.editorconfig": "root = true\n",
        "template/docs/{{ name }}.md.jinja": "# {{ name }}\n",
    }
    run("git", "init", "-q", cwd=folder, check=True)
    release(folder, run, "v1.0.0", {name: ("", text) for name, text in texts.items()})
    return folder


def write(repo: Path, texts: dict[str, bytes]) -> None:
    """Write files into `repo`."""
    for name, content in texts.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_bytes(content)


# In a repo with many projects, and another template in the same one.
def test_nothing_of_a_users_is_lost_and_all_else_is_as_in_a_fresh_copy(
    older: Path, made: Callable[[str], Path], neighbour: Path, run: Run
) -> None:
    repo, top, newest = older, older.parents[1], made(NEWER)
    run_copy(str(neighbour), repo, defaults=True, quiet=True, settings=Settings())
    write(repo, USERS)
    with_first_line(repo / CONFLICT, "# My first line.")
    (repo / MERGE).write_text((repo / MERGE).read_text() + "# My last line.\n")
    (repo / GONE).write_text("# gone\n# mine\n")
    (repo / ADDED).write_text("# mine, and the template did not have this file then\n")
    commit(top, run)
    write(repo, {".localdev/__pycache__/x.pyc": b"key"})
    before, wanted = files(repo), files(newest)
    assert GONE in before and ADDED in wanted

    done = dev_update(repo, run, check=True)

    after = files(repo)
    kept = {*USERS, ".localdev/__pycache__/x.pyc", ".copier-answers.yml", ".editorconfig", "docs/lib.md"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert set(after) == set(wanted) | kept
    owned = set(wanted) - kept - {CONFLICT, MERGE, ADDED}
    assert {name: after[name] for name in owned} == {name: wanted[name] for name in owned}
    assert (repo / MERGE).read_text() == (newest / MERGE).read_text() + "# My last line.\n"
    for line in ("<<<<<<< before updating", "# My first line.", "# The newer first line."):
        assert line in (repo / CONFLICT).read_text().splitlines()
    assert "# mine, and the template did not have this file then" in (repo / ADDED).read_text().splitlines()
    unmerged = run("git", "ls-files", "-u", cwd=repo, check=True).stdout.splitlines()
    assert {line.split("\t")[1] for line in unmerged} == {CONFLICT, ADDED}
    # The hook ran once, and this is all there is to say.
    conflict, lost, warning = said(done)
    assert conflict == (
        f"Conflicts in: {ADDED}, {CONFLICT}. Resolve them (git mergetool, or edit and git add), then: make dev-up"
    )
    assert lost.startswith(f"No longer in the template, but edited by you: {GONE}. Yours: git show ")
    assert warning.startswith(f"Git ignores {IGNORED} (ignored.* in apps/shop/.gitignore, line 2): ")

    # The index knows the three versions, so git's own ways to resolve it work.
    run("git", "checkout", "--theirs", CONFLICT, ADDED, cwd=repo, check=True)
    assert (files(repo)[CONFLICT], files(repo)[ADDED]) == (wanted[CONFLICT], wanted[ADDED])
    commit(top, run, force=False)
    assert run(*lost.split(": ")[-1].split(), cwd=repo, check=True).stdout == "# gone\n# mine\n"
    assert dev_update(repo, run).returncode != 0
    # What both said is the way out.
    write(repo, {".gitignore": b"/build/\n"})
    commit(top, run, force=False)
    before = files(repo)
    (verdict,) = said(dev_update(repo, run, check=True))
    assert verdict.startswith("host-alias: ")
    assert files(repo) == before
    # The neighbour can be updated as before.
    run_update(repo, answers_file=".copier-answers.yml", defaults=True, overwrite=True, quiet=True, settings=Settings())
    status = run("git", "status", "--porcelain", "--ignored", cwd=top, check=True).stdout
    assert status == "!! apps/shop/.localdev/__pycache__/\n"


def test_edits_without_a_place_are_kept_in_files_and_so_are_those_in_ignored_files_but_where_an_update_would_drop_them(
    older: Path, run: Run, tmp_path: Path
) -> None:
    (older / GONE).write_text("# gone\n# mine\n")
    with_first_line(older / CONFLICT, "# My first line.")
    (older / ".gitignore").write_text("host-alias.*\n")
    conf = older / ".localdev/host-alias.conf"
    conf.write_text(conf.read_text() + "# mine\n")
    commit(older, run)
    rejected, lost = said(dev_update(older, run, "--conflict rej", check=True))
    assert rejected == (
        f"Your edits that did not fit: {GONE}.rej, {CONFLICT}.rej. Put them in by hand, delete the .rej files, then: make dev-up"
    )
    assert "+# My first line." in (older / f"{CONFLICT}.rej").read_text().splitlines()
    assert "+# mine" in (older / f"{GONE}.rej").read_text().splitlines()
    assert lost.startswith(f"No longer in the template, but edited by you: {GONE}. ")
    assert conf.read_text().endswith("# mine\n")
    commit(older, run)

    # Git has the file, but Copier compares in repositories of its own, for which these rules count, too.
    (tmp_path / "excludes").write_text("*.conf\n")
    refused = dev_update(older, run, env=excluding(tmp_path / "excludes"))
    assert refused.returncode != 0
    assert "Nothing was updated: git on this machine ignores .localdev/host-alias.conf, " in refused.stderr
    assert f"(*.conf in {tmp_path}/excludes, line 1), so an update would drop your edits" in refused.stderr
    assert run("git", "status", "--porcelain", cwd=older, check=True).stdout == ""


def test_an_update_that_cannot_start_says_so_in_one_line_and_changes_nothing(older: Path, run: Run) -> None:
    def assert_refused(words: str, arguments: str = "") -> None:
        before = files(older)
        done = dev_update(older, run, arguments)
        assert done.returncode != 0
        line, make = done.stderr.splitlines()
        assert line.endswith(words)
        assert make.startswith("make: *** ")
        assert files(older) == before

    assert_refused("Updating is only supported in git-tracked subprojects.")
    commit(older, run)
    assert_refused("Downgrades are not supported.", "--vcs-ref v1.0.0")
    (older / "new").touch()
    assert_refused("Please commit or stash your local changes and retry.")
    (older / "new").unlink()
    (older / "Makefile").write_text("include .localdev/localdev.mk\n")
    assert_refused("Please commit or stash your local changes and retry.")


def excluding(path: Path) -> dict[str, str]:
    """Return an environment in which git also reads the rules in the file at `path`."""
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.excludesFile", "GIT_CONFIG_VALUE_0": str(path)}


def test_an_update_that_would_delete_ignored_files_stops_before_it_touches_anything(
    older: Path, run: Run, tmp_path: Path
) -> None:
    top, env = older.parent, excluding(tmp_path / "excludes")
    run("git", "init", "-q", cwd=top, check=True)
    (top / ".gitignore").write_text("# rules\nhost-alias.*\n!.localdev/routes\n")
    (top / ".git/info/exclude").write_text("job.sh\n")
    (tmp_path / "excludes").write_text("darwin.*\n")
    for words in (("add", "-A"), ("commit", "-qm", "all")):
        run("git", *words, cwd=top, env=env, check=True)
    (older / ".localdev/host-alias.conf").write_text("# mine, and nobody else has it\n")

    def state() -> tuple[dict[str, tuple[bool, bytes]], str, str]:
        status = run("git", "status", "--porcelain", cwd=top, env=env, check=True).stdout
        return files(top), status, run("git", "rev-parse", "HEAD", cwd=top, check=True).stdout

    before = state()
    assert before[1] == ""
    done = dev_update(older, run, env=env)
    assert done.returncode != 0
    assert state() == before
    ignored = re.findall(r"^Nothing was updated: git ignores (.*), so an update would delete ", done.stderr, re.M)
    three = ", ".join(f".localdev/host-alias.{kind}" for kind in ("conf", "plist", "service"))
    assert set(ignored) == {
        f"{three} (host-alias.* in .gitignore, line 2)",
        ".localdev/alias/common.sh (common.sh in .git/info/exclude, line 1)",
        f".localdev/alias/darwin.sh, .localdev/stack/machine/darwin.py (darwin.* in {tmp_path}/excludes, line 1)",
    }


# --- answers that change ----------------------------------------------------------------------------------------------

SAYING = {
    "config/app.yml": b"host: 10.254.254.253\nurl: http://api.shop.localhost:8081/\n",
    "config/none.yml": b"a: 110.254.254.253\nb: 10.254.254.2530\nc: my-shop.localhost\nd: shop.localhost.test:8081\n",
    ".localdev/proxy/custom/mine.conf": b"# mine\n",
}


def committed(answers: dict[str, Any], rendered: Render, run: Run, folder: Path) -> Path:
    """Return a repo with `answers` and files of the user's that say some of them, committed."""
    repo = Path(shutil.copytree(rendered(**answers), folder / "shop"))
    write(repo, SAYING)
    commit(repo, run)
    return repo


def test_after_a_change_of_answers_a_repo_is_as_a_fresh_copy_is_and_what_to_do_is_said(
    rendered: Render, run: Run, tmp_path: Path
) -> None:
    # The job has its default name: a new address takes one of its own along.
    answers = {name: answer for name, answer in CHOSEN.items() if name != "alias_label"}
    repo = committed(answers, rendered, run, tmp_path)

    def change(**answers: Any) -> list[str]:
        was = files(repo)
        lines = said(dev_update(repo, run, " ".join(f"'{word}'" for word in as_data(answers)), check=True))
        now = yaml.safe_load((repo / ANSWERS).read_text())
        fresh = files(rendered(**{name: value for name, value in now.items() if not name.startswith("_")}))
        became, mine = files(repo), {*STUBS, *SAYING} & {*was}
        assert {name: became[name] for name in mine} == {name: was[name] for name in mine}
        assert {name: became[name] for name in became.keys() - mine} == {
            name: fresh[name] for name in fresh.keys() - mine
        }
        # 2 would be: conf, plist and unit do not agree.
        assert run("sh", ".localdev/host-alias", "check", cwd=repo).returncode in (0, 3)
        assert lines[-1].startswith("host-alias: ")
        commit(repo, run)
        return lines[:-1]

    assert change(
        project_slug="store", alias_ip="10.254.254.252", web_domain="shop.test", web_port=8082, databases="[redis, mysql]",
        native_services="web:3000", github_workflow="true",
    ) == [
        "Changed: alias_label local.host-alias.10.254.254.253 -> local.host-alias.10.254.254.252, "
        "alias_ip 10.254.254.253 -> 10.254.254.252. On every machine: make dev-up; it says how to remove the old boot job",
        "compose.yaml still has `name: shop`: change it to store after make dev-down. Until then containers and volumes are "
        "shop's; their data does not move along",
        "No longer in the stack: postgres. On every machine: make dev-up ARGS=--remove-orphans",
        "The data stays. Where nobody needs it: docker volume rm shop_localdev-postgres17-data",
        "New in the stack: mysql. On every machine: make dev-up",
        "Where HTTPS is on: make dev-tls. Where /etc/hosts has the block `localdev shop.localhost`: delete it, then make "
        "dev-hosts",
        "native_services seeds .localdev/routes only once: write your services into it, then make dev-reload",
        "Your own files still say 10.254.254.253: compose.yaml, config/app.yml",
        "Your own files still say shop.localhost: config/app.yml",
    ]  # fmt: skip
    assert change(web_proxy="none", databases="[]", github_workflow="false") == [
        "No longer in the stack: mysql, proxy, redis. On every machine: make dev-down ARGS=--remove-orphans",
        "The data stays. Where nobody needs it: docker volume rm shop_localdev-mysql8.4-data shop_localdev-redis8-data",
        "Not read any more, as web_proxy is none: .localdev/proxy/custom/mine.conf",
    ]
    assert {path.name for path in (repo / ".localdev/proxy").iterdir()} == {"custom"}


OLD_JOB = "On every machine: make dev-up; it says how to remove the old boot job"
# The answers that change, and what the hook says then.
CHANGES = {
    # A label of the user's own stays, so the new address needs another one.
    ("alias_ip=10.254.254.252",): [
        f"Changed: alias_ip 10.254.254.253 -> 10.254.254.252. {OLD_JOB}",
        "Where the boot job com.example.shop still adds 10.254.254.253, make dev-up refuses. Give the new address a job of its own: "
        'make dev-update ARGS="-d alias_label=com.example.shop-2"',
        "Your own files still say 10.254.254.253: compose.yaml, config/app.yml",
    ],
    ("project_slug=store", "alias_label=com.example.store", "web_domain=shop.localhost"): [
        f"Changed: alias_label com.example.shop -> com.example.store. {OLD_JOB}",
        "compose.yaml still has `name: shop`: change it to store after make dev-down. Until then containers and volumes are "
        "shop's; their data does not move along",
        'The URLs are still below shop.localhost. Or: make dev-update ARGS="-d web_domain=store.localhost"',
    ],
    ("web_port=8082",): ["Your own files still say shop.localhost:8081: config/app.yml"],
}


@pytest.mark.parametrize("changed", CHANGES)
def test_what_each_change_asks_for_is_said(
    rendered: Render, run: Run, tmp_path: Path, changed: tuple[str, ...]
) -> None:
    repo, kept = committed(CHOSEN, rendered, run, tmp_path), {*STUBS, *SAYING}
    answers = dict(answer.split("=") for answer in changed)
    # The files that an update leaves are those of a fresh copy.
    for name in files(repo).keys() - kept:
        (repo / name).unlink()
    write(repo, {name: text for name, (_, text) in files(rendered(**CHOSEN | answers)).items() if name not in kept})
    *lines, verdict = hook(repo, run)
    assert verdict.startswith("host-alias: ")
    assert lines == CHANGES[changed]


def test_a_version_that_is_no_release_never_reaches_copier(
    releases: Path, older: Path, tmp_path: Path, run: Run
) -> None:
    template = tmp_path / "template"
    run("git", "clone", "-q", "--bare", releases, template, cwd=tmp_path, check=True)
    run("git", "update-ref", "refs/pull/7/head", "HEAD", cwd=template, check=True)
    unread = run("git", "rev-parse", "HEAD", cwd=template, check=True).stdout.strip()
    answers = older / ANSWERS
    usual = re.sub("(?m)^_src_path: .*", f"_src_path: {template}", answers.read_text())
    commit(older, run)

    def refused(text: str, reason: str, *arguments: str) -> None:
        answers.write_text(text)
        done = run("make", "dev-update", "LOCALDEV_COPIER=touch reached #", *arguments, cwd=older)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("localdev: ")]
        assert re.fullmatch(f"localdev: .*{reason}.*", line), line
        assert done.returncode == 2 and not (older / "reached").exists(), text

    for version in (unread, unread[:9], "refs/pull/7/head", "main", "HEAD", f"{OLDER}^", f"{OLDER}-1-g{unread[:7]}"):
        for extra in ((), (f"ARGS=--vcs-ref {NEWER}",)):
            text = usual.replace(f"_commit: {OLDER}", f"_commit: {version}")
            refused(text, f"_commit: .*, which is no release of .*e.g. {NEWER}", *extra)
    # YAML has many ways to say a key, and Copier takes the last one.
    for more in (
        f"_commit: {unread}",
        f'"_commit": {unread}',
        f'"\\x5fcommit": {unread}',
        f"? _commit\n: {unread}",
        f"<<: {{_commit: {unread}}}",
    ):
        refused(f"{usual}{more}\n", "Restore it: git checkout")
    refused(usual.replace("_commit: ", "commit: "), "has 0 lines _commit")
    refused(usual.replace(str(template), str(tmp_path / "gone")), "cannot be read")
    answers.write_text(usual)
    assert run("make", "dev-update", "LOCALDEV_COPIER=echo", cwd=older, check=True).stdout.startswith("update --trust")
    # A clone without releases is somebody's own.
    for tag in run("git", "tag", cwd=template, check=True).stdout.split():
        run("git", "tag", "-d", tag, cwd=template, check=True)
    answers.write_text(usual.replace(f"_commit: {OLDER}", f"_commit: {unread}"))
    assert run("make", "dev-update", "LOCALDEV_COPIER=echo", cwd=older).returncode == 0
