"""A laptop: a pretend Mac with a generated repo, for tests of the scripts in it."""

import os
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pexpect

from fakemac import FakeMac
from host import LABEL
from needs import need_mac

REPO = "/Users/alice/my app's repo"
HOST_ALIAS = f"{REPO}/.localdev/host-alias"
DAEMONS = "/Library/LaunchDaemons"
PLIST = f"{DAEMONS}/{LABEL}.plist"


@dataclass
class Session:
    """What a person saw on a terminal: the exit code, and the text before the first prompt for a password and after."""

    code: int
    before: str
    after: str

    @property
    def text(self) -> str:
        """All of it."""
        return self.before + self.after


class Laptop(FakeMac):
    """A pretend Mac with a generated repo in it, in which nobody waits for launchd."""

    def __init__(self, root: Path, repo: Path, **options: Any) -> None:
        """Make the Mac, or skip the test where there can be none."""
        need_mac()
        super().__init__(root, **options)
        self.put(repo, REPO)
        self.no_waiting()
        self.plist = self.path(f"{REPO}/.localdev/host-alias.plist").read_text()

    def say(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """Run host-alias without a terminal: exit code, standard output, standard error. `up` has the person's yes."""
        yes = ["--yes"] if words == ("up",) else []
        done = self.run([HOST_ALIAS, *words, *yes], **{"cwd": REPO} | options)
        return done.returncode, done.stdout, done.stderr

    def on_terminal(self, *words: str, answers: tuple[str, ...] = ("secret",), **env: str) -> Session:
        """Run host-alias on a terminal; type one answer per prompt. An answer of one control letter is that key."""
        child = self.spawn([HOST_ALIAS, *words], cwd=REPO, env={"NO_COLOR": "1"} | env)
        parts, left = [], list(answers)
        while child.expect(["Password:", pexpect.EOF]) == 0:
            parts.append(child.before)
            answer = left.pop(0)
            child.send(answer if answer.isprintable() is False else f"{answer}\n")
        parts.append(child.before)
        child.close()
        assert not left, f"never asked for {left}"
        code = child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus
        first, *rest = (part.replace("\r\n", "\n") for part in parts)
        return Session(code, first, "Password:".join(rest))

    def install(self, text: str, path: str = PLIST, loaded: bool = True) -> Path:
        """Put `text` where launchd finds it, and load it as a restart would."""
        target = self.write(path, text, owner=0)
        if loaded:
            self.load(path)
            self.forget_calls()
        return target

    def set_up(self) -> "Laptop":
        """Run `up` once, unasked, and forget it."""
        assert self.say("up", user=0)[0] == 0
        self.forget_calls()
        return self

    def everything(self) -> tuple[Any, ...]:
        """Return all that `up` and `down` could change: of a file everything but the time it was last read."""

        facts = attrgetter("st_ino", "st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns")

        def of(path: Path) -> tuple[Any, ...]:
            content = os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
            return (*facts(path.lstat()), content)

        files = {path.name: of(path) for path in self.path(DAEMONS).iterdir()}
        return files, self.masks, self.loaded, self.disabled

    def as_root(self) -> list[str]:
        """Return the commands that ran as root, arguments included."""
        return [" ".join([program, *words]) for program, words, uid in self.calls if uid == 0]
