"""Every shell that may be /bin/sh somewhere, every awk, and the scripts that they read."""

import os
from pathlib import Path

import pytest

from conftest import LOCALDEV, Run
from needs import need_command

# name -> the package of the command and how it is called; BASH32 names a bash 3.2, the one that macOS has
SHELLS: dict[str, tuple[str, list[str]]] = {
    "dash": ("dash", ["dash"]),
    "bash": ("bash", ["bash"]),
    "bash --posix": ("bash", ["bash", "--posix"]),
    "busybox ash": ("busybox", ["busybox", "ash"]),
    "mksh": ("mksh", ["mksh"]),
    "zsh --emulate sh": ("zsh", ["zsh", "--emulate", "sh"]),
}
if os.environ.get("BASH32"):  # what macOS has; Debian does not ship it
    SHELLS |= {"bash 3.2": ("", [os.environ["BASH32"]]), "bash 3.2 --posix": ("", [os.environ["BASH32"], "--posix"])}
shells = pytest.mark.parametrize("shell", SHELLS)


def called(shell: str) -> list[str]:
    """Return the command line of `shell`, or skip the test when this machine has none."""
    package, words = SHELLS[shell]
    return [need_command(words[0], package) if package else words[0], *words[1:]]


def scripts(repo: Path) -> list[Path]:
    """Return the shell scripts of a generated repo."""
    return [
        path
        for path in sorted(repo.rglob("*"))
        if path.is_file() and (path.suffix == ".sh" or path.read_bytes().startswith(b"#!/bin/sh"))
    ]


# Every awk that a host or the proxy's container may have.
AWKS = {
    "busybox": ("busybox", "awk"),
    "mawk": ("mawk",),
    "gawk": ("gawk",),
    "gawk --posix": ("gawk", "--posix"),
    "one-true-awk": ("original-awk",),
}
CONF = "label=a.b\nip=10.254.254.254\ndomain=shop.localhost\nweb_port=8080\nhttps_port=8443\n"
DATABASES = "redis=redis://:dev@127.0.0.1:${REDIS_PORT:-6379}/0 mongodb=mongodb://dev:dev@127.0.0.1:${MONGODB_PORT:-27017}/?a=1&b=2"


def configuration(
    run: Run,
    folder: Path,
    text: str,
    awk: tuple[str, ...] = ("mawk",),
    tls: str = "off",
    databases: str = DATABASES,
    **env: str,
) -> tuple[str, dict[str, str]]:
    """Return the proxy's configuration for routes `text`, and the pages by their names, as entrypoint.sh makes them."""
    need_command(awk[0])
    (folder / "host-alias.conf").write_text(f"{CONF}databases={databases}\n")
    (folder / "routes").write_bytes(text.encode())
    into = folder / "pages made"
    (into / "up").mkdir(parents=True, exist_ok=True)
    variables = [
        f"-v{name}={value}"
        for name, value in (("want", "proxy"), ("into", into), ("tls", tls), ("resolver", "127.0.0.11"))
    ]
    programs = [
        word for name in ("routes", "proxy/nginx/nginx", "proxy/pages") for word in ("-f", LOCALDEV / f"{name}.awk")
    ]
    sources = sorted((LOCALDEV / "proxy/pages").iterdir())
    done = run(
        *awk, *variables, *programs, "host-alias.conf", "routes", *sources,
        cwd=folder, env={"LC_ALL": "C"} | env, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout, {
        str(path.relative_to(into)): path.read_text() for path in sorted(into.rglob("*")) if path.is_file()
    }
