# SPDX-License-Identifier: MIT
"""What people at the terminal are told: one line for each thing that is wrong, with what to do."""

from __future__ import annotations

import os
import re
import sys


class Stop(Exception):  # noqa: N818 (a refusal is no error of ours)
    """Nothing more is done: `lines` say what is wrong and what to do, `code` is the exit code."""

    def __init__(self, *lines: object, code: int = 1) -> None:
        """Keep them."""
        super().__init__(*lines)
        self.lines, self.code = [str(line) for line in lines], code

    def __str__(self) -> str:
        """Return the lines."""
        return "\n".join(self.lines)


class FileStop(Stop):
    """A file of the repo has a mistake: each line begins with FILE:LINE."""


def named(text: str) -> str:
    """Return `text` with make's targets as this repo calls them: localdev.mk passes its LOCALDEV_PREFIX on."""
    prefix = os.environ.get("LOCALDEV_PREFIX", "dev-")
    return (
        text if prefix == "dev-" else re.sub(r"\bmake (-s )?dev-", lambda found: f"make {found[1] or ''}{prefix}", text)
    )


def printable(text: str) -> str:
    """Return `text` with a question mark for each letter that a terminal would take for a command to it."""
    return "".join(mark if mark.isprintable() else "?" for mark in text)


def say(text: str) -> None:
    """Print `text` as one line on stderr."""
    print(f"localdev: {printable(named(text))}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print `text`, which may have many lines, on stdout: what somebody asked for."""
    sys.stdout.write(named(text))
    sys.stdout.flush()
