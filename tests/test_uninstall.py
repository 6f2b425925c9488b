"""What `.localdev/README.md` says under "How to undo it", done as it stands, leaves machine, engine and repo as they were.

The machine is a box on Linux, with and without systemd, and a pretend Mac; `make` is typed on a terminal, as people do.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pexpect
import pytest

from box import USUAL_HOSTS, Box, an_etc, finish, need_box
from conftest import Render, Run, as_data
from fakemac.commands.base import State
from host import ALIAS_IP, LABEL
from laptop import REPO, Laptop
from needs import NIGHTLY
from running import running_stack
from settings import Settings
from sites import compose_config
from versions import commit

DOMAIN = "shop.test"
ANSWERS = {"web_domain": DOMAIN, "native_services": "web:3000 api:4000", "databases": "[postgres]"}
# An engine on which nothing is, and a Compose that knows our services.
CONFIG = compose_config(
    Settings("a.b", ALIAS_IP, DOMAIN, 8080, 8443, {"postgres": "postgresql://127.0.0.1:${POSTGRES_PORT:-5432}"})
)
DOCKER = f"#!/bin/sh\ncase $* in *'config --format json') printf '%s' '{json.dumps(CONFIG)}' ;; esac\n"


class UsedMachine(Protocol):
    """A machine with a generated repo on it, whose user may become root."""

    def make(self, *words: str) -> "pexpect.spawn[str]":
        """Run make in the repo on a terminal, as the user."""

    def everything(self) -> dict[str, Any]:
        """Return all that belongs to the machine, but not the repo."""

    def repo(self) -> Path:
        """Return where the repo is, seen from here."""


def facts(root: Path, *leave_out: Path) -> dict[str, tuple[Any, ...]]:
    """Return kind, mode, owner and content of each file and folder below `root`; not what is below `leave_out`."""

    def of(path: Path) -> tuple[Any, ...]:
        about = path.lstat()
        content = (path.is_symlink() and os.readlink(path)) or (stat.S_ISREG(about.st_mode) and path.read_bytes())
        return oct(about.st_mode), about.st_uid, about.st_gid, hashlib.sha256(repr(content).encode()).hexdigest()

    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) not in leave_out]
        found |= {str(Path(folder, name).relative_to(root)): of(Path(folder, name)) for name in (*folders, *files)}
    return found


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what is not as before: name -> before, after."""
    names = before.keys() | after.keys()
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


class UsedLinux:
    """A box with an /etc, a /tmp and a home of its own."""

    def __init__(self, repo: Path, folder: Path, env: dict[str, str], systemd: bool) -> None:
        self.box = Box(repo, folder, env)
        etc = an_etc(folder / "etc", USUAL_HOSTS).parent
        wants = etc / "systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants.parent / "other.service").write_text("[Service]\nExecStart=/bin/true\n")
        (wants / "other.service").symlink_to("../other.service")
        self.box.fake_sudo()
        if systemd:
            self.box.fake_systemd()
        self.box.root(
            f"mount --bind {etc} /etc; mount -t tmpfs none /tmp; chmod 1777 /tmp; mkdir -m 700 /mnt/home;"
            f"mkdir /mnt/bin; printf %s {shlex.quote(DOCKER)} >/mnt/bin/docker; chmod 755 /mnt/bin/docker;"
            f"chown 65534:65534 /mnt/home; chown -R 65534:65534 {shlex.quote(str(self.box.repo))}"
        )
        self.inside = Path(f"/proc/{self.box.holder.pid}/root")

    def make(self, *words: str) -> "pexpect.spawn[str]":
        own = ("HOME=/mnt/home", "PATH=/mnt/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        line = self.box.enter("env", "-C", self.box.repo, *own, "make", "-s", *words, user=True)
        env = self.box.env | {"TERM": "xterm", "NO_COLOR": "1"}
        return pexpect.spawn(line[0], line[1:], env=env, encoding="utf-8", timeout=60, dimensions=(50, 200))

    def everything(self) -> dict[str, Any]:
        found = {}
        for folder in ("etc", "run", "tmp", "mnt"):
            # A repo is looked at by itself, and what the stand-ins write down belongs to the test.
            left_out = (self.inside / "mnt" / self.box.repo.name,)
            found |= {f"/{folder}/{name}": of for name, of in facts(self.inside / folder, *left_out).items()}
        for command in (
            *("ip -details address", "ip rule", "ip route show table all", "ip -6 route show table all"),
            *("ip neighbour", "nft list ruleset"),
        ):
            found[command] = self.box.root(command)
        return {name: of for name, of in found.items() if not name.endswith((".calls", "/run/systemd/lock"))}

    def repo(self) -> Path:
        return self.box.source


class UsedMac:
    """A pretend Mac."""

    def __init__(self, repo: Path, root: Path) -> None:
        self.mac = Laptop(root, repo)
        self.mac.write("/usr/local/bin/docker", DOCKER, 0o755)
        self.mac.write("/private/etc/hosts", USUAL_HOSTS.decode(), owner=0)
        self.mac.sudo = "ok"

    def make(self, *words: str) -> "pexpect.spawn[str]":
        return self.mac.spawn(["/usr/bin/make", "-s", *words], cwd=REPO, env={"NO_COLOR": "1"}, timeout=60)

    def everything(self) -> dict[str, Any]:
        root = self.mac.root
        found: dict[str, Any] = facts(root, root / ".fakemac", self.mac.path(REPO))
        with State(self.mac.state) as state:
            # What sudo remembers is sudo's own.
            return found | {
                f"state: {name}": value for name, value in state.items() if name not in ("ticket", "prompts")
            }

    def repo(self) -> Path:
        return self.mac.path(REPO)


# --- the repo ---------------------------------------------------------------------------------------------------------

OWN = {
    "nothing": {},
    "files of its own": {
        "Makefile": "all:\n\t@echo mine\n",
        "compose.yaml": "services:\n  worker:\n    image: example/worker:1\n",
    },
}


@pytest.fixture
def planted(request: pytest.FixtureRequest, plain_template: Path, copier: Run, run: Run, tmp_path: Path) -> Path:
    """A repo that had nothing, or files of its own, with the stack in it; the user did what the hook said."""
    repo = tmp_path / "my app's repo"
    repo.mkdir()
    for name, text in {"README.md": "# My app\n", ".gitignore": "*.log\n", **OWN[request.param]}.items():
        (repo / name).write_text(text)
    commit(repo, run, "mine", force=False)
    assert status(run, repo) == ""
    done = copier("copy", "--trust", "--defaults", *as_data(ANSWERS), plain_template, repo, cwd=repo, check=True)
    lines = re.findall(r"^Add to (\S+):  (.+)$", done.stderr, re.M)
    assert [name for name, _ in lines] == list(OWN[request.param])
    for name, line in lines:
        with (repo / name).open("a") as file:
            file.write(f"{line}\n")
    return repo


def status(run: Run, repo: Path) -> str:
    """Return what git says has changed in `repo`, ignored files included."""
    return run("git", "status", "--porcelain", "--ignored", "--untracked-files=all", cwd=repo, check=True).stdout


def how_to_undo(repo: Path) -> tuple[list[str], list[str]]:
    """Return the commands and the names that the README gives under "How to undo it"."""
    text = (repo / ".localdev/README.md").read_text()
    commands, then = re.search(
        r"^## How to undo it\n\n```\n(.*?)```\n\nThen delete (.*?) from the repo", text, re.M | re.S
    ).groups()
    return [line.split("#")[0].strip() for line in commands.splitlines()], re.findall(r"`([^`]+)`", then)


# --- before and after -------------------------------------------------------------------------------------------------


def typed(machine: UsedMachine, *words: str) -> tuple[int, str]:
    """Type make with `words`, and yes to each question: exit code, and what was on the screen."""
    child, seen = machine.make(*words), ""
    while child.expect([r"\[y/N\] ", pexpect.EOF]) == 0:
        seen += child.before
        child.sendline("y")
    seen += child.before
    return finish(child)[0], seen


# What the repo had, and the system; by day each once.
MINE, NOTHING = reversed(OWN)
CASES = [(MINE, "linux"), (NOTHING, "linux without systemd"), (MINE, "macos")]
if NIGHTLY:
    CASES += [(NOTHING, "linux"), (MINE, "linux without systemd"), (NOTHING, "macos")]


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, planted: Path, tmp_path: Path, clean_env: dict[str, str]
) -> Iterator[UsedMachine]:
    """A machine that has never seen an alias, with the repo on it."""
    if request.param == "macos":
        yield UsedMac(planted, tmp_path / "mac")
        return
    need_box(firewall=True)
    made = UsedLinux(planted, tmp_path, clean_env, systemd=request.param == "linux")
    yield made
    made.box.close()


@pytest.mark.parametrize(("planted", "machine"), CASES, indirect=True)
def test_what_the_readme_says_leaves_everything_as_it_was(machine: UsedMachine, run: Run) -> None:
    before = machine.everything()
    for words in ("dev-up", "dev-alias", "dev-hosts", "dev-status", "dev-doctor", "dev-env"):
        code, text = typed(machine, words)
        assert code == 0 or words == "dev-doctor", text  # nothing listens, which is not what this is about
    used = difference(before, machine.everything())
    hosts = "private/etc/hosts" if isinstance(machine, UsedMac) else "/etc/hosts"
    assert hosts in used, "the comparison sees what has changed"
    assert used.keys() & {"ip -details address", "state: lo0"}
    assert isinstance(machine, UsedMac) or "nft list ruleset" in used

    commands, names = how_to_undo(machine.repo())
    assert commands == [
        "make dev-down ARGS=--volumes",
        "make dev-hosts-down",
        "make dev-tls ARGS=--off",
        "make dev-alias-down",
    ]
    for command in commands:
        code, text = typed(machine, *command.split()[1:])
        assert code == 0, text
    left = difference(before, machine.everything())
    if isinstance(machine, UsedMac):
        # launchd's database of overrides outlives jobs and files: the README says so.
        assert left == {"state: disabled": ({}, {LABEL: False})}
        assert "launchctl print-disabled system" in (machine.repo() / ".localdev/README.md").read_text()
    else:
        assert left == {}

    # And in the repo: four names, of which a Makefile and a Compose file of the user's own stay but for one line each.
    assert len(names) == 4
    theirs = run("git", "ls-files", cwd=machine.repo(), check=True).stdout.splitlines()
    for name in names:
        path = machine.repo() / name
        if name in theirs:
            added = re.findall(r"^[+](?![+]).*$", run("git", "diff", name, cwd=machine.repo(), check=True).stdout, re.M)
            assert len(added) == 1 and "localdev" in added[0], "only the line that the user added"
            kept = [line for line in path.read_text().splitlines(keepends=True) if "localdev" not in line]
            path.write_text("".join(kept))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    assert status(run, machine.repo()) == ""
    assert difference(left, difference(before, machine.everything())) == {}


# --- the engine -------------------------------------------------------------------------------------------------------

PORTS = {"LOCALDEV_HTTP_PORT": "18080", "POSTGRES_PORT": "15432", "REDIS_PORT": "16379"}
LISTS = ("ps --all --quiet", "volume ls --quiet", "network ls --quiet", "image ls --all --quiet")


def of_the_engine(stack_run: Run, folder: Path) -> dict[str, set[str]]:
    """Return all that the engine keeps, and the machine's interfaces, to which it adds bridges."""
    found = {f"docker {words}": stack_run("docker", *words.split(), cwd=folder, check=True).stdout for words in LISTS}
    found["interfaces"] = "\n".join(path.name for path in Path("/sys/class/net").iterdir())
    return {name: set(text.split()) for name, text in found.items()}


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_nothing_is_left_in_the_engine(rendered: Render, run: Run, tmp_path: Path) -> None:
    before = of_the_engine(run, tmp_path)
    with running_stack(rendered, run, tmp_path, PORTS, databases="[postgres, redis]") as stack:
        used = difference(before, of_the_engine(run, tmp_path))
        assert {"docker ps --all --quiet", "docker volume ls --quiet", "docker network ls --quiet"} <= used.keys()
        (first,) = (command for command in how_to_undo(stack.repo)[0] if "dev-down" in command)
        # Nobody is there to be asked.
        down = stack.make("-s", *(word.replace("--volumes", "--volumes --yes") for word in first.split()[1:]))
        assert down.returncode == 0, down.stderr
        assert difference(before, of_the_engine(run, tmp_path)) == {}
