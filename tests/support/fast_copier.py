"""Copier's command line, and its functions after this import, without one question to git.

Copier asks git for core.fileMode after every file that it writes, which matters where that is false: on Windows. The
answer costs a third of an update.
"""

import sys
from pathlib import Path

from copier._cli import CopierApp
from copier._main import Worker

COMMAND = (sys.executable, __file__)
Worker._sync_git_index_executable_bit = lambda *_: None  # type: ignore[method-assign]


def with_copier(clone: Path) -> None:
    """Give a clone of the project this Copier in place of the one that make would install."""
    program = clone / ".venv/bin/copier"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    (clone / ".venv/requirements").touch()


if __name__ == "__main__":
    CopierApp.run()
