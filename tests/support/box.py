"""A box: a network and mount namespace for one test, in which this machine's lo, units and sudo are not seen."""

import json
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pexpect

from needs import need, need_command, need_namespaces

UNITS = Path("/etc/systemd/system")
Result = tuple[int, str, str]

USUAL_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost\n"
# Stands in for systemctl, and for systemd.
SYSTEMCTL = Path(__file__).with_name("systemctl").read_text()
# The same, where the kernel lets no process own a table: the unit's process does nothing, and nothing runs beside `up`.
SYSTEMCTL_ALONE = SYSTEMCTL.replace("sh /run/systemd/main.sh </dev/null >/dev/null", ': >"$(directory "$1")/alone"')
# Becomes root by a setuid copy of setpriv, and counts. It would not say beforehand that it does so without a password.
SUDO = """#!/bin/sh
[ "$1 $2" != '-n -v' ] || exit 1
printf '%s\\n' "$*" >>/mnt/sudo.calls
[ "$1" != -n ] || shift
exec /mnt/become --reuid 0 --regid 0 --clear-groups -- "$@"
"""
# The same, for people who need no password: sudo says so.
SUDO_OPEN = SUDO.replace("exit 1", "exit 0")
# Asks on the terminal and never lets anybody in.
SUDO_ASKS = """#!/bin/sh
[ "$1 $2" != '-n -v' ] || exit 1
printf '%s\\n' "$*" >>/mnt/sudo.calls
if [ "$1" = -n ]; then echo 'sudo: a password is required' >&2; exit 1; fi
printf 'Password: ' >/dev/tty
read -r answer </dev/tty
echo 'sudo: 1 incorrect password attempt' >&2
exit 1
"""


def need_box(firewall: bool = False) -> None:
    """Skip the test where a box cannot be made; with `firewall` where host-alias could not set up its guard in it."""
    need_namespaces()
    for command in ("nsenter", "setpriv"):
        need_command(command, "util-linux")
    need_command("ip", "iproute2")
    need(UNITS.is_dir(), str(UNITS), "apt-get install systemd")
    if firewall:
        need_command("nft", "nftables")


def an_etc(folder: Path, hosts: bytes) -> Path:
    """Make a folder to mount on /etc, in which hosts can be replaced by a rename; return the path of hosts."""
    folder.mkdir()
    for name in ("alternatives", "group", "ld.so.cache", "passwd"):
        if Path("/etc", name).exists():
            subprocess.run(["cp", "-a", f"/etc/{name}", folder], check=True)
    (folder / "hosts").write_bytes(hosts)
    (folder / "hosts").chmod(0o644)
    return folder / "hosts"


def hosts_text(path: Path) -> bytes:
    """Return the hosts file at `path`, which must be a file of root's that all may read, with nothing left beside it."""
    about = path.lstat()
    assert stat.S_ISREG(about.st_mode)
    assert (about.st_mode & 0o7777, about.st_uid, about.st_gid) == (0o644, 0, 0)
    assert [found.name for found in path.parent.glob("hosts*")] == ["hosts"]
    return path.read_bytes()


class Box:
    """A network and mount namespace: lo is fresh, /run, /mnt and the units are empty, commands can be replaced."""

    def __init__(self, repo: Path, folder: Path, env: dict[str, str]) -> None:
        """Make the box with `repo` in it; `folder` is for its files."""
        self.env = env
        self.commands = folder / "commands"
        self.commands.mkdir()
        self.repo = Path("/mnt") / repo.name
        self.source = repo
        self.script = self.repo / ".localdev" / "host-alias"
        # A whiteout: there is no sudo unless a test brings one. A container's own file system does not take it.
        try:
            os.mknod(self.commands / "sudo", stat.S_IFCHR, 0)
        except PermissionError:
            need(False, "a TMPDIR that is on no overlay", "docker run --tmpfs /tmp:exec")
        # cat ends with the test: its standard input closes, and the namespaces go with it.
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-euc", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout
        assert self.holder.stdout.readline() == "ready\n"
        # An engine mounts a container's /etc/hosts, and the scripts refuse such a one.
        self.root(
            "umount /etc/hosts 2>/dev/null || :; ip link set lo up; mount -t tmpfs none /run; mount -t tmpfs none /mnt; chmod 755 /mnt;"
            f"mount -t tmpfs none {UNITS}; mkdir {shlex.quote(str(self.repo))};"
            f"mount --bind {shlex.quote(str(repo))} {shlex.quote(str(self.repo))};"
            f"touch /mnt/sudo.calls /mnt/systemctl.calls; chmod 666 /mnt/*.calls"
        )

    def close(self) -> None:
        """End the box, and with it all that is mounted in it."""
        self.holder.communicate(timeout=20)

    def enter(self, *command: str | Path, user: bool = False) -> list[str]:
        """Return the command line that runs `command` in the box, as root or as a user without any right."""
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if user else []
        pid = str(self.holder.pid)
        return ["nsenter", "-t", pid, "--net", "--mount", *drop, *(str(word) for word in command)]

    def run(
        self, *command: str | Path, user: bool = False, env: dict[str, str] | None = None, cwd: str | Path = "/"
    ) -> Result:
        """Run a command in the box without a terminal: exit code, standard output, standard error."""
        done = subprocess.run(
            self.enter("env", "-C", cwd, *command, user=user),
            env=self.env | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def root(self, line: str) -> str:
        """Run a line of shell as root in the box; it must work."""
        code, out, err = self.run("sh", "-euc", line)
        assert code == 0, f"{line}: {out}{err}"
        return out

    def __call__(self, *words: str, user: bool = False, env: dict[str, str] | None = None) -> Result:
        """Run the box's script."""
        return self.run(self.script, *words, user=user, env=env)

    def addresses(self, interface: str = "lo") -> list[tuple[str, int, str]]:
        """Return address, prefix length and scope of each IPv4 address but 127.0.0.1."""
        links = json.loads(self.root(f"ip -4 -json address show dev {interface}"))
        found = [(a["local"], a["prefixlen"], a["scope"]) for link in links for a in link.get("addr_info", [])]
        return [address for address in found if address[0] != "127.0.0.1"]

    def replace(self, **commands: str) -> None:
        """Put scripts in the place of commands of /usr/bin, in this box only."""
        for name, text in commands.items():
            (self.commands / name).unlink(missing_ok=True)
            (self.commands / name).write_text(text)
            (self.commands / name).chmod(0o755)

    def mount_commands(self) -> None:
        """Let the box see the commands that were replaced."""
        # In a container /usr/bin is on an overlay already, and the kernel takes no third one above another.
        self.root("umount -l /usr/bin 2>/dev/null || :")
        self.root(f"mount -t overlay overlay -o lowerdir={self.commands}:/usr/bin /usr/bin")

    def fake_systemd(self, systemctl: str = SYSTEMCTL) -> None:
        """Let systemd run, as a stand-in."""
        self.replace(systemctl=systemctl)
        self.mount_commands()
        self.root("mkdir -p /run/systemd/system")

    def fake_sudo(self, sudo: str = SUDO) -> None:
        """Let there be a sudo, which counts its calls."""
        self.replace(sudo=sudo)
        self.mount_commands()
        self.root("cp /usr/bin/setpriv /mnt/become; chmod 4755 /mnt/become")

    def calls(self, command: str) -> list[str]:
        """Return how sudo or systemctl was called."""
        return self.root(f"cat /mnt/{command}.calls").splitlines()

    def units(self) -> list[str]:
        """Return the files and links in the folder of units."""
        return self.root(f"cd {UNITS}; find . -mindepth 1 ! -type d").split()


class HostsBox(Box):
    """A box whose /etc/hosts the test reads and writes, and whose script is what make dev-hosts runs."""

    def __init__(self, repo: Path, folder: Path, env: dict[str, str]) -> None:
        """Make the box, whose /etc/hosts is the usual one."""
        super().__init__(repo, folder, env)
        # What make dev-hosts runs.
        self.script = self.repo / "dev-hosts"
        (repo / "dev-hosts").write_text(
            f'#!/bin/sh\nexec /usr/bin/python3 -I -B "{self.repo}/.localdev/stack" hosts -- "$@"\n'
        )
        (repo / "dev-hosts").chmod(0o755)
        self.hosts = an_etc(folder / "etc", USUAL_HOSTS)
        self.root(f"mount --bind {self.hosts.parent} /etc")

    def text(self) -> bytes:
        """Return the hosts file, which must be as it should be."""
        return hosts_text(self.hosts)

    def add_route(self, line: str) -> None:
        """Add a line to routes."""
        with (self.source / ".localdev/routes").open("a") as routes:
            routes.write(f"{line}\n")

    def set_domain(self, domain: str) -> None:
        """Change the domain in the configuration, as another project's would be."""
        conf = self.source / ".localdev/host-alias.conf"
        lines = [f"domain={domain}" if line.startswith("domain=") else line for line in conf.read_text().splitlines()]
        conf.write_text("\n".join(lines) + "\n")

    def plan(self, verb: str = "add") -> str:
        """Return the commands that are printed where nobody can be asked."""
        code, out, err = self(verb)
        assert (code, out) == (4, "")
        return err[err.index("/bin/sh -eu") : err.index("AS_ROOT\nlocaldev: ") + len("AS_ROOT\n")]


def on_terminal(box: Box, *words: str, user: bool = True, **env: str) -> "pexpect.spawn[str]":
    """Run the box's script on a terminal of its own."""
    line = box.enter(box.script, *words, user=user)
    return pexpect.spawn(
        line[0], line[1:], env=box.env | {"TERM": "xterm"} | env, encoding="utf-8", timeout=20, dimensions=(50, 200)
    )


def finish(child: "pexpect.spawn[str]") -> tuple[int, str]:
    """Return the exit code and what was printed since the last look."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, (child.before or "").replace("\r\n", "\n")
