# SPDX-License-Identifier: MIT
"""What people at the terminal are told: one line for each thing that is wrong, with what to do."""

from __future__ import annotations

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


def say(text: str) -> None:
    """Print `text` as one line on stderr; what a terminal would take for a command to it becomes a question mark."""
    print("localdev: " + "".join(mark if mark.isprintable() else "?" for mark in text), file=sys.stderr, flush=True)
