"""Whatever ends, fails or meets another run in the middle of host-alias leaves no state that needs a person.

Both systems are told by the same tests: a Linux machine in namespaces with a stand-in for systemd, and the pretend Mac. A step
is a command that root's script runs; they are counted in a run that nothing disturbs, so a new one is covered by itself.
"""

import contextlib
import ctypes
import os
import re
import shutil
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from box import UNITS, Box, Result, need_box
from conftest import Render, Run
from fakemac import FakeMac
from host import ALIAS_IP as IP
from host import LABEL
from lab import Lab, children
from laptop import DAEMONS
from needs import NIGHTLY, need_mac
from systemd import Booted, booted_machine
from versions import with_format

DOWN = ("down", "--yes")
# What root's script may call by its path; a shell and sudo are no steps, they are what is killed.
COMMAND = re.compile(r"(?:(?<![\w.])|(?<=\\n))/(?:usr/)?s?bin/(?!sh\b|sudo\b)[a-z][a-z0-9_-]*")
# The number of the process that wrote a file beside the boot job's.
NUMBER = re.compile(r"\.(\d+)$")

# Stands before a command: counts root's calls and, as told in /mnt/faults, kills all of the caller's group, fails, or is late.
STEP = """#!/bin/sh
name=${0##*/} faults=/mnt/faults
# What systemd starts is no step, and what a person calls changes nothing.
if [ -n "${BEHIND-}" ] || [ ! -w $faults ]; then exec "$faults/real/$name" "$@"; fi
export BEHIND=1
read -r count <$faults/count
count=$((count + 1))
printf '%s\\n' "$count" >$faults/count
writes=''
[ ! -f /proc/self/fd/1 ] || writes=writes
printf '%s\\t%s\\t%s\\036' "$writes" "$name" "$*" >>$faults/steps
read -r step when <$faults/kill
IFS= read -r failing <$faults/fail
read -r delay <$faults/delay
first=${1-}
[ "$failing" != "$name ${first%%[[:space:]]*}" ] || { printf '%s: no\\n' "$name" >&2; exit 1; }
[ "$delay" = 0 ] || "$faults/real/sleep" "0.0$(($$ * 7919 % delay + 10))"
if [ "$count" != "$step" ]; then exec "$faults/real/$name" "$@"; fi
case $when in
before) ;;
alone) kill -9 $PPID; exit 1 ;;
middle) head -c 200 ;;
during) "$faults/real/$name" "$@" & ;;
after) "$faults/real/$name" "$@" || [ "$name" != cat ] ;;
esac
kill -9 0
"""


@dataclass(frozen=True)
class Step:
    """A command that root's script ran: its name, its words, and whether it wrote to a file."""

    name: str
    words: str
    writes: bool

    @property
    def kind(self) -> str:
        """Return its name and its first word."""
        return " ".join([self.name, *self.words.split()[:1]])


PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Let the children of what is killed become ours: this machine's first process may take seconds to notice their end."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def bury() -> None:
    """Wait for the end of those children: what tests start themselves is of another session, or was waited for."""
    for pid in children(os.getpid()):
        if os.getsid(pid) != os.getsid(0):
            os.waitpid(pid, 0)


Facts = tuple[dict[str, Any], Any]


class FaultyMachine:
    """A machine with generated repos, on which host-alias runs as an ordinary user who may become root.

    A kind of machine adds:
    say(*words, repo)      runs host-alias of a repo; -9 is the exit code of one that was killed
    copy(name)             makes another repo like ours
    localdev(repo)         is the folder of a repo, as the tests see it
    install(text)          puts `text` in the place of the boot job's file and loads it as an `up` did
    unload()               lets the boot job be off, with its file in place
    remove_address()       takes the address away behind everybody's back
    kill_at(step, when)    kills everything `before` or `after` a step or in the `middle` of what it writes; `alone` is only
                           root's shell, before it; step 0 is never
    fail(step)             lets all of root's calls like `step` fail; None heals all
    late(seconds)          lets each step come late by a random time
    steps()                are the steps since the last call of this
    small_disk()           lets the boot jobs' folder be an empty file system with little room
    read_only()            lets nobody write into that folder, not even root
    system()               is all that `up` changes but files
    save(), load(saved)    make the machine as it was, with no fault in it
    """

    job: str  # the name of the boot job's file
    ours: str  # in a repo
    folder: Path  # of the boot jobs' files, as the tests see it
    fresh: Facts  # of a machine on which host-alias never ran
    nothing: Any  # that machine, for `load`
    repaired: set[str]  # the shapes from which `up` and `down` need no person, see `repair`

    def clone(self, name: str, edit: Callable[[str], str]) -> None:
        """Make another repo whose configuration and boot job are edited."""
        self.copy(name)
        for file in (self.ours, "host-alias.conf"):
            path = self.localdev(name) / file
            path.write_text(edit(path.read_text()))

    def text(self) -> str:
        """Return what our repo wants the boot job's file to be."""
        return (self.localdev() / self.ours).read_text()

    def older(self) -> str:
        """Return the boot job's file as an older release wrote it, which did less: no guard, and no netmask."""
        less = r"ExecStart=/bin/sh (?s:.*?)fi'\n|\t\t<string>(netmask|255[.0-9]*)</string>\n"
        text = re.sub(less, "", self.text())
        assert text != self.text()
        return with_format(text, 0)

    def heal(self) -> None:
        """End all faults."""
        self.kill_at(0)
        self.fail(None)
        self.late(0)

    def stamp(self, seconds: int) -> None:
        """Date all files of the repo and the boot jobs' folder."""
        for path in (*self.localdev().rglob("*"), *self.folder.rglob("*")):
            os.utime(path, (seconds, seconds), follow_symlinks=False)

    def files(self) -> dict[str, Any]:
        """Return what is in the boot jobs' folder: of each file all but its times."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            about = path.lstat()
            content = path.readlink() if path.is_symlink() else None if path.is_dir() else path.read_bytes()
            if content is not None:
                found[str(path.relative_to(self.folder))] = (about.st_mode, about.st_uid, about.st_gid, content)
        return found

    def facts(self) -> Facts:
        """Return all that `up` changes, to be compared."""
        return self.files(), self.system()


def replace_tree(folder: Path, files: dict[str, Any]) -> None:
    """Let `folder` hold just `files`, as FaultyMachine.files returns them."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, (mode, uid, gid, content) in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if stat.S_ISLNK(mode):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(stat.S_IMODE(mode))
        os.chown(path, uid, gid, follow_symlinks=False)


class FaultyLinux(FaultyMachine):
    """A box, with a stand-in for systemd or without any."""

    job = f"{LABEL}.service"
    ours = "host-alias.service"

    def __init__(self, box: Box, folder: Path, systemd: bool) -> None:
        """Put a step before each command that the scripts call."""
        self.box = box
        self.systemd = systemd
        box.fake_sudo()
        if systemd:
            box.fake_systemd()
        self.root = Path(f"/proc/{box.holder.pid}/root")
        self.folder = self.root / UNITS.relative_to("/")
        self.faults = self.root / "mnt/faults"
        (folder / "step").write_text(STEP)
        (folder / "step").chmod(0o755)
        localdev = box.source / ".localdev"
        sources = [localdev / "host-alias", localdev / self.ours, *(localdev / "sh").glob("*.sh")]
        names = sorted({path.rsplit("/")[-1] for source in sources for path in COMMAND.findall(source.read_text())})
        # A command may be a link that other names share: it is covered where it is, under its own name only.
        self.names = [name for name in names if box.run("sh", "-c", f"command -v {name}")[0] == 0]
        assert {"cat", "ip", "mv", "rm", "systemctl"} <= set(self.names)
        lines = [f'cp -L "$(command -v {name})" real/{name}' for name in [*self.names, "sleep"]]
        lines += [f'mount --bind "{folder}/step" "$(readlink -f "$(command -v {name})")"' for name in self.names]
        box.root(f"mkdir -p /mnt/faults/real; cd /mnt/faults; {'; '.join(lines)}")
        (self.faults / "steps").write_text("")
        self.heal()
        self.fresh, self.nothing, self.repaired = self.facts(), self.save(), set()

    def sh(self, line: str) -> str:
        """Run a line of shell as root that is no step."""
        return self.box.root(f"export BEHIND=1; {line}")

    def say(self, *words: str, repo: str = "repo") -> Result:
        return self.box.run(f"/mnt/{repo}/.localdev/host-alias", *words, user=True)

    def copy(self, name: str) -> None:
        self.sh(f"rm -rf /mnt/{name}; cp -r /mnt/repo /mnt/{name}")

    def localdev(self, repo: str = "repo") -> Path:
        return self.root / f"mnt/{repo}/.localdev"

    @contextlib.contextmanager
    def small_disk(self) -> Iterator[None]:
        self.sh(f"mount -t tmpfs -o size=16k none {UNITS}")
        try:
            yield
        finally:
            self.sh(f"umount {UNITS}")

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        self.sh(f"mount -o remount,ro {UNITS}")
        try:
            yield
        finally:
            self.sh(f"mount -o remount,rw {UNITS}")

    def install(self, text: str) -> None:
        (self.folder / self.job).write_text(text)
        self.sh(f"systemctl restart {self.job}; systemctl enable {self.job}")

    def unload(self) -> None:
        self.sh(f"systemctl disable {self.job}")

    def remove_address(self) -> None:
        self.sh(f"ip address delete {IP}/32 dev lo")

    def kill_at(self, step: int, when: str = "") -> None:
        (self.faults / "count").write_text("0\n")
        (self.faults / "kill").write_text(f"{step} {when}\n")

    def fail(self, step: Step | None) -> None:
        (self.faults / "fail").write_text(f"{step.name} {step.kind.partition(' ')[2]}\n" if step else "\n")

    def steps(self) -> list[Step]:
        lines = [line.split("\t", 2) for line in (self.faults / "steps").read_text().split("\036")[:-1]]
        (self.faults / "steps").write_text("")
        return [Step(name, words, bool(writes)) for writes, name, words in lines]

    def late(self, seconds: float) -> None:
        (self.faults / "delay").write_text(f"{int(seconds * 1000)}\n")

    def run_files(self) -> dict[str, str | None]:
        """Return what is in /run but the lock of the stand-in for systemd; a directory has no text."""
        paths = [path for path in sorted((self.root / "run").rglob("*")) if path.name != "lock"]
        return {str(path.relative_to(self.root)): None if path.is_dir() else path.read_text() for path in paths}

    def system(self) -> Any:
        listed = self.sh("ip -4 -o address show dev lo; nft list ruleset")
        addresses, _, rules = listed.partition("\ntable ")
        # Which came first is no difference.
        return (
            sorted(re.sub(r"^\d+: ", "", line) for line in addresses.splitlines()),
            sorted(table.strip() for table in re.split(r"(?m)^table ", rules)),
            self.run_files(),
        )

    def save(self) -> Any:
        addresses = self.sh("ip -4 -o address show dev lo | awk '{ print $4 }'").split()
        return self.files(), self.run_files(), addresses, self.sh("nft list ruleset")

    def load(self, saved: Any) -> None:
        files, run_files, addresses, rules = saved
        replace_tree(self.folder, files)
        self.sh("rm -rf /run/*")
        for name, text in run_files.items():
            (self.root / name).mkdir() if text is None else (self.root / name).write_text(text)
        more = "; ".join(f"ip address add {one} dev lo scope host" for one in addresses if not one.startswith("127."))
        (self.root / "mnt/rules").write_text(f"flush ruleset\n{rules}")
        self.sh(f"ip -4 address flush dev lo to 10.0.0.0/8; {more or ':'}; nft -f /mnt/rules")
        self.heal()


class FaultyMac(FaultyMachine):
    """The pretend Mac, whose sudo never asks."""

    job = f"{LABEL}.plist"
    ours = "host-alias.plist"

    def __init__(self, folder: Path, repo: Path) -> None:
        """Let every command that the scripts call be a step."""
        self.mac = FakeMac(folder / "mac")
        self.mac.sudo = "ok"
        self.source = repo / ".localdev"
        self.mac.put(self.source, "/Users/alice/repo/.localdev")
        self.folder = self.mac.path(DAEMONS)
        sources = [self.source / "host-alias", self.source / "sh/common.sh", self.source / "sh/job.sh"]
        sources.append(self.source / "sh/darwin.sh")
        self.paths = sorted({path for source in sources for path in COMMAND.findall(source.read_text())})
        self.paths = [path for path in self.paths if self.mac.path(path).is_symlink() or self.mac.path(path).exists()]
        assert {"/bin/cat", "/bin/mv", "/bin/rm", "/bin/sleep", "/bin/launchctl", "/sbin/ifconfig"} <= set(self.paths)
        self.mac.no_waiting()
        self.mac.trace(*self.paths)
        self.failing = ""
        self.fresh, self.nothing, self.repaired = self.facts(), self.save(), set()

    def say(self, *words: str, repo: str = "repo") -> Result:
        done = self.mac.run([f"/Users/alice/{repo}/.localdev/host-alias", *words])
        return done.returncode, done.stdout, done.stderr

    def copy(self, name: str) -> None:
        self.mac.put(self.source, f"/Users/alice/{name}/.localdev")

    def localdev(self, repo: str = "repo") -> Path:
        return self.mac.path(f"/Users/alice/{repo}/.localdev")

    @contextlib.contextmanager
    def small_disk(self) -> Iterator[None]:
        folder = self.folder
        with self.mac.small_disk(DAEMONS, "16k") as self.folder:
            yield
        self.folder = folder

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        with self.mac.read_only("/Library"):
            yield

    def install(self, text: str) -> None:
        (self.folder / self.job).write_text(text)
        self.mac.load(f"{DAEMONS}/{self.job}")

    def unload(self) -> None:
        assert self.mac.run(["/bin/launchctl", "bootout", f"system/{LABEL}"], user=0).returncode == 0

    def remove_address(self) -> None:
        self.mac.remove_alias(IP)

    def kill_at(self, step: int, when: str = "") -> None:
        self.mac.kill_at(step, when)

    def fail(self, step: Step | None) -> None:
        if self.failing:
            self.mac.fail(self.failing, 0, "", times=0)
        if step:
            self.failing = step.kind
            self.mac.fail(self.failing, 1, f"{step.name}: no", root=True)

    def steps(self) -> list[Step]:
        steps = [Step(path.rsplit("/")[-1], " ".join(words), writes) for path, words, writes in self.mac.steps]
        self.mac.forget_calls()
        return steps

    def late(self, seconds: float) -> None:
        self.mac.delay = seconds

    def system(self) -> Any:
        loaded = {label: (job["path"], job["arguments"], job["draining"]) for label, job in self.mac.loaded.items()}
        return self.mac.masks, loaded, [label for label, off in self.mac.disabled.items() if off]

    def save(self) -> Any:
        return self.files(), (self.mac.state / "state").read_bytes()

    def load(self, saved: Any) -> None:
        files, state = saved
        replace_tree(self.folder, files)
        (self.mac.state / "state").write_bytes(state)
        self.heal()


@pytest.fixture(scope="module")
def machines(
    rendered: Render, tmp_path_factory: pytest.TempPathFactory, clean_env: dict[str, str]
) -> Iterator[Callable[[str], FaultyMachine]]:
    """Makes one machine of each kind."""
    boxes = contextlib.ExitStack()

    @cache
    def machines(kind: str) -> FaultyMachine:
        folder = tmp_path_factory.mktemp("machine")
        if kind == "mac":
            need_mac()
            return FaultyMac(folder, rendered())
        need_box(firewall=True)
        box = Box(Path(shutil.copytree(rendered(), folder / "repo")), folder, clean_env)
        boxes.callback(box.close)
        return FaultyLinux(box, folder, kind == "linux")

    with boxes:
        yield machines


@pytest.fixture
def machine(request: pytest.FixtureRequest, machines: Callable[[str], FaultyMachine]) -> Iterator[FaultyMachine]:
    """A machine as if host-alias never ran on it."""
    made = machines(request.param)
    made.load(made.nothing)
    with adopting():
        yield made


def set_up(machine: FaultyMachine) -> None:
    """All is in place."""
    code, _, err = machine.say("up")
    assert code == 0, err


def older(machine: FaultyMachine) -> None:
    """An older release set it up."""
    machine.install(machine.older())


def gone(machine: FaultyMachine) -> None:
    """All is in place but the address."""
    set_up(machine)
    machine.remove_address()


def off(machine: FaultyMachine) -> None:
    """All is in place, but not enabled or loaded."""
    set_up(machine)
    machine.unload()


def fresh(machine: FaultyMachine) -> None:
    """Nothing is there."""


STATES = {"up": (fresh, older, gone, off), "down": (set_up, older)}
ANYWHERE = pytest.mark.parametrize("machine", ["linux", "mac"], indirect=True)
EVERYWHERE = pytest.mark.parametrize("machine", ["linux", "linux without systemd", "mac"], indirect=True)


def left_over(machine: FaultyMachine) -> list[str]:
    """Return the files that stand half written beside the boot jobs'."""
    return [name for name in machine.files() if NUMBER.search(name)]


def repair(machine: FaultyMachine, what: str) -> None:
    """Assert that what a fault left is told by `check` and ended by both the next `up` and the next `down`."""
    files, system = machine.facts()
    # Without the numbers of processes: what is repaired once needs no second proof.
    shape = repr(({NUMBER.sub(".N", name): facts for name, facts in files.items()}, system))
    if shape in machine.repaired:
        return
    left, done = machine.save(), all_done(machine)
    code, _, err = machine.say("check")
    in_place = machine.facts() == done
    assert code == (0 if in_place else 3), f"{what}: check says {code} {err} for {machine.facts()}"
    code, _, err = machine.say("up")
    assert code == 0, f"{what}, then up: {after_plan(err)}"
    assert machine.facts() == done, f"{what}, then up"
    assert machine.say("check") == (0, "", ""), what
    machine.load(left)
    code, _, err = machine.say(*DOWN)
    assert code == 0, f"{what}, then down: {after_plan(err)}"
    assert machine.facts() == machine.fresh, f"{what}, then down"
    machine.repaired.add(shape)


@cache
def all_done(machine: FaultyMachine) -> Facts:
    """Return how the machine looks when all is in place; leave it as it is."""
    now = machine.save()
    machine.load(machine.nothing)
    set_up(machine)
    done = machine.facts()
    machine.load(now)
    return done


@dataclass(frozen=True, eq=False)
class Case:
    """How a verb runs undisturbed: its words, the machine before, and its steps."""

    words: tuple[str, ...]
    before: Any
    steps: list[Step]


@cache
def undisturbed(machine: FaultyMachine, verb: str, state: Callable[[FaultyMachine], None]) -> Case:
    """Run `verb` once from `state`."""
    machine.load(machine.nothing)
    state(machine)
    before = machine.save()
    words = DOWN if verb == "down" else (verb,)
    machine.steps()
    code, _, err = machine.say(*words)
    assert code == 0, err
    steps = machine.steps()
    assert steps
    assert machine.facts() == (all_done(machine) if verb == "up" else machine.fresh)
    return Case(words, before, steps)


def places(machine: FaultyMachine, verb: str) -> Iterator[tuple[Case, int, Step]]:
    """Yield each step of `verb` from each state, and its number; by day each kind of step once, the states by turns."""
    # Without systemd there is nothing to be older, off or gone from.
    states = STATES[verb][:1] if isinstance(machine, FaultyLinux) and not machine.systemd else STATES[verb]
    found = defaultdict(list)
    for case in (undisturbed(machine, verb, state) for state in states):
        for number, step in enumerate(case.steps, 1):
            found[step.kind].append((case, number, step))
    for turn, of_kind in enumerate(found.values()):
        yield from of_kind if NIGHTLY else of_kind[turn % len(of_kind) :][:1]


@EVERYWHERE
@pytest.mark.parametrize("verb", STATES)
def test_killed_at_any_step_the_next_up_and_the_next_down_need_no_person(machine: FaultyMachine, verb: str) -> None:
    for case, number, step in places(machine, verb):
        # What is there before a step is what was there after the one before it; that the kill itself is the same, nights tell.
        moments = (["before"] if NIGHTLY or number == 1 else []) + (["middle"] if step.writes else []) + ["after"]
        for when in moments:
            machine.load(case.before)
            machine.kill_at(number, when)
            what = f"killed {when} {step.name} {step.words}"
            assert machine.say(*case.words)[0] == -9, what
            bury()
            machine.kill_at(0)
            repair(machine, what)


# Its exit code is the answer to a question, and no failure.
QUESTION = "launchctl print"


def after_plan(err: str) -> str:
    """Return what was said after the commands were shown."""
    return err.rpartition("\nAS_ROOT\n")[2]


def assert_told(err: str, message: str) -> None:
    """After the commands come `message` and one line of host-alias's."""
    told = after_plan(err).splitlines()
    assert [line for line in told if line.startswith("host-alias: ")] == told[-1:], err
    assert message in "\n".join(told[:-1]), err


@EVERYWHERE
@pytest.mark.parametrize("verb", STATES)
def test_a_step_that_fails_is_told_and_the_next_up_repairs_it(machine: FaultyMachine, verb: str) -> None:
    # All calls of a kind fail.
    tries = {(case, step.kind): step for case, _, step in places(machine, verb) if step.kind != QUESTION}
    for (case, kind), step in tries.items():
        machine.load(case.before)
        machine.fail(step)
        code, out, err = machine.say(*case.words)
        machine.fail(None)
        what = f"failed: {kind}"
        assert (code, out) == (1, ""), f"{what}: {after_plan(err)}"
        assert_told(err, f"{step.name}: no")
        assert not left_over(machine), what
        repair(machine, what)


@ANYWHERE
@pytest.mark.parametrize(("verb", "state"), [("up", older), ("down", set_up)])
def test_a_shell_of_root_that_is_killed_alone_is_no_refused_password(
    machine: FaultyMachine, verb: str, state: Callable[[FaultyMachine], None]
) -> None:
    case = undisturbed(machine, verb, state)
    last = len(case.steps)
    for number in range(1, last + 1) if NIGHTLY else (1, last // 2, last):
        machine.load(case.before)
        machine.kill_at(number, "alone")
        code, out, err = machine.say(*case.words)
        # The shell of a $(...) is another one: what it asked for is tried again.
        assert (code, out) in ((0, ""), (1, ""))
        if code:
            assert_told(err, "")
            assert "host-alias: a command failed" in err
    assert code == 1
    repair(machine, f"{verb} without its last step")


# --- where it cannot write --------------------------------------------------------------------------------------------


@ANYWHERE
@pytest.mark.parametrize("state", [fresh, older])
def test_a_full_disk_is_told_in_one_line_and_changes_no_boot_job(
    machine: FaultyMachine, state: Callable[[FaultyMachine], None]
) -> None:
    done = all_done(machine)
    with machine.small_disk():
        state(machine)
        before = machine.facts()
        filler = machine.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        code, out, err = machine.say("up")
        assert (code, out) == (1, "")
        assert_told(err, "No space left on device")
        filler.unlink()
        assert machine.files() == before[0]
        if state is older:
            assert machine.facts() == before
        code, _, err = machine.say("up")
        assert code == 0, err
        assert machine.facts() == done


@ANYWHERE
@pytest.mark.parametrize(("verb", "state"), [("up", fresh), ("up", older), ("down", set_up)])
def test_a_folder_that_is_read_only_is_told_in_one_line_and_changes_no_boot_job(
    machine: FaultyMachine, verb: str, state: Callable[[FaultyMachine], None]
) -> None:
    case = undisturbed(machine, verb, state)
    machine.load(case.before)
    before = machine.facts()
    with machine.read_only():
        code, out, err = machine.say(*case.words)
        assert (code, out) == (1, "")
        assert_told(err, "Read-only file system")
        assert machine.files() == before[0]
        if state is older:
            assert machine.facts() == before
    repair(machine, f"{verb} on a read-only disk")


# --- the time ---------------------------------------------------------------------------------------------------------

LIFE = (("check",), ("up",), ("check",), ("up",), ("status",), DOWN, ("check",))


@ANYWHERE
def test_it_does_not_matter_how_files_are_dated(machine: FaultyMachine) -> None:
    lives = []
    for dates in ((), (86400, 4_000_000_000)):
        machine.load(machine.nothing)
        life = []
        for number, words in enumerate(LIFE):
            if dates:
                machine.stamp(dates[number % 2])
            life.append(machine.say(*words))
        lives.append(life)
    assert [code for code, _, _ in lives[0]] == [3, 0, 0, 0, 0, 0, 3]
    assert lives[1] == lives[0]


# --- two at once ------------------------------------------------------------------------------------------------------


# What the other repo is, and what it does.
MEETINGS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "the same": (lambda text: text, ("up",)),
    "another label": (lambda text: text.replace(LABEL, f"local.other.{IP}"), ("up",)),
    "a newer format": (lambda text: with_format(text, 99), ("up",)),
    "down": (lambda text: text, DOWN),
}
ROUNDS = 4 if NIGHTLY else 1
BOTH = [(meeting, state) for meeting in MEETINGS for state in (fresh, older)]


@ANYWHERE
@pytest.mark.parametrize(("meeting", "state"), BOTH if NIGHTLY else [*BOTH[:4:3], *BOTH[4::3]])
def test_two_at_once_end_as_one_after_the_other(
    machine: FaultyMachine, meeting: str, state: Callable[[FaultyMachine], None]
) -> None:
    edit, words = MEETINGS[meeting]
    machine.clone("other", edit)
    state(machine)
    before = machine.save()
    runs = ((("up",), "repo"), (words, "other"))

    @cache
    def end(first: int) -> Facts:
        """Return what is there when one comes after the other."""
        machine.load(before)
        for run, repo in (runs[first], runs[1 - first]):
            code, _, err = machine.say(*run, repo=repo)
            assert code == 0, err
        return machine.facts()

    for number in range(ROUNDS):
        machine.load(before)
        machine.late(0.05)
        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(machine.say, *run, repo=repo) for run, repo in runs]
        machine.heal()
        (code, _, err), (code_of_other, _, err_of_other) = (result.result() for result in results)
        what = f"round {number}: {code} {after_plan(err)}\n{code_of_other} {after_plan(err_of_other)}"
        assert not left_over(machine), what
        now, left = machine.facts(), machine.save()
        as_one_after_the_other = any(now == end(first) for first in (0, 1))
        if meeting != "down":
            assert (code, code_of_other, as_one_after_the_other) == (0, 0, True), what
            continue
        assert {code, code_of_other} <= {0, 1}, what
        for one, text in ((code, err), (code_of_other, err_of_other)):
            assert text.splitlines()[-1].startswith("host-alias: "), what
            assert one == 0 or "Now: " in text or "Run: make" in text, what
        if not as_one_after_the_other:
            machine.load(left)
            repair(machine, what)


# --- on whole machines ------------------------------------------------------------------------------------------------

ENABLED = f"{UNITS}/multi-user.target.wants/{LABEL}.service"

# All that `up` changes where systemd is real; systemd's own words come last.
LOOK = f"""for file in {UNITS}/*host-alias*; do [ ! -f "$file" ] || {{ echo "$file"; stat -c '%F %a %U %G' "$file"; cat "$file"; }}; done
[ ! -L {ENABLED} ] || readlink {ENABLED}
ls -d /run/{LABEL} 2>/dev/null || echo not started
[ ! -x /usr/sbin/nft ] || nft list ruleset
ip -4 -o address show dev lo | sed 's/^[0-9]*: //'
systemctl show -p LoadState -p ActiveState -p UnitFileState {LABEL}.service"""


@pytest.fixture(scope="module")
def shared_machine(run: Run, rendered: Render) -> Iterator[Booted]:
    with booted_machine(run, rendered()) as machine:
        yield machine


@pytest.fixture
def booted(shared_machine: Booted) -> Booted:
    """The machine, as if host-alias had never been there."""
    return shared_machine.fresh()


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_killed_at_any_step_a_real_systemd_needs_no_person(booted: Booted, tmp_path: Path) -> None:
    names = ("cat", "ip", "mv", "rm", "systemctl")
    (tmp_path / "step").write_text(STEP)
    (tmp_path / "step").chmod(0o755)
    booted.sh("mkdir -p /mnt/faults/real; cd /mnt/faults; touch steps; echo >fail; echo 0 >delay")
    booted.docker("cp", str(tmp_path / "step"), f"{booted.name}:/mnt/faults/step")
    booted.sh(f'for name in {" ".join(names)}; do cp -L "$(command -v $name)" /mnt/faults/real/$name; done')
    # In a mount namespace of its own: systemd sees none of it.
    binds = "".join(f'mount --bind /mnt/faults/step "$(readlink -f "$(command -v {name})")"; ' for name in names)

    def run(words: tuple[str, ...], step: int = 0, when: str = "") -> int:
        told = f"cd /mnt/faults; echo 0 >count; echo {step} {when} >kill; : >steps; {binds}"
        inside = ("setsid", "-w", "unshare", "--mount", "sh", "-euc", f'{told} exec "$@"', "sh")
        return booted.result(*inside, "/srv/repo/.localdev/host-alias", *words)[0]

    def steps() -> list[tuple[str, bool]]:
        lines = booted.sh("cat /mnt/faults/steps").split("\036")[:-1]
        return [(line.split("\t", 2)[1], line.startswith("writes")) for line in lines]

    def look() -> str:
        # Each run is the first one for systemd, which stops at the sixth start within ten seconds.
        return booted.sh(f"systemctl reset-failed; {LOOK}")

    fresh_look = look()
    assert run(("up",)) == 0
    done, up_steps = look(), steps()
    assert "ActiveState=active\nUnitFileState=enabled\n" in done
    assert run(DOWN) == 0
    assert look() == fresh_look
    down_steps = steps()
    for words, taken in ((("up",), up_steps), (DOWN, down_steps)):
        assert "systemctl" in [name for name, _ in taken]
        for number, (name, writes) in enumerate(taken, 1):
            also = ["middle"] if writes else ["during"] if name == "systemctl" else []
            for when in ("before", *also, "after"):
                for then in (("up",), DOWN):
                    what = f"{words} killed {when} {number}, {name}, then {then}"
                    assert words == ("up",) or booted("up")[0] == 0, what
                    assert run(words, number, when) == 9, f"{what}: setsid passes on the signal's number"
                    # A job that systemd has begun goes on: `check` may tell of any moment, but never that all is done.
                    if when != "during":
                        assert booted("check")[0] == (0 if look() == done else 3), what
                    code, _, err = booted(*then)
                    assert code == 0, f"{what}: {after_plan(err)}"
                    assert look() == (done if then == ("up",) else fresh_look), what
                    assert booted(*DOWN)[0] == 0, what
                    assert look() == fresh_look, what


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_an_alias_that_goes_while_the_stack_runs_comes_back_without_a_restart(
    rendered: Render, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = 4404
    lab = Lab(tmp_path_factory.mktemp("lab"), clean_env, rendered)
    try:
        repo = lab.repo(native_services=f"web:{port}", web_port="8196")
        ids = "docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $(docker compose ps -q)"
        get = "curl -sS -m 10 -o /dev/null -w '%{http_code}' -H 'Host: my-app-s-repo.localhost' http://127.0.0.1:8196/"
        before = lab.root(ids, cwd=repo.path)
        assert before.count("\n") == 1
        with lab.listen(port):
            assert lab.root(get) == "200"
            lab.root(f"ip address delete {IP}/32 dev lo")
            assert lab.root(get) in ("502", "504")
            (missing,) = [one for one in lab.doctor(repo) if one["id"] == "alias.missing"]
            assert (missing["level"], missing["text"], missing["fix"]) == (
                "fail",
                f"{IP} is not on lo",
                "make dev-alias",
            )
            lab.make(repo, "dev-alias")
            assert lab.root(get) == "200"
            assert "alias.present" in [one["id"] for one in lab.doctor(repo)]
            # The daily command does the same.
            lab.root(f"ip address delete {IP}/32 dev lo")
            lab.make(repo, "dev-up")
            assert lab.root(get) == "200"
        assert lab.root(ids, cwd=repo.path) == before
    finally:
        lab.close()
