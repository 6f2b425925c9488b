# SPDX-License-Identifier: MIT
"""Runs commands as root that were shown before, with one password. The commands are POSIX sh with absolute paths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from messages import Stop


class RootError(Stop):
    """Root's commands did not run, or not to their end; the text is what is wrong, and what to do."""


def can_ask() -> bool:
    """Tell whether there is a person at a terminal."""
    try:
        if os.environ.get("CI"):
            return False
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def ask(question: str) -> bool:
    """Ask on the terminal; tell whether the answer is yes."""
    with open("/dev/tty", "r+b", buffering=0) as tty:
        tty.write(f"{question} [y/N] ".encode())
        return tty.readline().strip().lower() in (b"y", b"yes")


def guarded(commands: str, temporary: str) -> str:
    """Return `commands` so that a failure leaves no file `temporary`, and exits with 9, which sudo itself never does."""
    return f"trap 'code=$?; /bin/rm -f {temporary} || code=9; [ \"$code\" -eq 0 ] || exit 9' EXIT\n{commands}"


def plan(script: str) -> str:
    """Return `script` as one command for root, ready to paste."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}/bin/sh -eu <<'AS_ROOT'\n{script}\nAS_ROOT\n"


def run(script: str, again: str, unchanged: str) -> None:
    """Run `script`, which was shown before. Raises RootError; `unchanged` says what is as it was, `again` tries again."""
    command = ["/bin/sh", "-eu"]
    if os.geteuid() != 0:
        if not os.access("/usr/bin/sudo", os.X_OK):
            raise RootError("there is no sudo here. Run the commands above as root", code=4)
        command = ["/usr/bin/sudo", *([] if can_ask() else ["-n"]), *command]
    sys.stderr.flush()
    interrupts: list[int] = []
    # Root's commands end by themselves at Ctrl-C, and leave nothing behind. A handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        code = subprocess.run(command, input=f"{script}\n".encode(), check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    if code and interrupts:
        raise RootError(f"interrupted. {unchanged} is whole: as it was, or done. To see which: {again}")
    if code == 0:
        return
    # What sudo itself has to say. Any other number is the script's, or of the signal that ended it.
    if code == 1 and "-n" in command:
        raise RootError(
            "sudo needs a password and cannot ask for it here. Run the commands above in a terminal", code=4
        )
    if code == 1 and os.geteuid() != 0:
        raise RootError(f"sudo did not run the commands above; nothing was changed. Try again: {again}")
    raise RootError(f"a command failed (its message is above); {unchanged} is as it was. Try again: {again}")
