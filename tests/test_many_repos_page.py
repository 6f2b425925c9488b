"""docs/many-repos.md as it stands there: the machines that nobody sits at, Renovate's configuration, and a fleet of
repos updated in one run by the loop of the page."""

import json
import os
import plistlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from box import Box
from conftest import PROJECT, TOOLS, Run, blocks
from fast_copier import with_copier
from fleet import LOOP, PAGE, make_fleet, measured
from host import ALIAS_IP as IP
from needs import NIGHTLY
from versions import ANSWERS, commit, release

INSTALLED = "/opt/my-app"
COMMAND = f"/bin/sh {INSTALLED}/.localdev/host-alias up"


def test_every_way_to_set_up_a_machine_runs_the_same_command() -> None:
    assert blocks(PAGE, "sh")[0] == f"{COMMAND}\n"
    ansible, cloud = (yaml.safe_load(block) for block in blocks(PAGE, "yaml"))
    copied, ran = (next(iter(value for key, value in task.items() if key.startswith("ansible."))) for task in ansible)
    assert ran == COMMAND
    # Without a slash at its end, Ansible copies the folder itself.
    assert copied["dest"] + copied["src"] == f"{INSTALLED}/.localdev"
    assert copied["owner"] == "root" and "w" not in copied["mode"].split("go=")[1]
    assert blocks(PAGE, "yaml")[1].startswith("#cloud-config\n")
    assert cloud["runcmd"][-1] == COMMAND
    assert shlex.split(cloud["runcmd"][0])[-1] == INSTALLED


def test_the_managed_profile_allows_our_job() -> None:
    (block,) = blocks(PAGE, "xml")
    (rule,) = plistlib.loads(f'<plist version="1.0"><dict>{block}</dict></plist>'.encode())["Rules"]
    label = yaml.safe_load((PROJECT / "copier.yml").read_text())["alias_label"]["default"]
    assert rule["RuleType"] == "LabelPrefix" and label.startswith(rule["RuleValue"])


@pytest.fixture
def box(box: Box) -> Box:
    """A machine with systemd and without sudo, on which nothing is installed in /opt."""
    box.fake_systemd()
    box.root("mount -t tmpfs none /opt")
    return box


def install(box: Box, way: str, run: Run, tmp_path: Path) -> None:
    """Put the files on the machine as the page says for `way`."""
    if way == "ansible":
        box.root(f"mkdir {INSTALLED}; cp -r {shlex.quote(str(box.source / '.localdev'))} {INSTALLED}")
        box.root(f"chmod -R u=rwX,go=rX {INSTALLED}")
        return
    commit(box.source, run)
    run("git", "tag", "v1.0.0", cwd=box.source, check=True)
    clone = yaml.safe_load(blocks(PAGE, "yaml")[1])["runcmd"][0]
    address = next(word for word in shlex.split(clone) if word.startswith("https://"))
    config = tmp_path / "cloud.gitconfig"
    config.write_text(f'[safe]\n\tdirectory = *\n[url "file://{box.source}"]\n\tinsteadOf = {address}\n')
    code, _, err = box.run("sh", "-c", clone, env={"GIT_CONFIG_GLOBAL": str(config)})
    assert code == 0, err


@pytest.mark.parametrize("way", ["ansible", "cloud-init"])
def test_the_command_sets_up_a_machine_and_does_nothing_the_second_time(
    box: Box, run: Run, tmp_path: Path, way: str
) -> None:
    install(box, way, run, tmp_path)
    code, out, err = box.run(*shlex.split(COMMAND))
    assert (code, out) == (0, "")
    assert err
    assert box.addresses() == [(IP, 32, "host")]
    state = "find /etc/systemd/system /opt -printf '%p %m %u %i %C@\\n' | sort"
    before, calls = box.root(state), box.calls("systemctl")
    assert box.run(*shlex.split(COMMAND)) == (0, "", "")
    assert (box.root(state), box.calls("systemctl")) == (before, calls)
    assert box.calls("sudo") == []
    # Nothing on the way to what root runs can be changed by others.
    assert box.root(f"find {INSTALLED} ! -type l \\( ! -user root -o -perm /022 \\)") == ""
    down = COMMAND.removesuffix("up") + "down --yes"
    assert f"`{down}`" in PAGE
    assert box.run(*shlex.split(down))[0] == 0
    assert box.addresses() == [] and box.units() == []


def test_the_exit_codes_are_those_of_the_page(box: Box, run: Run, tmp_path: Path) -> None:
    install(box, "ansible", run, tmp_path)
    line = shlex.split(COMMAND)
    code, _, err = box.run(*line, user=True)
    assert code == 4 and err
    assert box.addresses() == [] and box.units() == []
    box.root(f"ip link add neighbour type veth peer name peer; ip address add {IP}/32 dev neighbour")
    code, _, err = box.run(*line)
    assert (code, err) == (
        1,
        f"host-alias: {IP} already belongs to neighbour. Choose another address: make dev-update\n",
    )
    box.root(f"printf 'ip=nonsense\\n' >{INSTALLED}/.localdev/host-alias.conf")
    code, _, err = box.run(*line)
    assert code == 2 and err.startswith(f"host-alias: {INSTALLED}/.localdev/host-alias.conf:1: ")
    assert box.addresses() == [] and box.units() == []


def test_renovate_accepts_its_configuration(run: Run, tmp_path: Path) -> None:
    admin, repo, off = blocks(PAGE, "json")
    for name, text in (("repo", repo), ("off", off)):
        (tmp_path / f"{name}.json").write_text(text)
        done = run(
            *(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.renovate", tmp_path / f"{name}.json"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    # Only who runs Renovate may say this: in a repo it would be ignored.
    assert json.loads(admin) == {"allowScripts": True} and "allowScripts" not in repo
    settings = json.loads(repo)
    (rule,) = settings["packageRules"]
    address = re.search(r"copier copy --trust (https://\S+)", (PROJECT / "README.md").read_text())
    assert address and rule["matchPackageNames"] == [address[1]]
    pinned = re.search(r"^copier(==[0-9.]+)", (PROJECT / "requirements.txt").read_text(), re.M)
    assert pinned and settings["constraints"] == {"copier": pinned[1]}


# --- a fleet of repos --------------------------------------------------------------------------------------------------

# At night each combination of edits and of kinds of repos; `make bench` updates a hundred.
FLEET, CONFLICT, DIRTY = (30, 20, 23) if NIGHTLY else (4, 2, 3)


def first_line(path: Path) -> tuple[str, str]:
    """Return the first line of a file, and what replaces it in another version."""
    return path.read_text().splitlines()[0], "# Another first line."


def edit(repo: Path, number: int) -> dict[str, str]:
    """Edit files of a repo as its developers do, each repo in another way; return what must be the same afterwards."""
    mine: dict[str, str] = {"app.py": f"print({number})\n"}
    if number % 2:
        mine[".localdev/routes"] = f"web {3000 + number} /\napi {4000 + number} /api api.\n"
    if number % 3 == 0:
        mine["Makefile"] = f"include .localdev/localdev.mk\ntest:\n\techo {number}\n"
        mine[".copier-answers.yml"] = "_src_path: https://example.com/another.git\n_commit: 1.2.3\n"
    if number % 4 == 0:
        mine["compose.yaml"] = f"name: app-{number}\ninclude: [.localdev/compose.yaml]\nservices: {{}}\n"
        mine[".localdev/proxy/custom/mine.conf"] = f"# {number}\n"
    if number % 7 == 0:  # of a file that is the template's
        mine[".localdev/.gitignore"] = (repo / ".localdev/.gitignore").read_text() + "/mine\n"
    for name, text in mine.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    return mine


@pytest.mark.timeout(1800)
def test_a_fleet_of_repos_is_updated_in_one_run_and_none_is_lost(
    own_template: Path, run: Run, clean_env: dict[str, str], tmp_path: Path
) -> None:
    mk = "template/.localdev/localdev.mk"
    release(own_template, run, "v1.1.0", {mk: (first_line(own_template / mk)[0], "# Names, second edition.")})
    # What is the users' changes in the template, too: in their repos it does not.
    new = {name: first_line(own_template / name) for name in ("template/Makefile", "template/.localdev/routes.jinja")}
    new[mk] = ("# Names, second edition.", "# Names, third edition.")
    release(own_template, run, "v1.2.0", new)
    home = tmp_path / "home"
    fleet = home / "src"
    fleet.mkdir(parents=True)
    make_fleet(own_template, fleet, FLEET)
    answers: dict[int, dict[str, Any]] = {}
    mine: dict[int, dict[str, str]] = {}
    conflict, dirty = CONFLICT, DIRTY
    for number in range(FLEET):
        repo = fleet / f"repo-{number}"
        answers[number] = yaml.safe_load((repo / ANSWERS).read_text())
        mine[number] = edit(repo, number)
        if number == conflict:
            text = (repo / ".localdev/localdev.mk").read_text()
            (repo / ".localdev/localdev.mk").write_text("# My own names.\n" + text.split("\n", 1)[1])
        commit(repo, run)
    (fleet / f"repo-{dirty}" / "app.py").write_text("print('not committed yet')\n")
    mine[dirty]["app.py"] = "print('not committed yet')\n"
    (fleet / "another project").mkdir()
    assert {item["_commit"] for item in answers.values()} == {"v1.0.0", "v1.1.0"}

    # The page's loop for one repo, then for all: the difference is what the others cost.
    with_copier(tmp_path)
    env = clean_env | {"HOME": str(home), "PATH": f"{tmp_path}/.venv/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    (tmp_path / "one/src").mkdir(parents=True)
    (fleet / "repo-0").rename(tmp_path / "one/src/repo-0")
    code, output, one = measured(["sh", "-c", LOOP], tmp_path, env | {"HOME": str(tmp_path / "one")})
    assert (code, output) == (0, "1 of 1 updated\n")
    code, output, all_of_them = measured(["sh", "-c", LOOP], tmp_path, env)
    (tmp_path / "one/src/repo-0").rename(fleet / "repo-0")
    assert code == 1
    *failures, summary = output.splitlines()
    assert summary == f"{FLEET - 3} of {FLEET - 1} updated"
    # In whatever words, each says which files, and why.
    said = dict(line.removeprefix(f"{fleet}/").split("/: ", 1) for line in failures)
    assert set(said) == {f"repo-{conflict}", f"repo-{dirty}"}
    assert re.match(r"Conflicts .*[.]localdev/localdev\.mk\b", said[f"repo-{conflict}"])
    assert said[f"repo-{dirty}"].startswith("Destination repository is dirty; cannot continue. ")

    for number in range(FLEET):
        repo = fleet / f"repo-{number}"
        changed = run("git", "status", "--porcelain", cwd=repo, check=True).stdout.splitlines()
        now = yaml.safe_load((repo / ANSWERS).read_text())
        for name, text in mine[number].items():
            assert (repo / name).read_text() == text, f"{repo.name}/{name}"
        if number == dirty:
            assert changed == [" M app.py"] and now == answers[number]
            continue
        assert now == answers[number] | {"_commit": "v1.2.0"}
        state = "UU" if number == conflict else " M"
        assert changed == [f" M {ANSWERS}", f"{state} .localdev/localdev.mk"], repo.name
        text = (repo / ".localdev/localdev.mk").read_text()
        assert "# Names, third edition.\n" in text
        assert ("# My own names.\n" in text) == (number == conflict)

    # Flat: nothing is kept from one repo to the next. CPU and not wall time: others may use this machine, which may be slow.
    assert all_of_them["peak"] < 1.25 * one["peak"]
    assert all_of_them["peak"] < 150
    assert all_of_them["cpu"] < 1.6 * one["cpu"] * FLEET
