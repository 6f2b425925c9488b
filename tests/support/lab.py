"""A whole Linux machine in namespaces, with an engine of its own and a neighbour on its LAN, for what the real machine must
not suffer: firewalls, foreign routes, units, broken stacks. Nothing in it is seen outside, and all of it ends with it.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from box import SYSTEMCTL, UNITS
from conftest import Render
from host import ALIAS_IP, retry
from needs import need, need_command, need_engine, need_root

IMAGE = "nginx:1.30-alpine"
# The LAN between the lab and its neighbour: a network for documentation.
LAN_LAB, LAN_NEIGHBOUR = "198.51.100.1", "198.51.100.2"
PATH = "/mnt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NEIGHBOUR = "ip link set lo up"
# bash waits for the end of its standard input, and as process 1 reaps what others leave behind.
WAIT = "\necho ready; read -r _"
# sysfs shows the interfaces of the namespace in which it was mounted; engines look for cgroups below it.
# Without a name server a look-up ends at once.
LAB = f"""ip link set lo up
mount -t tmpfs none /run; mount -t tmpfs none /mnt; chmod 755 /mnt
mkdir /mnt/bin /mnt/home /mnt/cgroup /mnt/etc /mnt/etc.work /run/systemd /run/systemd/system
mount --rbind /sys/fs/cgroup /mnt/cgroup; mount -t sysfs none /sys; mount --move /mnt/cgroup /sys/fs/cgroup
mount -t overlay none -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etc.work /etc
mount -t tmpfs none {UNITS}
rm -f /etc/resolv.conf; touch /etc/resolv.conf
"""

# Who runs the tests is root already.
SUDO = '#!/bin/sh\n[ "$1" != -n ] || shift\nexec "$@"\n'

# Listens and answers; without the look-up of names that Python's own server does, which takes seconds offline.
SERVICE = """import socket, sys, threading
address, answer, ports = sys.argv[1], sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3:]
kept = []
def reply(connection):
    connection.recv(65536)
    if answer == b"silence":
        kept.append(connection)
    else:
        connection.sendall(answer)
        connection.close()
def serve(server):
    while True:
        threading.Thread(target=reply, args=(server.accept()[0],), daemon=True).start()
family = socket.AF_INET6 if ":" in address else socket.AF_INET
servers = [socket.create_server((address, int(port)), family=family) for port in ports]
for server in servers:
    threading.Thread(target=serve, args=(server,)).start()
print("ready", flush=True)
"""
HELLO = r"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

Result = subprocess.CompletedProcess[str]


def children(pid: int) -> list[int]:
    """Return the processes that process `pid` started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Place:
    """Namespaces of their own, made by unshare's `flags`, in which the shell runs `setup`; they end with `close`."""

    def __init__(self, env: dict[str, str], setup: str, *flags: str) -> None:
        """Make the namespaces."""
        self.env = env
        self.flags = [flag for flag in flags if flag in ("--net", "--mount", "--pid")]
        self.holder = subprocess.Popen(
            ["unshare", *flags, "--fork", "--kill-child", "bash", "-euc", setup + WAIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout
        assert self.holder.stdout.readline() == "ready\n"
        # The process that holds the namespaces is the child of unshare.
        (self.pid,) = map(str, children(self.holder.pid))

    def close(self) -> None:
        """End the namespaces and every process in them."""
        self.holder.communicate(timeout=20)

    def enter(self, *command: str | Path, user: bool = False, cwd: str | Path = "/") -> list[str]:
        """Return the command line that runs `command` inside, as root or as a user without any right."""
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if user else []
        inside = ["env", "-C", str(cwd), *drop, *(str(word) for word in command)]
        return ["nsenter", "-t", self.pid, *self.flags, *inside]

    def run(
        self, *command: str | Path, user: bool = False, env: dict[str, str] | None = None, cwd: str | Path = "/"
    ) -> Result:
        """Run `command` inside, without a terminal, and return how it ended."""
        # The user may not read the other one's settings.
        home = {"HOME": "/mnt/home", "DOCKER_CONFIG": "/mnt/home"} if user else {}
        return subprocess.run(
            self.enter(*command, user=user, cwd=cwd),
            env=self.env | home | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=100,
            check=False,
        )

    def root(self, line: str, cwd: str | Path = "/") -> str:
        """Run a line of shell inside as root; it must work. Return what it printed."""
        done = self.run("sh", "-euc", line, cwd=cwd)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def reaches(self, port: int, address: str = ALIAS_IP) -> bool:
        """Tell whether something answers from `port` of `address` within a second."""
        probe = f"import socket; socket.create_connection(({address!r}, {port}), 1).close()"
        return self.run(sys.executable, "-c", probe).returncode == 0


@dataclass(frozen=True)
class Repo:
    """A generated repo as the lab sees it; `source` is the same folder as the tests see it."""

    path: Path
    source: Path

    def write_routes(self, text: str) -> None:
        """Replace .localdev/routes."""
        (self.source / ".localdev/routes").write_text(text)


class Lab(Place):
    """The machine: lo, LAN, firewall, processes, /run, /etc and the container engine are its own; systemd is a stand-in."""

    def __init__(self, folder: Path, env: dict[str, str], rendered: Render, images: tuple[str, ...] = (IMAGE,)) -> None:
        """Boot the machine and its engine, which has the images; its files are in `folder` until `close`."""
        need_root()
        need_engine()
        for command in ("unshare", "nsenter", "setpriv"):
            need_command(command, "util-linux")
        need_command("ip", "iproute2")
        need_command("dockerd", "docker.io")
        need_command("dbus-daemon", "dbus")
        env = env | {"PATH": PATH, "HOME": "/mnt/home", "DOCKER_HOST": "unix:///run/docker.sock"}
        super().__init__(env, LAB, "--net", "--mount", "--propagation=private", "--pid", "--mount-proc")
        self.neighbour = Place(env, NEIGHBOUR, "--net")
        self.rendered = rendered
        self.folder = folder
        self.group = f"lab-{uuid.uuid4().hex[:8]}"
        self.log = folder / "dockerd.log"
        try:
            self.join_lan()
            self.command("sudo", SUDO)
            self.command("systemctl", SYSTEMCTL)
            self.root('mount --bind /mnt/bin/systemctl "$(readlink -f /bin/systemctl)"')
            self.root("mkdir /run/dbus; dbus-daemon --system --fork")
            self.start_engine()
            self.load(*images)
        except BaseException:
            self.close()
            raise

    def join_lan(self) -> None:
        """Connect the lab, whose default route it becomes, with the neighbour, who knows the way to the alias."""
        # With this machine's process numbers: the lab does not know the neighbour's.
        lan = ["link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", self.neighbour.pid]
        subprocess.run(["nsenter", "-t", self.pid, "--net", "ip", *lan], check=True)
        self.root(
            f"ip address add {LAN_LAB}/24 dev lan0; ip link set lan0 up; ip route add default via {LAN_NEIGHBOUR}"
        )
        self.neighbour.root(
            f"ip address add {LAN_NEIGHBOUR}/24 dev lan0; ip link set lan0 up; ip route add {ALIAS_IP} via {LAN_LAB}"
        )

    def start_engine(self) -> None:
        """Start a second dockerd; as at boot, it learns of a firewalld only when that runs before."""
        words = [
            *("dockerd", "--data-root", self.folder / "docker", "--exec-root", "/run/docker"),
            *("--pidfile", "/run/docker.pid", "--host", self.env["DOCKER_HOST"]),
            # systemd would have to make the groups otherwise; the parent is what `close` removes.
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{self.group}"),
        ]
        with self.log.open("a") as log:
            self.engine = subprocess.Popen(
                self.enter(*words), env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        retry(lambda: self.root("docker info >/dev/null 2>&1"))
        self.root("chmod 666 /run/docker.sock")

    def restart_engine(self) -> None:
        """Stop dockerd, and with it all containers, and start it again."""
        self.kill(self.engine, signal.SIGTERM)
        self.start_engine()

    def load(self, *images: str) -> None:
        """Give the engine images out of this machine's engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            load = subprocess.run(
                self.enter("docker", "load"), env=self.env, stdin=save.stdout, capture_output=True, check=False
            )
        need(save.returncode == 0, f"the image {' '.join(images)}", f"docker pull {' '.join(images)}, or .ci/images")
        assert load.returncode == 0, load.stderr

    def close(self) -> None:
        """End every process of the machine, its engine and containers too, and remove what they left behind."""
        super().close()
        self.neighbour.close()
        if hasattr(self, "engine"):
            self.engine.wait(timeout=20)
        # The first version of cgroups has one tree per controller.
        groups = [*Path("/sys/fs/cgroup").glob(self.group), *Path("/sys/fs/cgroup").glob(f"*/{self.group}")]
        for group in groups:
            for path, _, _ in os.walk(group, topdown=False):
                # The kernel needs a moment for the processes that have just been ended.
                retry(lambda path=path: os.rmdir(path), seconds=10)
        shutil.rmtree(self.folder)

    def command(self, name: str, text: str) -> None:
        """Put the script `text` before all other commands of this name."""
        self.root(f"printf %s {shlex.quote(text)} >/mnt/bin/{name}; chmod 755 /mnt/bin/{name}")

    def repo(self, name: str = "my app's repo", **answers: Any) -> Repo:
        """Return a repo generated with `answers` whose stack is up."""
        source = Path(shutil.copytree(self.rendered(**answers), self.folder / name))
        path = Path("/mnt") / name
        inside, outside = shlex.quote(str(path)), shlex.quote(str(source))
        # Whom the tests' folders are closed to reaches it there.
        self.root(f"mkdir {inside}; mount --bind {outside} {inside}")
        repo = Repo(path, source)
        self.make(repo, "dev-up")
        return repo

    def make(self, repo: Repo, *arguments: str) -> None:
        """Run make in `repo`; it must work."""
        done = self.run("make", *arguments, cwd=repo.path)
        assert done.returncode == 0, done.stderr[-3000:]

    def doctor(self, repo: Repo, *arguments: str, **more: Any) -> list[dict[str, Any]]:
        """Return the findings of the repo's doctor."""
        done = self.run(
            "python3", "-I", "-B", ".localdev/stack", "doctor", "--", "--json", *arguments, cwd=repo.path, **more
        )
        assert done.stderr == ""
        report = json.loads(done.stdout)
        assert report["ok"] == (done.returncode == 0) == (not report["failures"])
        return report["findings"]

    def kill(self, entered: subprocess.Popen[Any], number: int = signal.SIGKILL) -> None:
        """End a command that was started by `enter`: nsenter passes no signals on, so its child gets it."""
        for pid in children(entered.pid):
            os.kill(pid, number)
        entered.wait(timeout=40)

    @contextlib.contextmanager
    def listen(self, *ports: int, address: str = ALIAS_IP, answer: str = HELLO) -> Iterator[subprocess.Popen[str]]:
        """Run a service of the lab on `ports` of `address`: it answers `answer`, nothing for "", never for "silence"."""
        command = self.enter(sys.executable, "-c", SERVICE, address, answer, *map(str, ports))
        with subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as it:
            assert it.stdout
            try:
                assert it.stdout.readline() == "ready\n", "it does not listen"
                yield it
            finally:
                self.kill(it)
