"""What a test needs of the machine: each skip says what is missing and how to get it. With --no-skips a skip is a failure."""

import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

from fakemac import FakeMac

NIGHTLY = bool(os.environ.get("NIGHTLY"))
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are missing; get them with: Linux")


def examples(number: int) -> int:
    """Return how many of `number` generated examples a test tries: a tenth by day, all of them where NIGHTLY is set."""
    return number if NIGHTLY else max(number // 10, 1)


def need(present: object, what: str, how: str) -> None:
    """Skip the test unless `present`; `what` is missing and `how` gets it."""
    if not present:
        pytest.skip(f"{what} is missing; get it with: {how}")


def need_command(name: str, package: str | None = None) -> str:
    """Return the path of command `name`, or skip the test; `package` is Debian's name of what brings it."""
    path = shutil.which(name)
    need(path, name, f"apt-get install {package or name}")
    return str(path)


def need_ip() -> None:
    """Skip the test where host-alias cannot look at the machine: on a Linux without ip."""
    need(sys.platform != "linux" or os.access("/sbin/ip", os.X_OK), "ip", "apt-get install iproute2")


def need_node(*least: int) -> None:
    """Skip the test unless npm is there, and a Node.js of version `least` or later."""
    need_command("npm")
    version = subprocess.run([need_command("node", "nodejs"), "--version"], capture_output=True, text=True, check=True)
    found = version.stdout.strip()
    is_new = tuple(int(number) for number in found.removeprefix("v").split(".")) >= least
    need(is_new, f"Node.js {'.'.join(map(str, least))} or later (this is {found})", "https://nodejs.org")


def need_root() -> None:
    """Skip the test unless it runs as root: it makes namespaces, or becomes another user."""
    need(os.geteuid() == 0, "root", "sudo make test")


@cache
def may_unshare() -> bool:
    """Tell whether this process may make network and mount namespaces: root in a container may not."""
    probe = ["unshare", "--net", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/run"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def need_namespaces() -> None:
    """Skip the test unless it may make network and mount namespaces."""
    need_root()
    need_command("unshare", "util-linux")
    need(may_unshare(), "the right to make namespaces", "docker run --privileged, or a virtual machine")


def need_mac() -> None:
    """Skip the test where the pretend Mac cannot be: it is made of mount namespaces."""
    missing = FakeMac.missing()
    need(not missing, "what the pretend Mac is made of", str(missing))


def need_compose() -> None:
    """Skip the test unless Compose is there; no engine has to run."""
    need_command("docker", "docker.io")
    works = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    need(works, "Docker Compose", "install Compose 2.23.1 or later")


def need_image(name: str) -> None:
    """Skip the test unless a container engine works and has the image `name`, which .ci/images builds."""
    need_engine()
    found = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0
    need(found, f"the image {name}", "sh .ci/images")


def need_engine() -> None:
    """Skip the test unless a container engine with Compose answers."""
    need_compose()
    works = subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    need(works, "a working `docker info`", "start Docker Desktop, OrbStack, Colima or dockerd")
