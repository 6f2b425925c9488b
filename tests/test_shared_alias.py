"""Many repos on one machine: ten of them (by day six), of several releases, do what they like in any order; none undoes another's work.

Each sequence of commands is generated. A model of a dozen lines says what each command may change; after each one the machine
is compared with it. Linux is a box, macOS a pretend Mac, and in both a user without any right runs the scripts, unchanged.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import pexpect
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from box import UNITS, Box, Result, finish, need_box, on_terminal
from conftest import Render
from fakemac import FakeMac
from fakemac.commands.base import DEFAULTS
from fakemac.commands.base import State as MacState
from laptop import DAEMONS
from needs import NIGHTLY, examples, linux_only, need_mac
from versions import with_format

IPS = ("10.254.254.254", "10.254.254.253", "203.0.113.7")
OWN = "local.host-alias.{}"
# The second label of an address; two have the same one, and the first repo to come keeps it.
SECOND = dict(zip(IPS, ("com.example.shared", "com.example.shared", "com.example.alone"), strict=True))
# The releases that repos come from, by the format of their boot job; None is the working tree's.
VERSIONS = {"older": 0, "current": None, "newer": 99}


@dataclass(frozen=True)
class Repo:
    """A generated repo: the template that it comes from, and its answers."""

    version: str
    label: str
    ip: str

    @property
    def folder(self) -> str:
        """Return the name of its folder."""
        return f"{self.version} {self.label} {self.ip}"


REPOS = [Repo(version, label, ip) for version in VERSIONS for ip in IPS for label in (OWN.format(ip), SECOND[ip])]


@dataclass(frozen=True)
class State:
    """What the commands of all repos can change: text of each boot job, which ones the system has switched on, addresses."""

    files: dict[str, str] = field(default_factory=dict)
    on: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()


class SharedMachine(Protocol):
    """A machine with all repos on it."""

    job: str
    texts: dict[Repo, str]

    def say(self, repo: Repo, *words: str) -> Result:
        """Run host-alias of `repo` as a user, without a terminal."""

    def all_of(self, repos: list[Repo], verb: str) -> list[tuple[int, str]]:
        """Run host-alias of each repo: exit code and standard output."""

    def asked(self) -> int:
        """Return how often sudo was called."""

    def state(self) -> State:
        """Return what is there."""

    def reboot(self) -> None:
        """Restart the machine."""

    def drop(self, ip: str) -> None:
        """Take an address away, as a VPN client does."""

    def paste(self, line: str) -> Result:
        """Run a line of shell as a user, without a terminal."""

    def on_terminal(self, repo: Repo, *words: str) -> "pexpect.spawn[str]":
        """Run host-alias of `repo` as a user on a terminal."""


# --- the model --------------------------------------------------------------------------------------------------------


def ip_of(text: str) -> str:
    """Return the address that a boot job adds."""
    (found,) = (ip for ip in IPS if ip in text)
    return found


def format_of(text: str) -> int:
    """Return a boot job's format."""
    return int(re.search(r"host-alias format (\d+)", text)[1])


def in_conflict(state: State, repo: Repo) -> bool:
    """Tell whether the label of `repo` is another address's."""
    return repo.label in state.files and ip_of(state.files[repo.label]) != repo.ip


def is_good(state: State, repo: Repo, text: str) -> bool:
    """Tell whether the installed boot job is as good for `repo` as its own `text`, or better."""
    there = state.files.get(repo.label)
    return there is not None and ip_of(there) == repo.ip and (there == text or format_of(there) > format_of(text))


def is_satisfied(state: State, repo: Repo, text: str) -> bool:
    """Tell whether `repo` has all it wants."""
    return is_good(state, repo, text) and repo.label in state.on and repo.ip in state.addresses


def others(state: State, repo: Repo) -> dict[str, str]:
    """Return label -> address of every boot job but the one in the place of `repo`'s."""
    return {label: ip_of(text) for label, text in state.files.items() if label != repo.label}


def after_up(state: State, repo: Repo, text: str) -> tuple[int, State]:
    """Return the exit code of `up` and what is there afterwards."""
    if in_conflict(state, repo):
        return 1, state
    files = state.files if is_good(state, repo, text) else state.files | {repo.label: text}
    return 0, State(files, state.on | {repo.label}, state.addresses | {repo.ip})


def after_down(state: State, repo: Repo, yes: bool) -> tuple[int, State]:
    """Return the exit code of `down` where nobody can be asked, and what is there afterwards."""
    if in_conflict(state, repo) or repo.ip in others(state, repo).values():
        return 1, state
    if repo.label not in state.files and repo.ip not in state.addresses:
        return 0, state
    if not yes:
        return 4, state
    files = {label: text for label, text in state.files.items() if label != repo.label}
    return 0, State(files, state.on - {repo.label}, state.addresses - {repo.ip})


def after_reboot(state: State) -> State:
    """Return what is there after a restart: what the boot jobs add."""
    return replace(state, addresses=frozenset(ip_of(state.files[label]) for label in state.on))


# --- one command, and all that must be true afterwards ----------------------------------------------------------------


def act(machine: SharedMachine, fleet: list[Repo], verb: str, repo: Repo) -> None:
    """Let `repo` do `verb`, and compare what it said and changed with the model."""
    before, asked = machine.state(), machine.asked()
    text = machine.texts[repo]
    path = machine.job.format(repo.label)
    happy = [one for one in fleet if is_satisfied(before, one, machine.texts[one])]
    if verb in ("reboot", "drop"):
        if verb == "reboot":
            machine.reboot()
            expected = after_reboot(before)
        else:
            machine.drop(repo.ip)
            expected = replace(before, addresses=before.addresses - {repo.ip})
        assert machine.state() == expected
        return
    code, out, err = machine.say(repo, *verb.split())
    after, asked = machine.state(), machine.asked() - asked
    told = f"{repo} {verb}: exit code {code}\n{out}{err}"

    if verb == "up":
        assert (code, after) == after_up(before, repo, text), told
        assert asked == int(code == 0 and repo not in happy), told
        assert (out, err == "") == ("", repo in happy), told
        if code == 1:
            assert f"{path} adds {ip_of(before.files[repo.label])}, not {repo.ip}." in err, told
        elif repo not in happy:
            for label, ip in others(before, repo).items():
                assert re.search(f"{re.escape(machine.job.format(label))} (claims|adds) {ip}[,.]", err), told
    elif verb.startswith("down"):
        assert (code, after) == after_down(before, repo, verb != "down"), told
        assert asked == int(after != before), told
        if code == 1 and not in_conflict(before, repo):
            assert any(machine.job.format(label) in err for label, ip in others(before, repo).items() if ip == repo.ip)
        if code == 4 or after != before:
            assert re.search(rf"{re.escape(repo.ip)} .*every repo of this machine .* is cut off", err), told
    else:
        assert (after, asked) == (before, 0), told
        if verb == "plan":
            assert (code, out == "") == (int(in_conflict(before, repo)), code == 1 or repo in happy), told
        else:
            assert code == (0 if repo in happy else 3), told

    # What no command may do, whatever the model says of it.
    if not (verb.startswith("down") and after != before):
        unhappy = [one for one in happy if not is_satisfied(after, one, machine.texts[one])]
        assert not unhappy, told
        for label, was in before.files.items():
            assert format_of(after.files[label]) >= format_of(was), told


def look(machine: SharedMachine, repos: list[Repo]) -> None:
    """Compare what `status` says in each of the repos with what is there."""
    state = machine.state()
    for repo, (code, out) in zip(repos, machine.all_of(repos, "status"), strict=True):
        assert code == (0 if is_satisfied(state, repo, machine.texts[repo]) else 3), f"{repo}: {out}"
        assert re.search(rf"^job +{re.escape(machine.job.format(repo.label))}  ", out, re.M)
        for label, ip in others(state, repo).items():
            row = f"also     {machine.job.format(label)}  {'claims' if ip == repo.ip else 'adds'} {ip}\n"
            assert row in out, f"{repo}: no row {row}{out}"
    assert machine.state() == state


VERBS = ("up", "up", "up", "up", "down --yes", "down --yes", "down", "reboot", "drop", "plan", "check", "status")
SIZE = 10 if NIGHTLY else 6
FLEETS = st.lists(st.sampled_from(REPOS), min_size=SIZE, max_size=SIZE)
FIRST = st.integers(0, SIZE)
STEPS = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, SIZE - 1)), min_size=12, max_size=14)
SEQUENCES = settings(
    max_examples=examples(25),
    derandomize=True,
    database=None,
    deadline=None,
    # A shorter sequence that fails, too, would take minutes to find.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def live(machine: SharedMachine, fleet: list[Repo], first: int, steps: list[tuple[str, int]]) -> None:
    """Let the first repos of `fleet` do `up`, any of them all steps, then each `up` twice: at last there is nothing to do."""
    for repo in fleet[:first]:
        act(machine, fleet, "up", repo)
    for number, (verb, index) in enumerate(steps):
        was = machine.state()
        act(machine, fleet, verb, fleet[index])
        if machine.state() != was:
            look(machine, [fleet[number % len(fleet)]])
    for repo in fleet:
        act(machine, fleet, "up", repo)
    state, asked = machine.state(), machine.asked()
    for repo in fleet:
        assert is_satisfied(state, repo, machine.texts[repo]) or in_conflict(state, repo)
        act(machine, fleet, "up", repo)
    assert (machine.state(), machine.asked()) == (state, asked)
    look(machine, list(dict.fromkeys(fleet)))


# --- the repos --------------------------------------------------------------------------------------------------------


def job_of(version: str, text: str) -> str:
    """Return the boot job `text` as `version` has it: another release has another format, and another text."""
    if VERSIONS.get(version) is None:
        return text
    other = text.replace("[Install]", f"# {version}\n[Install]").replace("<true/>", f"<true/><!-- {version} -->")
    assert other != text
    return with_format(other, VERSIONS[version])


def plant(source: Path, folder: Path, repos: list[Repo]) -> None:
    """Put `repos` into `folder`: the generated `source`, with each boot job, label and address in their places."""
    folder.chmod(0o755)
    source, generated_label = source / ".localdev", OWN.format(IPS[0])
    for repo in repos:
        target = folder / repo.folder / ".localdev"
        shutil.copytree(source / "alias", target / "alias")
        shutil.copy(source / "host-alias", target)
        for kind in ("conf", "plist", "service"):
            text = (source / f"host-alias.{kind}").read_text()
            assert IPS[0] in text
            # The name of a chain of iptables follows from the label.
            for old, new in ((sha1(generated_label), sha1(repo.label)), (generated_label, repo.label)):
                text = text.replace(old, new)
            text = text.replace(IPS[0], repo.ip)
            (target / f"host-alias.{kind}").write_text(text if kind == "conf" else job_of(repo.version, text))


@pytest.fixture(scope="session")
def repos(rendered: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all REPOS."""
    folder = tmp_path_factory.mktemp("repos")
    plant(rendered(), folder, REPOS)
    return folder


def sha1(label: str) -> str:
    """Return what the name of a chain has of its label."""
    return hashlib.sha1(label.encode()).hexdigest()[:17]


def texts(folder: Path, kind: str) -> dict[Repo, str]:
    """Return what each repo in `folder` would install."""
    repos = [Repo(*path.name.split(" ")) for path in folder.iterdir()]
    return {repo: (folder / repo.folder / f".localdev/host-alias.{kind}").read_text() for repo in repos}


# Its arguments are a verb and folders.
EACH = 'verb=$1; shift; for repo; do "$repo/.localdev/host-alias" "$verb" --yes </dev/null; printf -- "-- exit %s\\n" "$?"; done'


def parts(text: str) -> list[tuple[int, str]]:
    """Take apart what EACH printed."""
    pieces = re.split(r"-- exit (\d+)\n", text)
    return [(int(code), out) for out, code in zip(pieces[::2], pieces[1::2], strict=False)]


# --- Linux ------------------------------------------------------------------------------------------------------------


class SharedLinux:
    """A box; what pretends to be systemd runs the units."""

    job = f"{UNITS}/{{}}.service"

    def __init__(self, folder: Path, scratch: Path, env: dict[str, str]) -> None:
        self.texts = texts(folder, "service")
        self.box = Box(folder, scratch, env)
        self.box.fake_sudo()
        self.box.fake_systemd()
        self.inside = Path(f"/proc/{self.box.holder.pid}/root")

    def script(self, repo: Repo) -> Path:
        """Return where the script of `repo` is in the box."""
        return self.box.repo / repo.folder / ".localdev/host-alias"

    def say(self, repo: Repo, *words: str) -> Result:
        return self.box.run(self.script(repo), *words, user=True)

    def all_of(self, repos: list[Repo], verb: str) -> list[tuple[int, str]]:
        folders = [self.box.repo / repo.folder for repo in repos]
        return parts(self.box.run("sh", "-c", EACH, "each", verb, *folders, user=True)[1])

    def asked(self) -> int:
        return (self.inside / "mnt/sudo.calls").read_text().count("\n")

    def state(self) -> State:
        units = self.inside / str(UNITS).lstrip("/")
        wants = units / "multi-user.target.wants"
        files = {path.stem: path.read_text() for path in units.iterdir() if path != wants}
        assert {path.suffix for path in units.iterdir()} <= {".service", ".wants"}
        on = frozenset(path.stem for path in wants.iterdir()) if wants.is_dir() else frozenset()
        run = self.inside / "run"
        assert {path.stem for path in (run / "systemd").glob("*.service")} == on
        # The directory by which everybody sees that a unit is started.
        assert {path.parent.name for path in run.glob("host-alias/*/ready")} == on
        addresses = self.box.addresses()
        assert {(prefix, scope) for _, prefix, scope in addresses} <= {(32, "host")}
        return State(files, on, frozenset(address for address, _, _ in addresses))

    def reboot(self) -> None:
        self.box.root(
            "cat /run/systemd/*.pid 2>/dev/null | xargs -r kill; rm -rf /run/host-alias /run/systemd/*.service*;"
            "nft flush ruleset; ip address flush dev lo; ip address add 127.0.0.1/8 dev lo;"
            f"for link in {UNITS}/multi-user.target.wants/*.service; do"
            '  [ ! -L "$link" ] || systemctl restart "${link##*/}"; done'
        )

    def drop(self, ip: str) -> None:
        if ip in self.state().addresses:
            self.box.root(f"ip address delete {ip}/32 dev lo")

    def paste(self, line: str) -> Result:
        return self.box.run("sh", "-c", line, user=True)

    def on_terminal(self, repo: Repo, *words: str) -> "pexpect.spawn[str]":
        self.box.script = self.script(repo)
        return on_terminal(self.box, *words, NO_COLOR="1")


@linux_only
@pytest.mark.timeout(900)
def test_no_repo_undoes_anothers_work_on_linux(
    repos: Path, tmp_path_factory: pytest.TempPathFactory, clean_env: dict[str, str]
) -> None:
    need_box(firewall=True)

    @SEQUENCES
    @given(FLEETS, FIRST, STEPS)
    def sequence(fleet: list[Repo], first: int, steps: list[tuple[str, int]]) -> None:
        machine = SharedLinux(repos, tmp_path_factory.mktemp("box"), clean_env)
        try:
            live(machine, fleet, first, steps)
        finally:
            machine.box.close()

    sequence()


# --- macOS ------------------------------------------------------------------------------------------------------------

HOME = "/Users/alice"


class SharedMac:
    """A pretend Mac."""

    job = f"{DAEMONS}/{{}}.plist"

    def __init__(self, folder: Path, root: Path) -> None:
        self.texts = texts(folder, "plist")
        self.mac = FakeMac(root)
        self.mac.put(folder, f"{HOME}/{folder.name}")
        self.home = f"{HOME}/{folder.name}"
        self.mac.no_waiting()
        self.mac.sudo = "ok"

    def fresh(self) -> "SharedMac":
        """Make it a machine that has never seen an alias."""
        with MacState(self.mac.state) as state:
            state |= DEFAULTS | {"sudo": "ok"}
        self.mac.forget_calls()
        for path in self.mac.path(DAEMONS).iterdir():
            path.unlink()
        return self

    def script(self, repo: Repo) -> str:
        """Return where the script of `repo` is on the Mac."""
        return f"{self.home}/{repo.folder}/.localdev/host-alias"

    def say(self, repo: Repo, *words: str) -> Result:
        done = self.mac.run([self.script(repo), *words, *(["--yes"] if words == ("up",) else [])])
        return done.returncode, done.stdout, done.stderr

    def all_of(self, repos: list[Repo], verb: str) -> list[tuple[int, str]]:
        return parts(self.mac.sh(EACH, verb, *(f"{self.home}/{repo.folder}" for repo in repos)).stdout)

    def asked(self) -> int:
        return sum(program == "/usr/bin/sudo" and words[:2] != ["-n", "-v"] for program, words, _ in self.mac.calls)

    def state(self) -> State:
        files = {path.stem: path.read_text() for path in self.mac.path(DAEMONS).iterdir()}
        assert {path.suffix for path in self.mac.path(DAEMONS).iterdir()} <= {".plist"}
        assert self.mac.warnings == []
        addresses = self.mac.masks
        assert addresses.pop("127.0.0.1") == "0xff000000"
        assert set(addresses.values()) <= {"0xffffffff"}
        return State(files, frozenset(self.mac.loaded), frozenset(addresses))

    def reboot(self) -> None:
        self.mac.reboot()

    def drop(self, ip: str) -> None:
        self.mac.remove_alias(ip)

    def paste(self, line: str) -> Result:
        done = self.mac.sh(line)
        return done.returncode, done.stdout, done.stderr

    def on_terminal(self, repo: Repo, *words: str) -> "pexpect.spawn[str]":
        return self.mac.spawn([self.script(repo), *words], env={"NO_COLOR": "1"})


@pytest.fixture(scope="session")
def shared_mac(repos: Path, tmp_path_factory: pytest.TempPathFactory) -> SharedMac:
    need_mac()
    return SharedMac(repos, tmp_path_factory.mktemp("mac") / "mac")


@pytest.mark.timeout(900)
def test_no_repo_undoes_anothers_work_on_macos(shared_mac: SharedMac) -> None:
    @SEQUENCES
    @given(FLEETS, FIRST, STEPS)
    def sequence(fleet: list[Repo], first: int, steps: list[tuple[str, int]]) -> None:
        live(shared_mac.fresh(), fleet, first, steps)

    sequence()


# --- a few lives in full ----------------------------------------------------------------------------------------------

Make = Callable[..., SharedMachine]


@pytest.fixture(params=[pytest.param("linux", marks=linux_only), "macos"])
def make_machine(
    request: pytest.FixtureRequest, repos: Path, tmp_path_factory: pytest.TempPathFactory, clean_env: dict[str, str]
) -> Iterator[Make]:
    """Makes machines, of each system, with the repos of a folder: by default all."""
    boxes = contextlib.ExitStack()

    def make(folder: Path = repos) -> SharedMachine:
        if request.param == "macos":
            shared = request.getfixturevalue("shared_mac")
            return shared.fresh() if folder == repos else SharedMac(folder, tmp_path_factory.mktemp("mac") / "mac")
        need_box(firewall=True)
        machine = SharedLinux(folder, tmp_path_factory.mktemp("box"), clean_env)
        boxes.callback(machine.box.close)
        return machine

    with boxes:
        yield make


@pytest.fixture
def machine(make_machine: Make) -> SharedMachine:
    """A machine with all repos."""
    return make_machine()


def named(version: str, label: str = OWN, ip: str = IPS[0]) -> Repo:
    """Return the repo of `version` with this address, and its own label or another one."""
    return Repo(version, label.format(ip), ip)


def set_up(machine: SharedMachine, *repos: Repo) -> State:
    """Run `up` in each of the repos, which must work; return what is there then."""
    for repo in repos:
        code, _, err = machine.say(repo, "up")
        assert code == 0, err
    return machine.state()


def removal(machine: SharedMachine, text: str, label: str) -> str:
    """Return the commands for the removal of a boot job as a person copies them from a message."""
    line = re.search(rf"^host-alias: {re.escape(machine.job.format(label))} .*?: (sudo .*)$", text, re.M)
    assert line, text
    return line[1]


def test_down_asks_and_after_a_no_nothing_changes_and_after_a_yes_the_others_are_cut_off(
    machine: SharedMachine,
) -> None:
    ours, theirs, elsewhere = named("current"), named("newer"), named("older", SECOND[IPS[1]], IPS[1])
    for answer in ("\n", "nay\n", "\x04", "Yes\n"):
        before, asked = set_up(machine, ours, theirs, elsewhere), machine.asked()
        child = machine.on_terminal(ours, "down")
        child.expect(r"Go on\? \[y/N\] ")
        assert f"{ours.ip} from lo" in child.before
        assert "every repo of this machine that uses the address is cut off" in child.before
        child.send(answer)
        code, text = finish(child)
        if answer[0] not in "yY":
            assert (code, text.splitlines()[-1]) == (1, "host-alias: nothing was changed"), answer
            assert (machine.state(), machine.asked()) == (before, asked), answer
            assert machine.say(theirs, "check") == (0, "", ""), answer
        else:
            assert (code, machine.asked() - asked) == (0, 1), text
            assert machine.state() == set_up(machine, elsewhere), answer
            assert machine.say(theirs, "check")[0] == 3, answer
            assert machine.say(elsewhere, "check") == (0, "", ""), answer


def test_on_a_mac_a_yes_is_followed_by_one_prompt_for_the_password(shared_mac: SharedMac) -> None:
    machine, ours = shared_mac.fresh(), named("current")
    set_up(machine, ours)
    machine.mac.sudo = "needs-password"
    child = machine.on_terminal(ours, "down")
    child.expect(r"Go on\? \[y/N\] ")
    assert "Password:" not in child.before
    child.sendline("y")
    child.expect("Password:")
    child.sendline("secret")
    assert finish(child)[0] == 0
    assert (machine.state(), machine.mac.prompts) == (State(), 1)


def test_down_refuses_for_another_boot_job_and_its_commands_remove_that_one(machine: SharedMachine) -> None:
    ours, theirs = named("current"), named("current", SECOND[IPS[0]])
    both, asked = set_up(machine, ours, theirs), machine.asked()
    for code, text in (finish(machine.on_terminal(ours, "down")), machine.say(ours, "down", "--yes")[::2]):
        assert (code, machine.state(), machine.asked()) == (1, both, asked)
        assert text.startswith(f"host-alias: {machine.job.format(theirs.label)} claims {ours.ip}, too")
    assert machine.paste(removal(machine, text, theirs.label))[0] == 0
    assert machine.state() == State({ours.label: both.files[ours.label]}, frozenset({ours.label}), both.addresses)
    machine.reboot()
    assert machine.say(ours, "check") == (0, "", "")
    assert machine.say(ours, "down", "--yes")[0] == 0
    assert machine.state() == State()


@pytest.mark.parametrize("first", [None, "older"])
def test_an_up_that_waited_for_the_password_leaves_what_a_newer_one_did_meanwhile(
    machine: SharedMachine, first: str | None
) -> None:
    ours, theirs = named("current"), named("newer")
    if first:
        set_up(machine, named(first))
    code, commands, _ = machine.say(ours, "plan")
    assert (code, "mv -f" in commands) == (0, True)
    newest = set_up(machine, theirs)
    assert machine.paste(commands)[0] == 0
    assert machine.state() == newest
    assert machine.say(ours, "check") == machine.say(theirs, "check") == (0, "", "")


# --- label or address changed by an update ----------------------------------------------------------------------------

BEFORE = named("before")
# What the repo is afterwards. With another address the label follows; tests/test_update.py shows it.
CHANGES = {
    "address": named("after", ip=IPS[1]),
    "label": named("after", "com.example.new"),
    "both": named("after", "com.example.new", IPS[1]),
}


@pytest.fixture(scope="session")
def updated(rendered: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repo before and after each of CHANGES, and a neighbour. An update makes what a fresh copy is."""
    folder = tmp_path_factory.mktemp("updated")
    plant(rendered(), folder, [BEFORE, *CHANGES.values(), named("current", SECOND[BEFORE.ip])])
    return folder


@pytest.mark.parametrize("change", CHANGES if NIGHTLY else ["label", "both"])
def test_a_machine_with_the_boot_job_of_before_an_update_follows(
    make_machine: Make, updated: Path, change: str
) -> None:
    after = CHANGES[change]
    assert (after.ip, after.label) != (BEFORE.ip, BEFORE.label)
    machine = make_machine(updated)
    before, asked = set_up(machine, BEFORE), machine.asked()
    assert machine.say(after, "check")[0] == 3
    code, _, err = machine.say(after, "up")
    both = machine.state()
    assert (code, machine.asked() - asked) == (0, 1), err
    assert both == after_up(before, after, machine.texts[after])[1]
    assert both.files.keys() == {BEFORE.label, after.label}
    assert machine.say(after, "up") == (0, "", "")
    verb = "claims" if after.ip == BEFORE.ip else "adds"
    assert f"also     {machine.job.format(BEFORE.label)}  {verb} {BEFORE.ip}\n" in machine.say(after, "status")[1]
    # What is printed removes the old one, and nothing else.
    assert machine.paste(removal(machine, err, BEFORE.label)) == (0, "", "")
    only = State({after.label: machine.texts[after]}, frozenset({after.label}), frozenset({after.ip}))
    assert machine.state() == only
    assert machine.say(after, "up") == (0, "", "")
    machine.reboot()
    assert machine.state() == only
    assert "also" not in machine.say(after, "status")[1]


def test_the_removal_of_the_old_boot_job_keeps_an_address_that_another_one_adds(
    make_machine: Make, updated: Path
) -> None:
    after = CHANGES["address"]
    machine, neighbour = make_machine(updated), named("current", SECOND[IPS[0]])
    before = set_up(machine, BEFORE, neighbour)
    code, _, err = machine.say(after, "up")
    assert code == 0
    for label in (BEFORE.label, neighbour.label):
        assert machine.job.format(label) in err
    old, last = (removal(machine, err, label) for label in (BEFORE.label, neighbour.label))
    assert machine.paste(old) == (0, "", "")
    assert machine.state().addresses == {*before.addresses, after.ip}
    assert machine.say(neighbour, "check") == (0, "", "")
    assert machine.paste(last) == (0, "", "")
    assert machine.state() == after_up(State(), after, machine.texts[after])[1]
