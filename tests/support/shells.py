"""Every shell that may be /bin/sh somewhere, and the scripts that they read."""

import os
from pathlib import Path

import pytest

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
