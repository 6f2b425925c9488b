# SPDX-License-Identifier: MIT
"""What this user's machine keeps of this checkout, outside the repo: https://specifications.freedesktop.org/basedir-spec/latest/."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator


def place(repo: str, kind: str) -> str:
    """Return the file for `kind`, e.g. pem, of the checkout in the folder `repo`."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local/state")
    checkout = hashlib.sha256(os.path.realpath(repo).encode()).hexdigest()[:16]
    return os.path.join(home, "localdev", f"{checkout}.{kind}")


@contextlib.contextmanager
def locked(repo: str) -> Iterator[None]:
    """Wait until nobody else changes what runs of the checkout in `repo`. Raises OSError."""
    # The folder itself, so that no file is left.
    folder = os.open(os.path.join(repo, ".localdev"), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
