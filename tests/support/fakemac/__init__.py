"""A pretend Mac: real shell scripts run in it unchanged, at macOS's absolute paths, as an ordinary user.

`FakeMac(tmp_path)` builds a root file system whose commands are either fakes (`fakemac.commands`, see `PROGRAMS`) or,
where BSD and GNU agree, the Linux ones. Every command runs in a mount namespace of its own, in a chroot, as uid 501:
the kernel itself refuses to let it write /Library/LaunchDaemons, and /usr/bin/sudo really is setuid root. When the
command ends, its mounts are gone. Nothing of the real machine's network is touched: lo0 is a list in a file, and
what opens sockets is in a network of its own, where 127.0.0.1 answers and nobody listens.

    mac = FakeMac(tmp_path)
    mac.sudo = "ok"
    mac.put(".localdev", "/Users/alice/repo/.localdev")
    done = mac.run([".localdev/host-alias", "up"], cwd="/Users/alice/repo")
    assert done.returncode == 0 and "10.254.254.254" in mac.addresses
"""

import ast
import atexit
import compileall
import contextlib
import marshal
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

from .commands.base import DEFAULTS, PROGRAMS, TRACED, State
from .commands.ifconfig import ALL_ONES, classful, dotted, number

USER, GROUPS = 501, (20, 12, 80)  # alice: staff; everyone, admin
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

PASSWD = """root:*:0:0:System Administrator:/var/root:/bin/sh
daemon:*:1:1:System Services:/var/root:/usr/bin/false
alice:*:501:20:Alice:/Users/alice:/bin/zsh
bob:*:502:20:Bob:/Users/bob:/bin/zsh
"""
UIDS = {line.split(":")[0]: int(line.split(":")[2]) for line in PASSWD.splitlines()}
GROUP = """wheel:*:0:root
daemon:*:1:root
everyone:*:12:alice,bob
staff:*:20:root,alice,bob
admin:*:80:root,alice
"""

# Names that programs look up are in /etc/hosts only: see FakeMac.hosts.
NSSWITCH = "hosts: files\n"

# Linux tools that behave the same, by their place on a Mac. A Mac has no timeout, getent, ip, ss, nproc, flock, setsid.
HOST_TOOLS = {
    "bin": "cat echo expr hostname ln ls mkdir mv pwd realpath rm rmdir sleep test [ sync stty dd kill",
    "usr/bin": "awk basename cmp comm cut diff dirname env false find fold head id join logname nl od paste printf"
    " readlink sort split tail tee touch tr true tty uniq wc whoami xargs yes base64 cksum which",
}
# Linux tools behind a fake of the same name (`fakemac.commands.files`).
BEHIND = "chmod cp date grep sed"
SHELLS = {"bash": "bash", "dash": "dash", "zsh": "zsh", "ksh": "mksh", "busybox": "busybox"}

# Mounts and steps inside, as root and before the chroot. A failed one must not look like a command's result.
ENTER = 'mount --all --fstab "$1" && ip link set lo up || exit 125; shift; exec "$@"'
LIBRARIES = ("lib", "lib32", "lib64", "libx32")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")

STUB = """#!/.fakemac/system/bin/{python} -IS
import sys
sys.path.insert(0, "/.fakemac/system")
from commands.base import dispatch
dispatch()
"""
# Apple builds /bin/sh so that POSIX mode's echo knows no options: `echo -n x` prints `-n x`. bash as `sh` does the same
# with xpg_echo set; the name in $0 is what turns POSIX mode on.
SH = '#!/bin/bash\nexec -a /bin/sh /bin/bash -O xpg_echo "$@"\n'

_system = None


@cache
def _host(tool):
    """Where the Linux tool really is, symbolic links followed; None when this machine has none."""
    found = shutil.which(tool, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return Path(found).resolve() if found else None


def _inside(path):
    """The path under which a command in the fake root sees a tool of the host."""
    return f"/.fakemac/host{path}"


def _shared_system():
    """The read-only part that all fakes of this process share: Python (plain and setuid root) and the commands."""
    global _system
    if _system is None:
        _system = Path(tempfile.mkdtemp(prefix="fakemac-"))
        atexit.register(shutil.rmtree, _system, ignore_errors=True)
        _system.chmod(0o755)
        python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        for folder in ("bin", "tools", "commands", f"{sys.platlibdir}/python{sysconfig.get_python_version()}"):
            (_system / folder).mkdir(parents=True)
        for name, mode in (("python", 0o755), ("python-setuid", 0o4755)):
            shutil.copyfile(python, _system / "bin" / name)
            (_system / "bin" / name).chmod(mode)
        for source in Path(__file__).with_name("commands").glob("*.py"):
            shutil.copyfile(source, _system / "commands" / source.name)
        compileall.compile_dir(_system / "commands", quiet=1)
        for name in BEHIND.split():
            (_system / "tools" / name).symlink_to(_inside(_host(name)))
        for folder, _, names in os.walk(_system):
            Path(folder).chmod(0o755)
            for name in names:
                path = Path(folder, name)
                if not path.is_symlink() and path.parent.name != "bin":
                    path.chmod(0o644)
    return _system


class Knob:
    """An attribute of FakeMac that is one value of the pretend Mac's state."""

    def __init__(self, doc):
        self.__doc__ = doc

    def __set_name__(self, _owner, name):
        self.name = name

    def __get__(self, mac, _owner=None):
        if mac is None:
            return self
        with State(mac.state) as state:
            return state[self.name]

    def __set__(self, mac, value):
        with State(mac.state) as state:
            state[self.name] = value


class FakeMac:
    """One pretend Mac in the empty directory `root`. See the module's text for what is real in it and what is not."""

    macos = Knob(
        "Version, 26.6.2 by default. Decides the listings of ifconfig (13 | 14) and netstat (15.3 | 15.4 | 26)."
    )
    lo0_denied = Knob("True: a device management profile keeps even root from changing lo0.")
    alias_vanishes = Knob("True: adding an address exits 0 and leaves nothing behind.")
    alias_late = Knob("How many listings of lo0 do not show yet what a launchd job has added.")
    bootout_drains = Knob("How many looks (`print`, `bootstrap`) still see a job after it was booted out.")
    richer_errors = Knob("True: bootstrap says 37, 119, 122 ... as newer systems do; False: 5 for nearly everything.")
    btm_denied = Knob("Labels switched off in System Settings > Login Items: not started at boot.")
    disabled = Knob("launchd's overrides, label -> is it disabled. They outlive files and restarts.")
    password = Knob("What alice has to type; `secret` by default.")
    ticket = Knob("True: sudo remembers a password given lately.")
    prompts = Knob("How many times sudo has asked for a password.")
    routes = Knob("[network/prefix, interface, gateway or None]; the longest prefix wins.")
    processes = Knob("Processes that do not listen: {pid, ppid, user, uid, command}, see `start`.")
    delay = Knob("By how many seconds each command may be late; how long it is, is random.")
    warnings = Knob("What a careful reader would say about the plists that were loaded.")

    def __init__(self, root, shell=None):
        """`shell` is the binary to use as /bin/sh. Otherwise bash: the one BASH32 names, or else this machine's."""
        self.root = Path(root)
        self.state = self.root / ".fakemac/state"
        self.system = _shared_system()
        self.around = []
        self._files()
        self._links(shell)
        self._mount_table()

    @staticmethod
    @cache
    def missing():
        """What keeps a FakeMac from running here and how to get it; None when nothing does."""
        if not sys.platform.startswith("linux"):
            return "Linux, whose mount namespaces hold the fake root"
        if os.geteuid() != 0:
            return "root, for mount namespaces: sudo make test"
        for tool, package in (
            ("unshare", "util-linux"),
            ("mount", "util-linux"),
            ("ip", "iproute2"),
            ("chroot", "coreutils"),
            ("bash", "bash"),
        ):
            if not _host(tool):
                return f"{tool}, from the package {package}"
        if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
            return "a process that may gain privileges, for setuid sudo: not under no-new-privileges"
        probe = [
            _host("unshare"),
            "--mount",
            "--net",
            "--propagation",
            "private",
            _host("mount"),
            "--bind",
            "/usr",
            "/usr",
        ]
        if subprocess.run(probe, capture_output=True).returncode:
            return "CAP_SYS_ADMIN, for mount namespaces: docker run --privileged, or a virtual machine"
        return None

    # ---- building

    def _files(self):
        folders = {
            "bin sbin usr/bin usr/sbin usr/lib usr/local/bin dev Library/LaunchDaemons Users": (0o755, 0, 0),
            "private/etc private/var private/var/root private/var/run Library/LaunchAgents": (0o755, 0, 0),
            ".fakemac .fakemac/system .fakemac/host .fakemac/proc .fakemac/packages": (0o755, 0, 0),
            ".fakemac/state": (0o777, 0, 0),
            "private/tmp private/var/tmp": (0o1777, 0, 0),
            "Users/alice private/var/folders/alice/T": (0o755, USER, GROUPS[0]),
        }
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o755)
        for names, (mode, uid, gid) in folders.items():
            for name in names.split():
                path = self.root / name
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(mode)
                os.chown(path, uid, gid)
        for name in ("tmp", "var", "etc"):
            (self.root / name).symlink_to(f"private/{name}")
        (self.root / "etc/passwd").write_text(PASSWD)
        (self.root / "etc/group").write_text(GROUP)
        (self.root / "etc/nsswitch.conf").write_text(NSSWITCH)
        if Path("/etc/ld.so.cache").exists():  # libraries outside the default folders, such as /usr/local/lib's Python
            shutil.copyfile("/etc/ld.so.cache", self.root / "etc/ld.so.cache")
        for name, content in (("state", marshal.dumps(DEFAULTS)), ("calls", b""), ("steps", b"")):
            (self.state / name).write_bytes(content)
            (self.state / name).chmod(0o666)
        self.hosts = DEFAULTS["hosts"]
        for name in DEVICES:
            (self.root / "dev" / name).touch()
        (self.root / "dev/pts").mkdir()
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            (self.root / "dev" / name).symlink_to(f"/.fakemac/proc/self/fd{target}")
        for path in PROGRAMS:
            self._program(path, STUB.format(python="python-setuid" if path == "/usr/bin/sudo" else "python"))

    def _program(self, path, text):
        self.path(path).write_text(text)
        self.path(path).chmod(0o755)

    def _links(self, shell):
        for folder, names in HOST_TOOLS.items():
            for name in names.split():
                tool = (_host("original-awk") or _host("mawk")) if name == "awk" else _host(name)
                if tool:
                    (self.root / folder / name).symlink_to(_inside(tool))
        shells = {name: _host(tool) for name, tool in SHELLS.items()}
        shells["bash"] = Path(os.environ.get("BASH32") or shells["bash"]).resolve()
        if shell:
            shells["sh"] = Path(shell).resolve()
        # Apple's command line tools bring make and python3.
        make = Path(os.environ["MAKE381"]).resolve() if os.environ.get("MAKE381") else _host("make")
        for place, binary in [*((f"bin/{name}", binary) for name, binary in shells.items()), ("usr/bin/make", make)]:
            if binary and not binary.is_relative_to("/usr"):
                shutil.copy(binary, self.root / place)
            elif binary:
                (self.root / place).symlink_to(_inside(binary))
        (self.root / "usr/bin/python3").symlink_to("/.fakemac/system/bin/python")
        if "sh" not in shells:
            self._program("/bin/sh", SH)

    def _mount_table(self):
        """An fstab, so that one mount(8) does it all. Bind mounts inherit flags such as nosuid, which are undone."""
        lines = []

        def bind(source, target, flags):
            target = self.root / target
            target.mkdir(parents=True, exist_ok=True) if Path(source).is_dir() else target.touch()
            words = [str(word).replace("\\", "\\134").replace(" ", "\\040") for word in (source, target)]
            lines.append(f"{words[0]} {words[1]} none {flags} 0 0")

        bind(self.root, "", "bind")
        bind(self.system, ".fakemac/system", "bind")
        for line, access in zip(list(lines), ("rw", "ro"), strict=True):
            target = line.split()[1]
            lines.append(f"{target} {target} none remount,bind,{access},suid,exec,dev 0 0")
        for name in LIBRARIES:
            for folder in (Path("/", name), Path("/usr", name)):
                if folder.is_symlink():
                    (self.root / folder.relative_to("/")).symlink_to(folder.readlink())
                elif folder.is_dir():
                    bind(folder, folder.relative_to("/"), "bind,ro")
        for folder in (Path("/usr"), Path("/bin"), Path("/sbin")):
            if not folder.is_symlink():
                bind(folder, f".fakemac/host{folder}", "bind,ro")
        stdlib = Path(sysconfig.get_path("stdlib"))
        bind(stdlib, f".fakemac/system/{sys.platlibdir}/{stdlib.name}", "bind,ro")
        # This machine's packages are none of a Mac's, and may take long to start.
        if (stdlib / "site-packages").is_dir():
            place = f".fakemac/system/{sys.platlibdir}/{stdlib.name}/site-packages"
            bind(self.state.with_name("packages"), place, "bind,ro")
        libraries = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
        if sysconfig.get_config_var("Py_ENABLE_SHARED") and libraries.parent != Path("/usr"):
            bind(libraries, libraries.relative_to("/"), "bind,ro")
        bind("/proc", ".fakemac/proc", "rbind")
        bind("/dev/pts", "dev/pts", "bind")
        for name in DEVICES:
            bind(f"/dev/{name}", f"dev/{name}", "bind")
        for name in ("bin", "sbin", "usr/bin", "usr/sbin"):  # macOS's system volume is read-only, for root too
            bind(self.root / name, name, "bind,ro")
        self.table = self.state.with_name("fstab")
        self.table.write_text("\n".join(lines) + "\n")

    # ---- running

    def _command(self, argv, user, cwd):
        uid, groups = (0, (0,)) if user == 0 else (user, GROUPS)
        into = [_host("chroot"), f"--userspec={uid}:{groups[0]}", f"--groups={','.join(map(str, groups))}", self.root]
        enter = [
            _host("unshare"),
            "--mount",
            "--net",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            ENTER,
            "fakemac",
            self.table,
        ]
        # Not the fake's env: it may have been taken away or replaced by a test.
        within = [_inside(_host("env")), "-C", cwd or ("/var/root" if user == 0 else "/Users/alice")]
        return [str(word) for word in (*self.around, *enter, *into, *within, *argv)]

    def _environment(self, user, env):
        root = user == 0
        name, home = ("root", "/var/root") if root else ("alice", "/Users/alice")
        base = {"PATH": PATH, "HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/zsh", "LANG": "C.UTF-8"}
        base |= {"TERM": "xterm-256color", "TMPDIR": "/tmp/" if root else "/var/folders/alice/T/"}
        return {k: v for k, v in {**base, **(env or {})}.items() if v is not None}

    def run(self, argv, *, user=USER, cwd=None, env=None, stdin=None, timeout=60):
        """Run a command with no terminal at all. `env` is added to a login's variables (None removes one).

        `stdin` is text, or None for an empty input. Returns subprocess.CompletedProcess with text.
        """
        process = subprocess.Popen(
            self._command(argv, user, cwd),
            env=self._environment(user, env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for pipe in (process.stdin, process.stdout, process.stderr):
            os.fchown(pipe.fileno(), user, -1)  # or `tee /dev/stderr` could not open it
        try:
            out, err = process.communicate(stdin or "", timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise subprocess.TimeoutExpired(argv, timeout, out, err) from None
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def sh(self, script, *args, **options):
        """Run a piece of shell in /bin/sh, without a terminal. See `run`."""
        return self.run(["/bin/sh", "-c", script, "sh", *args], **options)

    def spawn(self, argv, *, user=USER, cwd=None, env=None, timeout=20):
        """Run a command on a terminal of its own. Returns pexpect.spawn."""
        import pexpect  # only tests with a terminal need it

        def on_the_terminal():
            os.fchown(0, user, 4)  # a login owns its terminal
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the child would inherit that

        command, *rest = self._command(argv, user, cwd)
        return pexpect.spawn(
            command,
            rest,
            env=self._environment(user, env),
            encoding="utf-8",
            timeout=timeout,
            dimensions=(24, 200),
            preexec_fn=on_the_terminal,
        )

    def reboot(self):
        """Restart: aliases, loaded jobs and sudo's ticket are gone; launchd starts the daemons it accepts."""
        code = 'import sys; sys.path.insert(0, "/.fakemac/system"); from commands.launchctl import boot; boot()'
        done = self.run(["/.fakemac/system/bin/python", "-IS", "-c", code], user=0)
        assert done.returncode == 0, done.stderr

    def no_waiting(self):
        """Let launchd's waiting times pass at once, where a test is not about how long they are."""
        self.path("/bin/sleep").unlink()
        self.path("/bin/sleep").symlink_to(self.path("/usr/bin/true").readlink())

    # ---- files

    def path(self, inside):
        """Where a path of the Mac lies on this machine."""
        return self.root / str(inside).lstrip("/")

    def put(self, source, inside, owner=USER):
        """Copy a file or a directory of this machine into the Mac, owned by `owner`. Returns where it lies."""
        target = self.path(inside)
        missing = [p for p in target.parents if not p.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
        group = 0 if owner == 0 else GROUPS[0]
        for path in (*missing, target, *(target.rglob("*") if target.is_dir() else ())):
            os.chown(path, owner, group, follow_symlinks=False)
        return target

    def write(self, inside, text, mode=0o644, owner=USER):
        """Write a file in the Mac, owned by `owner`, with exactly these permissions. Returns where it lies."""
        target = self.path(inside)
        target.write_text(text)
        target.chmod(mode)
        os.chown(target, owner, 0 if owner == 0 else GROUPS[0])
        return target

    def quarantine(self, inside):
        """Mark a file as downloaded by a browser."""
        os.setxattr(self.path(inside), "user.com.apple.quarantine", b"0083;68a1b2c3;Safari;")

    # ---- lo0, sudo, launchd, listeners

    @property
    def addresses(self):
        """The IPv4 addresses of lo0, in order."""
        return list(self.masks)

    @property
    def masks(self):
        """Address of lo0 -> its netmask as ifconfig prints it."""
        with State(self.state) as state:
            return {ip: f"0x{mask:x}" for ip, mask, hidden in state["lo0"] if not hidden}

    def add_alias(self, ip, mask=None):
        """Give lo0 one more address; the classful mask if none is given (dotted quad, or a number)."""
        value = number(mask) if isinstance(mask, str) else mask
        with State(self.state) as state:
            state["lo0"].append([ip, classful(number(ip)) if value is None else value, 0])

    def prior_aliases(self, count):
        """Give lo0 `count` addresses that are none of ours: 10.200.0.1 and up."""
        for last in range(1, count + 1):
            self.add_alias(dotted(number("10.200.0.0") + last), ALL_ONES)

    def remove_alias(self, ip):
        """Take an address away behind everybody's back, as a VPN client or another tool does."""
        with State(self.state) as state:
            state["lo0"] = [a for a in state["lo0"] if a[0] != ip]

    def add_interface_address(self, interface, ip, mask="255.255.255.0", peer=None):
        """Give en0 or utun0 an address."""
        with State(self.state) as state:
            state["interfaces"].append([interface, ip, peer, number(mask)])

    def cover(self, network, interface="utun0", gateway=None):
        """Let a VPN's or LAN's route cover a range: cover("10.0.0.0/8")."""
        self.routes = [*self.routes, [network, interface, gateway]]

    @property
    def sudo(self):
        """`ok` (never asks) | `ticket-cached` | `needs-password` (the default) | `not-sudoer` | `absent`."""
        with State(self.state) as state:
            return "absent" if not self.path("/usr/bin/sudo").exists() else state["sudo"]

    @sudo.setter
    def sudo(self, mode):
        assert mode in ("ok", "ticket-cached", "needs-password", "not-sudoer", "absent"), mode
        self.path("/usr/bin/sudo").unlink(missing_ok=True)
        if mode != "absent":
            self._program("/usr/bin/sudo", STUB.format(python="python-setuid"))
        with State(self.state) as state:
            state["sudo"], state["ticket"] = mode, mode == "ticket-cached"

    @property
    def loaded(self):
        """Loaded label -> {path, program, arguments, runs, exit, ...}; a job that still drains included."""
        with State(self.state) as state:
            return state["loaded"]

    def load(self, inside):
        """Let launchd load a daemon's file now, as a restart would."""
        done = self.run(["/bin/launchctl", "bootstrap", "system", inside], user=0)
        assert done.returncode == 0, done.stderr

    @property
    def hosts(self):
        """Name -> addresses: /etc/hosts, which programs, dscacheutil and nc look into."""
        with State(self.state) as state:
            return state["hosts"]

    @hosts.setter
    def hosts(self, names):
        lines = [f"{address}\t{name}\n" for name, addresses in names.items() for address in addresses]
        (self.root / "etc/hosts").write_text("".join(lines))
        with State(self.state) as state:
            state["hosts"] = names

    def start(self, pid, command, parent=1, user="alice"):
        """Let a process run that does not listen: the parent of one that does, say. `command` is all of its words."""
        one = {"pid": pid, "ppid": parent, "user": user, "uid": UIDS[user], "command": command}
        self.processes = [*self.processes, one]

    def listen(self, port, address="*", command="node", user="alice", pid=12345, proto=None, line=None, parent=1):
        """Let a process listen. `proto` is tcp4, tcp6 or tcp46 (an IPv6 `*`, reachable by IPv4 too).

        `command` is the short name that lsof and netstat show, `line` all of its words as ps shows them.
        """
        proto = proto or ("tcp46" if address == "*" else "tcp6" if ":" in address else "tcp4")
        one = {
            "command": command,
            "line": line or command,
            "pid": pid,
            "parent": parent,
            "user": user,
            "uid": UIDS[user],
            "proto": proto,
            "address": address,
            "port": port,
        }
        with State(self.state) as state:
            state["listeners"].append(one)

    def stop(self, port):
        """End what listens on `port`."""
        with State(self.state) as state:
            state["listeners"] = [one for one in state["listeners"] if one["port"] != port]

    # ---- what was called, and what shall go wrong

    @property
    def calls(self):
        """Every call of a fake, in order: (program as it was invoked, [arguments], uid of the caller)."""
        return [ast.literal_eval(line) for line in (self.state / "calls").read_text().splitlines()]

    @property
    def steps(self):
        """Every command of root's scripts, in order: (program, [arguments], whether it writes to a file)."""
        return [ast.literal_eval(line) for line in (self.state / "steps").read_text().splitlines()]

    def forget_calls(self):
        """Empty the logs of calls and steps."""
        for name in ("calls", "steps"):
            (self.state / name).write_text("")

    def decoys(self, *names):
        """Put programs of these names first in PATH. They exit 97, so a caller without an absolute path shows."""
        for name in names:
            self._program(f"/usr/local/bin/{name}", STUB.format(python="python"))

    def fail(self, command, rc, message, times=None, root=False):
        """Let `launchctl bootstrap`, `install` ... print `message` and exit `rc`: always, or the next `times` calls.

        `command` is the name, the name and the first word, or the name and all words. `root`: only what root calls.
        """
        with State(self.state) as state:
            state["failures"][command] = {"rc": rc, "message": message, "times": times, "root": root}

    def trace(self, *paths):
        """Let Linux tools such as /bin/cat be logged, fail and be late as the fakes do."""
        for path in paths:
            if path not in PROGRAMS and not (self.path(TRACED + path)).is_symlink():
                tool = self.path(TRACED + path)
                tool.parent.mkdir(parents=True, exist_ok=True)
                self.path(path).rename(tool)
                self._program(path, STUB.format(python="python"))

    def kill_at(self, step, when):
        """Kill a whole `run` with signal 9 at root's command number `step`, `before` or `after` it, or in the `middle` of
        what it writes to a file; `alone` kills only the shell that called it. 0 kills nothing."""
        with State(self.state) as state:
            state["kill"] = {"step": step, "when": when} if step else None

    @contextlib.contextmanager
    def small_disk(self, inside, size="16k"):
        """Let a directory be a file system of its own, empty and of this size. Yields where it lies; it is gone afterwards."""
        disk = self.root.with_name(f"{self.root.name}.disk")
        disk.mkdir()
        before = self.table.read_text()
        words = [str(word).replace("\\", "\\134").replace(" ", "\\040") for word in (disk, self.path(inside))]
        self.table.write_text(f"{before}{words[0]} {words[1]} none bind 0 0\n")
        mount = f'{_host("mount")} -t tmpfs -o size={size},mode=755 none "$1"; echo ready; exec cat'
        enter = [_host("unshare"), "--mount", "--propagation", "private", "/bin/sh", "-euc", mount, "disk", disk]
        # The disk ends with the process that holds its namespace, and that one with its standard input.
        with subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "ready\n"
            self.around = [_host("nsenter"), "-t", holder.pid, "--mount"]
            try:
                yield Path(f"/proc/{holder.pid}/root", *disk.parts[1:])
            finally:
                self.around = []
                self.table.write_text(before)
                holder.communicate(timeout=20)
        disk.rmdir()

    @contextlib.contextmanager
    def read_only(self, inside):
        """Let a directory be on a file system that nobody may write, not even root."""
        before = self.table.read_text()
        where = str(self.path(inside)).replace("\\", "\\134").replace(" ", "\\040")
        self.table.write_text(f"{before}{where} {where} none bind,ro 0 0\n")
        try:
            yield
        finally:
            self.table.write_text(before)
