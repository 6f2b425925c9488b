"""A container whose first process is a real systemd, with a generated repo in it."""

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from box import UNITS, Result
from conftest import Run
from host import LABEL, retry
from needs import need_image

IMAGE = "local/systemd:1"


class Booted:
    """A machine whose first process is systemd."""

    def __init__(self, run: Run, repo: Path) -> None:
        """Start the container and wait for systemd."""
        self.name = f"host-alias-{uuid.uuid4().hex[:8]}"
        self._run = run
        self.repo = repo
        # Engine 20.10 gives with ALL also what this machine does not have, and then cannot start; 28 refuses to drop it.
        version = self.docker("version", "--format", "{{.Server.Version}}")
        drop = ("--cap-drop", "SYS_RESOURCE") if int(version.split(".")[0]) < 23 else ()
        self.docker(
            *("run", "-d", "--name", self.name, "--network", "none", "--cap-add", "ALL", *drop),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"),
            # What systemd takes as the order to shut down.
            *(
                "--stop-signal",
                "SIGRTMIN+3",
                "--cgroupns",
                "private",
                "--tmpfs",
                "/run",
                "--tmpfs",
                "/tmp",
                "-e",
                "container=docker",
            ),
            # Only read where the kernel has the first version of cgroups.
            *("-e", "SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"),
            *(IMAGE, "/lib/systemd/systemd"),
        )
        self.wait_until_up()
        self.docker("cp", f"{repo}/.", f"{self.name}:/srv/repo")
        # docker cp keeps the owner of the files; a checkout has its user's.
        self.sh("chmod -R go+rX /srv/repo")

    def docker(self, *words: str) -> str:
        """Run docker, and return what it printed."""
        return self._run("docker", *words, cwd=self.repo, check=True).stdout

    def until(self, line: str) -> None:
        """Wait until a line of shell works."""
        retry(lambda: self.sh(line), seconds=60)

    def wait_until_up(self) -> None:
        """Wait until systemd has started all that it starts."""
        self.until("case $(systemctl is-system-running) in running | degraded) ;; *) exit 1 ;; esac")

    def reboot(self) -> None:
        """Restart the machine."""
        self.docker("restart", "-t", "10", self.name)
        self.wait_until_up()

    def result(self, *words: str, user: str = "root") -> Result:
        """Run a command in it: exit code, standard output, standard error."""
        done = self._run("docker", "exec", "-u", user, self.name, *words, cwd=self.repo)
        return done.returncode, done.stdout, done.stderr

    def sh(self, line: str) -> str:
        """Run a line of shell as root; it must work. Return what it printed."""
        code, out, err = self.result("sh", "-euc", line)
        assert code == 0, f"{line}: {out}{err}"
        return out

    def __call__(self, *words: str, user: str = "root") -> Result:
        """Run host-alias of its repo."""
        return self.result("/srv/repo/.localdev/host-alias", *words, user=user)

    def addresses(self) -> list[str]:
        """Return the addresses of lo that no other machine sees."""
        return re.findall(r"inet (\S+) scope host (?:lo$|lo\\)", self.sh("ip -4 -o address show dev lo"), re.M)

    def fresh(self) -> "Booted":
        """Make it as if host-alias had never been there."""
        self.sh(
            f"systemctl stop '*host-alias*' 'other*';"
            f"cd {UNITS}; rm -rf *host-alias* other.service multi-user.target.wants/*host-alias* {LABEL}.service.d;"
            f"ip address flush dev lo label lo scope host to 10.0.0.0/8; systemctl daemon-reload;"
            f"systemctl reset-failed"
        )
        assert self("check")[0] == 3
        return self


@contextlib.contextmanager
def booted_machine(run: Run, repo: Path) -> Iterator[Booted]:
    """Boot a machine with `repo` in it; it is gone at the end."""
    need_image(IMAGE)
    machine = None
    try:
        machine = Booted(run, repo)
        yield machine
    finally:
        if machine:
            machine.docker("rm", "-f", machine.name)
