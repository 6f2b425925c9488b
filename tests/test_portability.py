"""The scripts say and do the same under every shell that may be /bin/sh somewhere, on Linux and on macOS.

On Linux each life runs in a network namespace of its own, in which /run is empty: never this machine's lo or systemd.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Render, Run
from host import ALIAS_IP as IP
from host import LABEL
from laptop import DAEMONS, HOST_ALIAS, Laptop
from needs import NIGHTLY, need_command, need_root
from shells import SHELLS, called, shells

VERBS = ("check", "plan", "up --yes", "up", "check", "status", "down --dry-run", "down --yes", "down --yes", "check")
CODES = (3, 0, 0, 0, 0, 0, 0, 0, 0, 3)

# Its arguments are the command: what it says and its exit code for each verb, and the addresses of lo afterwards.
LIFE = "ip address add 127.0.0.1/8 dev lo && ip link set lo up && mount -t tmpfs none /run || exit 125\n" + "".join(
    f"""printf -- '-- %s\\n' '{verb}'
"$@" {verb} 2>&1 </dev/null
printf -- '-- exit %s\\n' "$?"
ip -4 -o address show dev lo | awk '{{ print $4 }}'
"""
    for verb in VERBS
)


def life_on_linux(run: Run, repo: Path, command: list[str]) -> str:
    """Return the life of host-alias in a network namespace, from missing to removed."""
    need_root()
    need_command("unshare", "util-linux")
    need_command("ip", "iproute2")
    inside = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c"]
    done = run(*inside, LIFE, "life", *command, repo / ".localdev/host-alias", cwd=repo, check=True)
    assert done.stderr == ""
    return done.stdout


@shells
def test_a_life_on_linux_is_the_same_under_every_shell(shell: str, rendered: Render, run: Run) -> None:
    repo = rendered()
    command = called(shell)
    text = life_on_linux(run, repo, command)
    codes = [int(line.split()[-1]) for line in text.splitlines() if line.startswith("-- exit ")]
    assert tuple(codes) == CODES, text
    assert text == life_on_linux(run, repo, ["/bin/sh"])
    lists = [part.split("\n-- ")[0].splitlines()[1:] for part in text.split("-- exit ")[1:]]
    assert [f"{IP}/32" in addresses for addresses in lists] == [False] * 2 + [True] * 5 + [False] * 3
    assert all("127.0.0.1/8" in addresses for addresses in lists)


def life_on_macos(mac: Laptop, command: list[str]) -> list[tuple[str, int, str, str, list[str], bool]]:
    """Return the life of host-alias in a pretend Mac, from missing to removed."""
    mac.sudo = "ok"
    seen = []
    for verb in VERBS:
        done = mac.run([*command, HOST_ALIAS, *verb.split()])
        seen.append((verb, done.returncode, done.stdout, done.stderr, mac.addresses, LABEL in mac.loaded))
    return seen


Life = Callable[[], list[tuple[str, int, str, str, list[str], bool]]]


@pytest.fixture(scope="module")
def usual_mac_life(rendered: Render, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Returns the life of host-alias in a pretend Mac as it comes, lived once."""
    lives = []

    def life() -> list[tuple[str, int, str, str, list[str], bool]]:
        if not lives:
            mac = Laptop(tmp_path_factory.mktemp("usual") / "mac", rendered())
            lives.append(life_on_macos(mac, []))
        return lives[0]

    return life


@shells
def test_a_life_on_macos_is_the_same_under_every_shell_as_bin_sh(
    shell: str, rendered: Render, tmp_path: Path, usual_mac_life: Life
) -> None:
    """Root's commands run under that shell as well: sudo starts /bin/sh."""
    path, *options = called(shell)
    # A Mac's /bin/sh is one program: bash in POSIX mode is what bash is as sh.
    mac = Laptop(tmp_path / "mac", rendered(), shell=path)
    mac.decoys("ifconfig", "launchctl", "chown", "chmod")
    inside = {"busybox": ["/bin/sh"]}.get(Path(path).name, ["/bin/sh", *options])
    seen = life_on_macos(mac, inside)
    assert [life[1] for life in seen] == list(CODES), seen
    assert [IP in life[4] for life in seen] == [False] * 2 + [True] * 5 + [False] * 3
    assert [life[5] for life in seen] == [False] * 2 + [True] * 5 + [False] * 3
    assert all("127.0.0.1" in life[4] for life in seen)
    assert seen == usual_mac_life()
    assert list(mac.path(DAEMONS).iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS if NIGHTLY else ["bash", "zsh --emulate sh"])  # what a Mac has
def test_a_life_on_macos_is_the_same_when_the_shell_is_called(
    shell: str, rendered: Render, tmp_path: Path, usual_mac_life: Life
) -> None:
    """What `zsh .localdev/host-alias` or `bash .localdev/host-alias` does, typed by a person."""
    path, *options = called(shell)
    mac = Laptop(tmp_path / "mac", rendered())
    # A name of its own would keep busybox from knowing which of its programs it is.
    inside = mac.path("/Users/alice") / Path(path).resolve().name
    shutil.copy(Path(path).resolve(), inside)
    inside.chmod(0o755)
    assert life_on_macos(mac, [f"/Users/alice/{inside.name}", *options]) == usual_mac_life()


SCRIPTS = {
    "host-alias",
    *(f"alias/{name}.sh" for name in ("common", "darwin", "linux", "root-darwin", "root-linux")),
}


@shells
def test_every_script_is_read_by_every_shell(shell: str, rendered: Render, run: Run) -> None:
    repo = rendered()
    for script in sorted(SCRIPTS):
        done = run(*called(shell), "-n", repo / ".localdev" / script, cwd=repo)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), script


def test_no_script_is_left_out(rendered: Render) -> None:
    localdev = rendered() / ".localdev"
    found = {
        str(path.relative_to(localdev))
        for path in localdev.rglob("*")
        if path.is_file() and (path.suffix == ".sh" or path.read_bytes()[:10] == b"#!/bin/sh\n")
    }
    assert found == SCRIPTS


@shells
def test_a_usage_error_is_one_line_under_every_shell(shell: str, rendered: Render, run: Run) -> None:
    repo = rendered()
    done = run(*called(shell), repo / ".localdev/host-alias", cwd=repo)
    line = "host-alias: say what to do: check, up, plan, down or status; see --help\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
