# SPDX-License-Identifier: MIT
"""Brings the template's fixes by Copier. Copier runs code of the version that the answers file names, so that has to be a release.

Whoever opens a pull request at the template has a commit there, which nobody has read. https://github.com/copier-org/copier/security
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from messages import Stop
from routes import shown

ANSWERS = ".copier-answers.localdev.yml"
# What Copier writes: keys without quotes at a line's begin, so that each can be found, and is there once.
LINE = re.compile(r"(#.*|[a-z][a-z0-9_]*:.*|_(commit|src_path): .*|( {2,}|- ).*)?")
# Copier takes tags of this form for releases: https://packaging.python.org/en/latest/specifications/version-specifiers/
RELEASE = re.compile(r"v?[0-9]+([.][0-9]+)*([.-]?(a|b|rc|post|dev)[.]?[0-9]+)*", re.IGNORECASE)
# Copier's own short forms: https://copier.readthedocs.io/en/stable/generating/
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}


def update(words: list[str], arguments: list[str]) -> int:
    """Become Copier: `words`, or the one that is installed, or uv's. Raises Stop."""
    refuse_unreleased()
    command = words or (["copier"] if shutil.which("copier") else ["uvx", "copier"])
    try:
        os.execvp(command[0], [*command, "update", "--trust", "-a", ANSWERS, *arguments])
    except OSError as error:
        raise Stop(f"{command[0]} cannot be run ({error.strerror}). Install Copier: pipx install copier") from error


def refuse_unreleased() -> None:
    """Raise Stop where the answers file names a version that is no release of its template. Raises OSError."""
    with open(ANSWERS, encoding="utf-8", errors="replace") as file:
        text = file.read()
    source, version = recorded(text)
    found = releases(source)
    # A template without releases is somebody's clone: all of it is theirs.
    if found and version not in found:
        newest = max(found, key=lambda tag: [int(number) for number in re.findall("[0-9]+", tag)])
        raise Stop(
            f"{ANSWERS} says _commit: {shown(version)}, which is no release of {shown(source)}. Copier would run its code. "
            f"Correct the line to the release that this repo has, e.g. {newest}"
        )


def recorded(text: str) -> tuple[str, str]:
    """Return the template's place and version that the answers file `text` records. Raises Stop."""
    wrong = next((number for number, line in enumerate(text.split("\n"), 1) if not LINE.fullmatch(line)), 0)
    if wrong:
        raise Stop(f"{ANSWERS}:{wrong}: this is no line of Copier's. Restore it: git checkout {ANSWERS}")
    values = []
    for key in ("_src_path", "_commit"):
        lines = re.findall(rf"^{key}: +(.+?) *$", text, re.MULTILINE)
        if len(lines) != 1:
            raise Stop(f"{ANSWERS} has {len(lines)} lines {key}. Restore it: git checkout {ANSWERS}")
        values.append(re.sub(r"\A(['\"])(.*)\1\Z", r"\2", lines[0]))
    return values[0], values[1]


def releases(source: str) -> set[str]:
    """Return the tags of releases that the template at `source` has. Raises Stop where it cannot be read."""
    url = os.path.expanduser(source.removeprefix("git+"))
    for short, long in SHORT.items():
        if url.startswith(short):
            url = f"{long}{url.removeprefix(short).strip('/').removesuffix('.git')}.git"
    # git may ask for a password, as Copier's would.
    done = subprocess.run(["git", "ls-remote", "--tags", "--refs", "--", url], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Stop(
            f"the template at {shown(source)} cannot be read (git's message is above). Correct _src_path in {ANSWERS}"
        )
    tags = [line.rpartition("refs/tags/")[2] for line in done.stdout.decode(errors="replace").splitlines()]
    return {tag for tag in tags if RELEASE.fullmatch(tag)}
