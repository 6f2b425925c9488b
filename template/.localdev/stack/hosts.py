# SPDX-License-Identifier: MIT
"""This project's hosts in /etc/hosts, between two marks of its own; all else in the file stays byte for byte."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import root
from messages import Stop, say
from routes import is_host

FILE = "/etc/hosts"
# How long another project's run may take, with its question at a terminal. Seconds.
PATIENCE = 60.0
MARK = re.compile(rb"# (>>>|<<<) localdev ")


class HostsError(Stop):
    """The file cannot be changed; the text is what is wrong, and what to do."""


class Block(NamedTuple):
    """Our block in the file: its first and its last line's number, 0 for none, and its text without the last newline."""

    first: int
    last: int
    text: bytes


class Seen(NamedTuple):
    """The file as it was read: its checksum by cksum, its number of whole lines, and our block in it."""

    checksum: str
    whole: int
    block: Block


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Wait until nobody else changes the file, of whatever project and user. Raises HostsError.

    The file itself is locked, as everybody may open it. A rename puts another file in its place: then we wait for that one.
    """
    deadline, is_told = time.monotonic() + PATIENCE, False
    while True:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(FILE, "rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_same = os.path.samestat(os.fstat(file.fileno()), os.stat(FILE))
            except BlockingIOError:
                is_same = False
            except OSError:
                # look says what is wrong with it.
                is_same = True
            if is_same:
                yield
                return
        if time.monotonic() > deadline:
            raise HostsError(f"another make dev-hosts of this machine has {FILE}. Answer its question, then try again")
        if not is_told and time.monotonic() > deadline - PATIENCE + 1:
            is_told = True
            say(f"waiting for another make dev-hosts of this machine, which has {FILE}")
        time.sleep(0.02)


def marks(domain: str) -> tuple[bytes, bytes]:
    """Return the lines around the block of the project with `domain`."""
    return f"# >>> localdev {domain}".encode(), f"# <<< localdev {domain}".encode()


def find(text: bytes, domain: str) -> Block:
    """Return where the block is in `text`.

    Raises HostsError at a mark without its other half, where nobody can tell what belongs to the block.
    """
    begin, end = marks(domain)
    first = last = 0
    lines = text.split(b"\n")

    def lacks(number: int, mark: bytes, other: bytes, where: str) -> HostsError:
        problem = f'{FILE}:{number}: "{mark.decode()}" has no "{other.decode()}" {where}'
        return HostsError(f"{problem}. Put it right, then try again; nothing was changed")

    for number, line in enumerate(lines, 1):
        # An editor may have made CRLF of our marks, or left blanks behind them.
        line = line.rstrip(b" \t\r")
        inside = first and not last
        if line == begin:
            if inside:
                raise lacks(first, begin, end, "below it")
            if first:
                problem = f'{FILE}:{number}: "{begin.decode()}" is here a second time'
                raise HostsError(f"{problem}. Put it right, then try again; nothing was changed")
            first = number
        elif line == end:
            if not inside:
                raise lacks(number, end, begin, "above it")
            last = number
        elif inside and MARK.match(line):
            # Another project's mark inside our block means that our end is missing.
            raise lacks(first, begin, end, "below it, before the next project's mark")
    if first and not last:
        raise lacks(first, begin, end, "below it")
    return Block(first, last, b"\n".join(lines[first - 1 : last]) if first else b"")


def look(domain: str) -> Seen | None:
    """Return the file as it is now, None where it is missing or unreadable. Raises HostsError."""
    try:
        with open(FILE, "rb") as file:
            # First: root sees whatever changes from here on.
            checksum = (
                subprocess.run(["/usr/bin/cksum"], stdin=file, capture_output=True, check=True).stdout.decode().strip()
            )
        with open(FILE, "rb") as file:
            text = file.read()
    except OSError:
        return None
    return Seen(checksum, text.count(b"\n"), find(text, domain))


def refuse_what_cannot_be_replaced(hint: str) -> None:
    """Raise HostsError, with `hint`, where a new file cannot take the place of the old one."""
    if os.path.islink(FILE):
        raise HostsError(
            f"{FILE} is a link to what something else writes (NixOS: networking.extraHosts). There, {hint}"
        )
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            is_mount = any(line.split()[4:5] == [FILE] for line in mounts)
    except OSError:
        return
    if is_mount:
        raise HostsError(f"{FILE} is a mount of its own (as in a container) and cannot be replaced. In it, {hint}")


def commands(seen: Seen, text: str) -> str:
    """Return the commands that put `text`, '' for nothing, in the place of our block.

    Root adds exactly the text that was shown, and takes all else from the file itself, by line numbers. Just before the
    rename, root checks that the file has not changed since we read it.
    """
    # A new block comes after the last whole line: a last line without a newline stays the last, and stays without.
    before, after = (seen.block.first - 1, seen.block.last + 1) if seen.block.first else (seen.whole, seen.whole + 1)
    temporary = f"{FILE}.localdev.{os.getpid()}"
    # What killed runs left behind: whoever has the lock is alone.
    left = [name for name in sorted(glob.glob(f"{FILE}.localdev.*")) if re.fullmatch("[0-9]+", name.rpartition(".")[2])]
    # A signal would end some shells without the trap for EXIT.
    lines = ["trap 'exit 9' HUP INT TERM", "umask 022", *(f"/bin/rm -f {name}" for name in left), "{"]
    if before:  # macOS refuses head -n 0
        lines.append(f"/usr/bin/head -n {before} {FILE}")
    if text:
        lines += ["/bin/cat <<'END_OF_BLOCK'", text, "END_OF_BLOCK"]
    chown = "/usr/sbin/chown" if os.access("/usr/sbin/chown", os.X_OK) else "/bin/chown"
    has_changed = f"printf '%s\\n' '{FILE} has changed meanwhile' >&2"
    lines += [
        f"/usr/bin/tail -n +{after} {FILE}",
        f"}} >{temporary}",
        f"{chown} 0:0 {temporary}",
        f"/bin/chmod 0644 {temporary}",
        f"[ \"$(/usr/bin/cksum <{FILE})\" = '{seen.checksum}' ] || {{ {has_changed}; exit 9; }}",
        f"/bin/mv -f {temporary} {FILE}",
    ]
    if os.access("/usr/bin/dscacheutil", os.X_OK):
        lines.append("/usr/bin/dscacheutil -flushcache || :")
    return root.guarded("\n".join(lines), temporary)


def run(script: str, again: str, is_agreed: bool) -> None:
    """Show `script`, ask unless somebody agreed already, and run it as root. Raises HostsError and root.RootError."""
    say(f"{FILE} needs root to change. The commands:")
    os.write(2, root.plan(script).encode())
    if not is_agreed:
        if not root.can_ask():
            raise root.RootError(
                f"cannot ask here. Run the commands above in a terminal, or: {again} ARGS=--yes", code=4
            )
        if not root.ask("Run them?"):
            raise HostsError("nothing was changed")
    root.run(script, again, f"{FILE}")


def add(names: list[str], domain: str, is_agreed: bool) -> None:
    """Make our block agree with `names`; the caller has the lock. Raises HostsError and root.RootError."""
    wildcards = [name for name in names if name.startswith("*")]
    names = [name for name in names if name not in wildcards]
    if not all(is_host(name) for name in [domain, *names]):
        raise HostsError(f"a name is no host name for {FILE}. Correct .localdev/routes")
    begin, end = marks(domain)
    entry = f"127.0.0.1 {' '.join(names)}"
    wanted = b"\n".join((begin, entry.encode(), end))
    seen = look(domain)
    if seen is None:
        raise HostsError(
            f"{FILE} is missing or unreadable. Make it, with your system's own lines and this one: {entry}"
        )
    if seen.block.text == wanted:
        return
    refuse_what_cannot_be_replaced(f"add the line: {entry}")
    if wildcards:
        say(f"{FILE} knows no wildcards, so these are left out: {' '.join(wildcards)}")
    run(commands(seen, wanted.decode()), "make dev-hosts", is_agreed)
    now = look(domain)
    if now is None or now.block.text != wanted:
        raise HostsError(f"the commands ran, yet the hosts are not in {FILE}. Try again: make dev-hosts")
    say(f"the hosts are in {FILE}: {' '.join(names)}")


def remove(domain: str, is_agreed: bool) -> None:
    """Take our block out; the caller has the lock. Raises HostsError and root.RootError."""
    begin, end = (mark.decode() for mark in marks(domain))
    seen = look(domain)
    if seen is None or not seen.block.first:
        return
    refuse_what_cannot_be_replaced(f'remove the lines from "{begin}" to "{end}"')
    run(commands(seen, ""), "make dev-hosts-down", is_agreed)
    now = look(domain)
    if now is None or now.block.first:
        raise HostsError(f"the commands ran, yet the hosts are still in {FILE}. Try again: make dev-hosts-down")
    say(f"the hosts of {domain} are out of {FILE}.")
