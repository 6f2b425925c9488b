"""What every faked command shares: the state of the pretend Mac, the call log, BSD option parsing, and dispatch.

Imported twice: inside the fake root by the commands, and by the host side (`fakemac.FakeMac`), which reads and turns
the same state. Only cheap modules are imported here, because every command pays for them at each start.
"""

import _signal  # `signal` builds enums at import, which costs more than all of a command's own work
import fcntl
import marshal  # json would import re, which costs as much as all of this
import os
import stat
import sys

STATE = "/.fakemac/state"
# Linux tools whose calls are noticed like a fake's, by their place on a Mac: see FakeMac.trace.
TRACED = "/.fakemac/traced"

# Absolute path on a Mac -> module of this package that has a function of the command's name.
PROGRAMS = {
    "/bin/chmod": "files",
    "/bin/cp": "files",
    "/bin/date": "files",
    "/bin/launchctl": "launchctl",
    "/bin/ps": "processes",
    "/sbin/ifconfig": "ifconfig",
    "/sbin/route": "network",
    "/usr/bin/chgrp": "files",
    "/usr/bin/dscacheutil": "network",
    "/usr/bin/grep": "files",
    "/usr/bin/install": "files",
    "/usr/bin/mktemp": "files",
    "/usr/bin/nc": "network",
    "/usr/bin/plutil": "plist",
    "/usr/bin/sed": "files",
    "/usr/bin/sfltool": "launchctl",
    "/usr/bin/stat": "files",
    "/usr/bin/sudo": "sudo",
    "/usr/bin/sw_vers": "system",
    "/usr/bin/uname": "system",
    "/usr/bin/xattr": "files",
    "/usr/sbin/chown": "files",
    "/usr/sbin/lsof": "network",
    "/usr/sbin/netstat": "network",
}

LOOPBACK = ["127.0.0.1", 0xFF000000, 0]

DEFAULTS = {
    "macos": "26.6.2",
    # lo0: [address, mask, listings of lo0 that do not show it yet], in the order they were added
    "lo0": [LOOPBACK],
    # [interface, address, peer, mask]. Decoys: a 10.x that is not on lo0, and an address that contains 10.254.254.254
    "interfaces": [
        ["en0", "10.0.2.15", None, 0xFFFFFF00],
        ["utun0", "110.254.254.254", "110.254.254.254", 0xFFFFFFFF],
    ],
    "routes": [["0.0.0.0/0", "en0", "10.0.2.2"]],
    "lo0_denied": False,
    "alias_vanishes": False,
    "alias_late": 0,
    # launchd: label -> {path, arguments, stdout, stderr, runs, exit, draining}; label -> is it disabled
    "loaded": {},
    "disabled": {},
    "btm_denied": [],
    "bootout_drains": 0,
    "richer_errors": False,
    "warnings": [],
    "sudo": "needs-password",
    "password": "secret",
    "ticket": False,
    "prompts": 0,
    # {command, line, pid, parent, user, uid, proto, address, port}
    "listeners": [],
    # those that do not listen: {pid, ppid, user, uid, command}
    "processes": [],
    "hosts": {"localhost": ["::1", "127.0.0.1"]},
    # "launchctl bootstrap" or "install", or all the words of a call -> {rc, message, times, root}
    "failures": {},
    # {step, when}: at which of root's commands everything is killed, see FakeMac.kill_at; how long each may be late
    "kill": None,
    "delay": 0,
}


class State:
    """`with State(directory) as state:` is a dict, locked against every other reader and writer, saved at the end."""

    def __init__(self, directory=STATE):
        self.path = os.path.join(directory, "state")

    def __enter__(self):
        # Opened for writing without creating: any user may write the file, only the builder makes it.
        self.file = open(self.path, "rb+")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.before = self.file.read()
        self.values = marshal.loads(self.before)
        return self.values

    def __exit__(self, *_):
        after = marshal.dumps(self.values)
        if after != self.before:
            self.file.seek(0)
            self.file.truncate()
            self.file.write(after)
        self.file.close()


def get(name):
    """One value of the state."""
    with State() as state:
        return state[name]


def major():
    """Major version of the pretend macOS."""
    return int(get("macos").split(".")[0])


def fail(text, code=1):
    """Print one line on standard error and leave with `code`."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.exit(code)


def not_modelled(what):
    """Say loudly that a test left what this fake knows (70 is EX_SOFTWARE), instead of inventing an answer."""
    fail(f"fakemac: not modelled: {what}", 70)


def options(name, args, letters, code=64, usage=None):
    """getopt(3) as BSD has it: no long options, and nothing after the first operand is an option.

    `letters` is getopt's string ("m:o:d"). Returns ({letter: value or True}, operands).
    """
    found = {}
    args = list(args)
    while args and args[0].startswith("-") and args[0] != "-":
        word = args.pop(0)
        if word == "--":
            break
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            at = letters.find(letter)
            if at < 0 or letter == ":":
                fail(f"{name}: illegal option -- {letter}" + (f"\n{usage}" if usage else ""), code)
            if letters[at + 1 : at + 2] == ":":
                if not rest and not args:
                    fail(f"{name}: option requires an argument -- {letter}" + (f"\n{usage}" if usage else ""), code)
                found[letter] = rest or args.pop(0)
                rest = ""
            else:
                found[letter] = True
    return found, args


def _log(name, *values):
    log = os.open(os.path.join(STATE, name), os.O_WRONLY | os.O_APPEND)
    os.write(log, f"{values}\n".encode())
    os.close(log)


def _wanted_failure(name, args):
    with State() as state:
        for key in (" ".join([name, *args]), " ".join([name, *args[:1]]), name):
            failure = state["failures"].get(key)
            if failure and failure["times"] != 0 and (os.geteuid() == 0 or not failure["root"]):
                if failure["times"] is not None:
                    failure["times"] -= 1
                return failure
    return None


def _is_step():
    """Is this call a step of root's own script? What launchd starts is not, and sudo becomes the script."""
    return os.geteuid() == 0 and "XPC_SERVICE_NAME" not in os.environ and os.path.basename(sys.argv[0]) != "sudo"


def _kill_everything():
    """What a person, a crash or the end of a session does to the caller, its sudo and its shells: no trap runs."""
    os.kill(0, _signal.SIGKILL)


def _kill_before():
    """Kill everything when it is this call's turn, half of what it writes to a file being written. Is it, afterwards?"""
    _log("steps", sys.argv[0], sys.argv[1:], stat.S_ISREG(os.fstat(1).st_mode))
    with State() as state:
        kill = state["kill"]
        if not kill:
            return False
        kill["step"] -= 1
        if kill["step"]:
            return False
    if kill["when"] == "alone":
        os.kill(os.getppid(), _signal.SIGKILL)
        sys.exit(1)
    if kill["when"] == "middle":
        text = sys.stdin.buffer.read()
        os.write(1, text[: len(text) // 2])
    if kill["when"] != "after":
        _kill_everything()
    return True


def _late():
    """Wait for a random time, so that two callers meet in any order."""
    delay = get("delay")
    if delay:
        import time

        time.sleep(delay * os.urandom(1)[0] / 255)


def dispatch():
    """Log this call, then do what the command of this name does."""
    # Python ignores SIGPIPE, and children inherit that; a C program dies of `ifconfig | head -1` without a word.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    program, args = sys.argv[0], sys.argv[1:]
    # The real user: the same as the effective one everywhere but in sudo, where it is the one who called it.
    _log("calls", program, args, os.getuid())
    path = os.path.abspath(program)
    name = os.path.basename(path)
    tool = TRACED + path
    if path in PROGRAMS:

        def command(args):
            package = __import__(f"{__package__}.{PROGRAMS[path]}")
            return getattr(getattr(package, PROGRAMS[path]), name)(args)

    elif os.path.islink(tool):

        def command(args):
            words = [program, *args]
            return os.spawnv(os.P_WAIT, tool, words) if killed else os.execv(tool, words)

    else:
        fail(f"fakemac: {program}: decoy, found because the caller did not use an absolute path", 97)
    killed = _is_step() and _kill_before()
    _late()
    failure = _wanted_failure(name, args)
    if failure:
        fail(failure["message"], failure["rc"])
    try:
        code = command(args)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        if killed:
            _kill_everything()
    # Not sys.exit: Python would first take apart all that the kernel frees anyway, which costs a fifth of a call.
    sys.stderr.flush()
    os._exit(code or 0)
