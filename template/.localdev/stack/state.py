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


def read(repo: str, kind: str) -> bytes | None:
    """Return what was written for `kind`, None where nothing was. Raises OSError."""
    try:
        with open(place(repo, kind), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(repo: str, kind: str, contents: bytes) -> None:
    """Keep `contents`, for this user only from the first byte on; they take the old ones' place at once. Raises OSError."""
    file = place(repo, kind)
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    # Two may write at the same time. mkstemp would do, but Python takes 10 ms to import it.
    new = f"{file}.{os.getpid()}"
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as written:
            written.write(contents)
        os.replace(new, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(new)
        raise


def remove(repo: str, kind: str) -> bool:
    """Forget what was written for `kind`; tell whether something was. Raises OSError."""
    file = place(repo, kind)
    try:
        os.remove(file)
    except FileNotFoundError:
        return False
    # Nothing is left where nothing was.
    with contextlib.suppress(OSError):
        os.removedirs(os.path.dirname(file))
    return True


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
