"""Copier's command line, and its functions after this import, without one question to git.

Copier asks git for core.fileMode after every file that it writes, which matters where that is false: on Windows. The
answer costs a third of an update.
"""

import sys

from copier._cli import CopierApp
from copier._main import Worker

COMMAND = (sys.executable, __file__)
Worker._sync_git_index_executable_bit = lambda *_: None  # type: ignore[method-assign]

if __name__ == "__main__":
    CopierApp.run()
