"""What lands in a user's repo: the files, their syntax, and that they agree with each other."""

import ast
import hashlib
import json
import os
import plistlib
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import LOCALDEV, PARTS, PROJECT, TOOLS, Render, Run
from needs import need, need_command, need_compose
from questionnaire import Copier
from shells import scripts
from versions import commit

USERS = {"Makefile", "compose.yaml", ".localdev/routes"}


def below(folder: str, names: str) -> set[str]:
    """Return the paths of `names`, words, in `folder` of .localdev."""
    return {f".localdev/{folder}{name}" for name in names.split()}


ALWAYS = {
    *USERS,
    ".copier-answers.localdev.yml",
    *below("", "README.md compose.yaml host-alias host-alias.conf host-alias.plist host-alias.service localdev.mk"),
    *below("", ".gitattributes .gitignore LICENSE ruff.toml"),
    *below("alias/", "common.sh darwin.sh linux.sh root-darwin.sh root-linux.sh"),
    *below("stack/", "__main__.py certificate.py checkout.py compose.py environment.py hosts.py nginx.py owners.py"),
    *below("stack/", "pages.py ports.py proxy.py root.py routes.py settings.py start.py state.py tools.py"),
    *below("stack/", "messages.py update.py urls.py verbs.py machine/__init__.py machine/darwin.py machine/linux.py"),
    *below("stack/doctor/", "__init__.py containers.py engine.py host.py services.py"),
}
FILES = {
    "none": ALWAYS,
    "nginx": {
        *ALWAYS,
        *below("proxy/", "headers.conf http.conf nginx.conf page.conf server.conf"),
        *below("proxy/pages/", "dashboard.html down.html frame.html no-route.html"),
    },
}
DATABASES = ("postgres", "mysql", "redis", "mongodb")
# Names that no service of a user's has by chance, with the version whose data it is.
VOLUMES = {
    "postgres": "localdev-postgres17-data",
    "mysql": "localdev-mysql8.4-data",
    "redis": "localdev-redis8-data",
    "mongodb": "localdev-mongodb8.0-data",
}


def files(repo: Path) -> set[str]:
    return {str(path.relative_to(repo)) for path in repo.rglob("*") if path.is_file() and ".git" not in path.parts}


def test_a_repo_gets_these_files_and_no_other(rendered: Render) -> None:
    assert files(rendered()) == FILES["nginx"]
    for proxy, names in FILES.items():
        assert files(rendered(web_proxy=proxy)) == names
    assert files(rendered(github_workflow="true")) == FILES["nginx"] | {".github/workflows/localdev-update.yml"}


def test_no_line_ends_in_a_blank_or_cr_and_every_file_ends_in_one_newline(rendered: Render) -> None:
    for answers in (
        {},
        {"databases": "[postgres, mysql, redis, mongodb]"},
        {"native_services": "web:3000 api:4000", "github_workflow": "true"},
        {"web_proxy": "none"},
    ):
        for name in sorted(files(rendered(**answers))):
            text = (rendered(**answers) / name).read_text()
            assert not re.search(r"[ \t\r]$", text, re.M), name
            assert text.endswith("\n") and not text.endswith("\n\n"), name
            # Python's own style has two blank lines between functions.
            assert "\n\n\n" not in text or name.endswith(".py"), name


def test_the_plist_is_a_one_shot_that_adds_the_alias_at_boot(rendered: Render) -> None:
    label, ip = "co.cozy.add-lo0-alias-for-docker", "169.254.254.254"
    raw = (rendered(alias_label=label, alias_ip=ip) / ".localdev/host-alias.plist").read_bytes()
    assert raw.startswith(b"<?xml")
    assert plistlib.loads(raw) == {
        "Label": label,
        "ProgramArguments": ["/sbin/ifconfig", "lo0", "alias", ip, "netmask", "255.255.255.255"],
        "RunAtLoad": True,
    }


if sys.platform == "darwin":  # elsewhere plistlib, above, and the fake macOS read it

    def test_plutil_accepts_the_plist(rendered: Render, run: Run) -> None:
        run("/usr/bin/plutil", "-lint", ".localdev/host-alias.plist", cwd=rendered(), check=True)


def test_systemd_accepts_the_unit(rendered: Render, run: Run, tmp_path: Path) -> None:
    need(sys.platform == "linux", "systemd", "run this on Linux")
    need_command("systemd-analyze", "systemd")
    unit = tmp_path / "local.host-alias.10.254.254.254.service"
    shutil.copy(rendered() / ".localdev/host-alias.service", unit)
    done = run("systemd-analyze", "verify", unit, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_older_projects_on_the_machine_find_what_they_read_in_a_boot_job(rendered: Render) -> None:
    """They take a later format for as good as theirs, so it must go on to say these things in the same way."""
    answers = {"alias_ip": "10.254.254.253", "alias_label": "com.example.shop"}
    unit, plist = ((rendered(**answers) / f".localdev/host-alias.{kind}").read_text() for kind in ("service", "plist"))
    assert re.match(r"# host-alias format \d+: ", unit)
    assert "\nRuntimeDirectory=host-alias/com.example.shop\n" in unit
    assert "\nExecStartPost=/sbin/ip address replace 10.254.254.253/32 dev lo scope host\n" in unit
    assert "\nWantedBy=multi-user.target\n" in unit
    assert re.search(r"<!-- host-alias format \d+: ", plist)
    assert plistlib.loads(plist.encode())["Label"] == "com.example.shop"
    arguments = plistlib.loads(plist.encode())["ProgramArguments"]
    assert arguments[:4] == ["/sbin/ifconfig", "lo0", "alias", "10.254.254.253"]


def test_unit_and_plist_carry_the_same_format_and_nothing_of_the_project(rendered: Render) -> None:
    def jobs(**answers: str) -> list[str]:
        return [(rendered(**answers) / f".localdev/host-alias.{kind}").read_text() for kind in ("plist", "service")]

    formats = [re.findall(r"host-alias format ([0-9]+)\b", text) for text in jobs()]
    assert [len(found) for found in formats] == [1, 1]
    # All repos of a machine share one boot job: two that differ would replace each other's for ever.
    assert jobs() == jobs(project_slug="other", web_port="9999", native_services="x:1", databases="[redis]")


def test_a_changed_boot_job_has_a_new_format() -> None:
    """When this fails: raise the number in that file's `host-alias format N`, then put it with the new digest here.

    An installed boot job is replaced when its format is older and left alone when it is newer, so a text may never change
    under the same number.
    """
    files = ("host-alias.plist", "host-alias.service")
    texts = [(LOCALDEV / f"{name}.jinja").read_bytes() for name in files]
    formats = [int(re.findall(rb"host-alias format ([0-9]+)\b", text)[0]) for text in texts]
    digests = [hashlib.sha256(text).hexdigest()[:16] for text in texts]
    assert list(zip(formats, digests, strict=True)) == [(1, "3788a0d724281788"), (3, "9a616f2778b29fab")]


def every_combination() -> list[dict[str, str]]:
    subsets = [(), *((name,) for name in DATABASES), DATABASES]
    return [{"databases": f"[{', '.join(subset)}]", "web_proxy": proxy} for subset in subsets for proxy in FILES]


def test_every_container_is_healthy_pinned_private_and_reaches_the_host(tmp_path: Path) -> None:
    copier = Copier(tmp_path)
    for answers in every_combination():
        copier.ask(**answers)
        check_containers(copier.files()["template/.localdev/compose.yaml.jinja"], answers)


def check_containers(compose: dict[str, Any], answers: dict[str, str]) -> None:
    """Check the Compose file that `answers` made."""
    chosen = yaml.safe_load(answers["databases"])
    assert list(compose["services"]) == (["proxy"] if answers["web_proxy"] != "none" else []) + chosen
    own = {"localdev-proxy"} if answers["web_proxy"] != "none" else set()
    assert set(compose.get("volumes", {})) == own | {VOLUMES[name] for name in chosen}
    for name, service in compose["services"].items():
        assert re.fullmatch(r"[a-z]+:[0-9]+(\.[0-9]+)?(-alpine)?", service["image"])
        assert service["healthcheck"]["test"]
        assert "start_interval" not in service["healthcheck"]  # an error on engines before 25
        for port in service["ports"]:
            # The proxy has the same number inside as outside.
            inside = r"\1" if name == "proxy" else "[0-9]+"
            assert re.fullmatch(rf"127\.0\.0\.1:(\$\{{[A-Z_]+PORT:-[0-9]+\}}):{inside}", port)
        assert service["extra_hosts"] == ["host-alias:${LOCALDEV_HOST:-10.254.254.254}"]
        if name == "proxy":
            # Whether HTTPS is on is nothing that Compose knows: its port is always published.
            variables = [re.findall("LOCALDEV_[A-Z_]+", port)[0] for port in service["ports"]]
            assert variables == ["LOCALDEV_HTTP_PORT", "LOCALDEV_HTTPS_PORT"]
            assert service["volumes"] == ["./proxy:/.localdev/proxy:ro,z", "localdev-proxy:/srv"]
        else:
            assert service["volumes"][0].startswith(f"{VOLUMES[name]}:/")
        assert service["labels"] == {"local.host-alias.service": name}


def test_compose_accepts_every_combination(rendered: Render, run: Run) -> None:
    need_compose()
    # One database more changes one service: none, each alone and all of them are what Compose can find different.
    every = f"[{', '.join(DATABASES)}]"
    alone = [{"databases": f"[{name}]"} for name in DATABASES]
    for answers in ({}, *alone, {"databases": every}, {"web_proxy": "none"}, {"databases": every, "web_proxy": "none"}):
        run("docker", "compose", "config", "-q", cwd=rendered(**answers), check=True)


def test_the_project_is_named_by_the_slug_and_compose_project_name_overrides_it(rendered: Render, run: Run) -> None:
    need_compose()
    # More of what YAML takes for something else: test_hostile.py.
    for slug, env, name in (
        ("1e5", {}, "1e5"),
        ("my-app", {}, "my-app"),
        ("my-app", {"COMPOSE_PROJECT_NAME": "x"}, "x"),
    ):
        done = run("docker", "compose", "config", cwd=rendered(project_slug=slug), env=env, check=True)
        assert yaml.safe_load(done.stdout)["name"] == name


def test_shell_scripts_use_only_what_every_system_has(rendered: Render) -> None:
    anywhere = r"readlink -f|sort -V|grep -P|sed -i|<\(|\[\["
    as_command = r"(?m)(^|[;&|({]|\b(then|do|else)\b)\s*(realpath|timeout|echo|eval|local|declare|source|function)\s"
    for script in scripts(rendered(github_workflow="true")):
        code = re.sub(r"(?m)^\s*#.*$", "", script.read_text())
        assert not re.search(anywhere, code), script.name
        assert not re.search(as_command, code), script.name


def test_every_function_of_a_script_says_what_it_does(rendered: Render) -> None:
    """A line above it, whose first word is its name."""
    here = rendered(github_workflow="true")
    for path in scripts(here):
        before: list[str] = []
        for line in path.read_text().splitlines():
            found = re.match(r"([a-z_]+)\(\) \{$", line)
            if found:
                assert any(re.match(rf"# {found[1]}\b", words) for words in before), f"{path.name}: {found[1]}"
            before = [*before, line] if line.startswith("#") else []


def test_what_runs_as_root_has_absolute_paths(rendered: Render) -> None:
    commands = [
        "ifconfig",
        "launchctl",
        "systemctl",
        "ip",
        "chown",
        "chmod",
        "mv",
        "rm",
        "sleep",
        "cat",
        "sed",
        "mkdir",
        "cksum",
        "nft",
        "iptables",
        "grep",
        "tr",
        "xargs",
        "mkfifo",
    ]
    for name in ("alias/root-darwin.sh", "alias/root-linux.sh", "host-alias.service"):
        text = re.sub(r"(?m)^#.*", "", (rendered() / ".localdev" / name).read_text())
        found = re.findall(
            rf"(?m)(?:^\s*|[;|&({{!] *|\b(?:if|then|else|do|until|while|exec) )({'|'.join(commands)})\s(?!daddr|guard)",
            text,
        )
        assert not found, (name, found)


@pytest.mark.parametrize("proxy", FILES)
def test_no_answer_is_left_unrendered(rendered: Render, proxy: str) -> None:
    here = rendered(web_proxy=proxy)
    for name in files(here):
        assert not re.search(r"\{\{-? *[a-z_]+ *([|]|\}\})", (here / name).read_text()), name
        assert "{%" not in (here / name).read_text(), name


# --- what other tools make of our files --------------------------------------------------------------------------------


def test_a_checkout_by_a_git_that_makes_crlf_has_scripts_that_run(repo: Render, run: Run, tmp_path: Path) -> None:
    here = repo()
    (here / ".localdev/proxy/custom").mkdir()
    (here / ".localdev/proxy/custom/logo.png").write_bytes(b"\x89PNG\r\n\0")
    commit(here, run)
    clone = ("git", "-c", "core.autocrlf=true", "clone", "-q", here, tmp_path / "clone")
    run(*clone, cwd=tmp_path, check=True)
    mine, ours = (tmp_path / "clone/Makefile").read_bytes(), tmp_path / "clone/.localdev"
    assert b"\r\n" in mine, "this git makes CRLF"
    changed = [
        str(path) for path in ours.rglob("*") if path.is_file() and path.suffix != ".png" and b"\r" in path.read_bytes()
    ]
    assert changed == []
    assert (ours / "proxy/custom/logo.png").read_bytes() == b"\x89PNG\r\n\0"


def test_reviews_fold_what_is_not_theirs_to_read_but_nothing_that_root_runs(
    rendered: Render, repo: Render, run: Run
) -> None:
    here = repo()
    commit(here, run)
    names = sorted(files(rendered()))
    said = run(
        "git", "check-attr", "linguist-vendored", "linguist-generated", "--", *names, cwd=here, check=True
    ).stdout
    sets = {tuple(line.split(": ")[:2]) for line in said.splitlines() if line.endswith(": set")}
    counted = {name for name in names if (name, "linguist-vendored") not in sets}
    read = {name for name in names if (name, "linguist-generated") not in sets}
    assert counted == USERS | {".copier-answers.localdev.yml"}
    shown = below("", "host-alias host-alias.conf host-alias.plist host-alias.service stack/hosts.py stack/root.py")
    shown |= below("alias/", "common.sh darwin.sh linux.sh root-darwin.sh root-linux.sh")
    assert read == counted | shown


def test_ruff_of_a_host_leaves_our_folder_alone(repo: Render, run: Run) -> None:
    here = repo()
    (here / "ruff.toml").write_text('line-length = 60\n[lint]\nselect = ["ALL"]\n')
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    # pre-commit names the files, and says --force-exclude.
    for names in (["."], ["--force-exclude", *(str(path) for path in here.rglob("*.py"))]):
        assert run(TOOLS / "ruff", "check", "--no-cache", *names, cwd=here).returncode == 0
        run(TOOLS / "ruff", "format", "--no-cache", *names, cwd=here, check=True)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_files_name_and_its_first_bytes_promise_what_it_is(rendered: Render) -> None:
    here = rendered(github_workflow="true", databases="[postgres]")
    for name in files(here):
        path = here / name
        text = path.read_text()
        assert os.access(path, os.X_OK) == text.startswith("#!"), name
        if path.suffix == ".json":
            json.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            yaml.safe_load(text)
        elif path.suffix == ".toml":
            tomllib.loads(text)
        elif path.suffix == ".py":
            ast.parse(text)
        if path.suffix in (".sh", ".py", ".conf", ".mk") and path.name != "host-alias.conf":
            assert "SPDX-License-Identifier: MIT" in text.splitlines()[:2][-1 if text.startswith("#!") else 0], name
    assert (here / ".localdev/LICENSE").read_bytes() == (PROJECT / "LICENSE").read_bytes()


# --- a database is one new file in containers/ and one line of copier.yml -----------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the template, for a change."""
    folder = tmp_path / "template"
    folder.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy2
        copy(PROJECT / name, folder / name)
    return folder


def add_line(source: Path, after: str, line: str) -> None:
    """Add `line` to copier.yml behind the line `after`."""
    text = (source / "copier.yml").read_text()
    assert text.count(after) == 1
    (source / "copier.yml").write_text(text.replace(after, after + line))


def made(source: Path, copier: Run, run: Run, *arguments: str) -> Path:
    """Return a repo made from `source`."""
    commit(source, run)
    repo = source.parent / "repo"
    copier("copy", "--trust", "--defaults", *arguments, source, repo, cwd=source, check=True)
    return repo


def test_a_database_is_one_file_and_one_line(source: Path, copier: Run, run: Run) -> None:
    need_compose()
    text = (source / "containers/redis.jinja").read_text()
    (source / "containers/valkey.jinja").write_text(
        text.replace("redis", "valkey").replace("Redis", "Valkey").replace("6379", "6380")
    )
    add_line(source, "    Redis 8: redis\n", "    Valkey 9: valkey\n")
    repo = made(source, copier, run, "-ddatabases=[valkey,redis]")
    assert "| Valkey | `valkey://:dev@127.0.0.1:6380/0` | `valkey://:dev@valkey:6380/0` |" in (
        (repo / ".localdev/README.md").read_text()
    )
    env = run("make", "-s", "dev-env", cwd=repo, env={"VALKEY_PORT": "6390"}, check=True).stdout
    assert "export VALKEY_URL='valkey://:dev@127.0.0.1:6390/0'\n" in env
    found = json.loads(run("docker", "compose", "config", "--format", "json", cwd=repo, check=True).stdout)
    assert found["services"]["valkey"]["image"] == "valkey:8-alpine"
    assert found["services"]["valkey"]["ports"][0]["published"] == "6380"
    assert found["services"]["valkey"]["extra_hosts"] == ["host-alias=10.254.254.254"]
    assert set(found["volumes"]) == {"localdev-proxy", "localdev-redis8-data", "localdev-valkey8-data"}
    refused = copier(
        *("copy", "--trust", "--defaults", "-ddatabases=[valkey]", "-dweb_port=6380", source, repo / "x"), cwd=source
    )
    assert "A chosen database has port 6380." in refused.stderr


def test_every_container_can_be_chosen() -> None:
    config = yaml.safe_load((PROJECT / "copier.yml").read_text())
    assert set(config["databases"]["choices"].values()) == {path.stem for path in (PROJECT / "containers").iterdir()}
