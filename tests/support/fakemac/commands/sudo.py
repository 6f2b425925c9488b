"""sudo(8) as macOS configures it: no secure_path, HOME kept, the rest of the environment reset, tickets.

The interpreter of this program is a setuid-root Python, so the kernel makes it root, as it does with the real one.
"""

import grp
import os
import pwd
import sys
import termios

from .base import State, fail, get, major, not_modelled

# env_keep of macOS's /etc/sudoers and sudo's built-in list.
KEPT = {
    *("PATH", "HOME", "MAIL", "TERM", "LANG", "LANGUAGE", "CHARSET", "TZ", "LINES", "COLUMNS", "DISPLAY", "XAUTHORITY"),
    *("BLOCKSIZE", "COLORFGBG", "COLORTERM", "LSCOLORS", "SSH_AUTH_SOCK", "EDITOR", "VISUAL", "KRB5CCNAME", "PS1"),
}
TRIES = 3
REQUIRED = "sudo: a password is required"
NO_TERMINAL = (
    "sudo: a terminal is required to read the password; either use the -S option to read from standard input"
    " or configure an askpass helper"
)


def _arguments(args):
    """Options up to the first operand; then VAR=value words; then the command."""
    flags, assignments = {}, {}
    args = list(args)
    while args and args[0].startswith("-") and args[0] != "-":
        word = args.pop(0)
        if word == "--":
            break
        word = {"--non-interactive": "-n", "--validate": "-v", "--stdin": "-S", "--reset-timestamp": "-k"}.get(
            word, word
        )
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            if letter in "pu":
                flags[letter] = rest or (
                    args.pop(0) if args else fail(f"sudo: option requires an argument -- '{letter}'")
                )
                rest = ""
            elif letter in "nvkKSHE":
                flags[letter] = True
            else:
                not_modelled(f"sudo {word}")
    while args and "=" in args[0] and "/" not in args[0].split("=")[0]:
        name, _, value = args.pop(0).partition("=")
        assignments[name] = value
    return flags, assignments, args


def _line(descriptor):
    """One line, byte by byte: what follows belongs to the command (`sudo -S sh -s`). None at end of file."""
    read = b""
    while True:
        byte = os.read(descriptor, 1)
        if byte == b"\n" or not byte:
            return None if not byte and not read else read.decode(errors="replace")
        read += byte


def _ask(prompt, source, sink):
    """Ask once. Echo is off while the user types, and back on whatever happens."""
    with State() as state:
        state["prompts"] += 1
    if not os.isatty(source):
        os.write(sink, prompt.encode())
        return _line(source)
    saved = termios.tcgetattr(source)
    silent = termios.tcgetattr(source)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(source, termios.TCSAFLUSH, silent)
    try:
        # After the flush: whoever waits for the prompt may type, or interrupt, at once.
        os.write(sink, prompt.encode())
        return _line(source)
    except KeyboardInterrupt:
        sys.exit(1)
    finally:
        termios.tcsetattr(source, termios.TCSANOW, saved)
        os.write(sink, b"\n")


def _authenticate(flags, user):
    mode, password = get("sudo"), get("password")
    if os.getuid() == 0 or mode == "ok":
        return
    if not (get("ticket") and mode != "not-sudoer") or "k" in flags:
        if "n" in flags:
            fail(REQUIRED)
        if "S" in flags:
            source, sink = 0, 2
        else:
            try:
                source = sink = os.open("/dev/tty", os.O_RDWR)
            except OSError:
                fail(f"{NO_TERMINAL}\n{REQUIRED}")
        prompt = flags.get("p", "Password:")
        for escape, value in (
            ("%p", user),
            ("%u", user),
            ("%U", "root"),
            ("%h", "mac"),
            ("%H", "mac.local"),
            ("%%", "%"),
        ):
            prompt = prompt.replace(escape, value)
        for attempt in range(TRIES):
            answer = _ask(prompt, source, sink)
            if answer is None:
                fail(f"sudo: no password was provided\n{REQUIRED}" if attempt == 0 else _attempts(attempt))
            if answer == password:
                break
            if attempt == TRIES - 1:
                fail(_attempts(TRIES))
            sys.stderr.write("Sorry, try again.\n")
    if mode == "not-sudoer":
        # sudo 1.9.5p2 on macOS 13, 1.9.13p2 from 14 on
        if major() <= 13:
            fail(f"{user} is not in the sudoers file.  This incident will be reported.")
        fail(f"{user} is not in the sudoers file.\nThis incident has been reported to the administrator.")
    if "k" not in flags:
        with State() as state:
            state["ticket"] = True


def _attempts(count):
    return f"sudo: {count} incorrect password attempt{'s' if count > 1 else ''}"


def _environment(flags, assignments, caller, target, command):
    keep = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("LC_") or "E" in flags}
    if "H" in flags:
        keep["HOME"] = target.pw_dir
    about = {"SUDO_USER": caller.pw_name, "SUDO_UID": str(caller.pw_uid), "SUDO_GID": str(caller.pw_gid)}
    who = {"USER": target.pw_name, "LOGNAME": target.pw_name, "SHELL": target.pw_shell}
    return {**keep, **who, **about, "SUDO_COMMAND": " ".join(command), **assignments}


def sudo(args):
    flags, assignments, command = _arguments(args)
    if ("k" in flags or "K" in flags) and not command and "v" not in flags:
        with State() as state:
            state["ticket"] = False
        return 0
    if not command and "v" not in flags:
        fail("usage: sudo -h | -K | -k | -V\nusage: sudo [-HnS] [-p prompt] [-u user] [VAR=value] [command]")
    caller = pwd.getpwuid(os.getuid())
    _authenticate(flags, caller.pw_name)
    if not command:
        return 0
    try:
        target = pwd.getpwnam(flags.get("u", "root"))
    except KeyError:
        fail(f"sudo: unknown user {flags['u']}")
    environment = _environment(flags, assignments, caller, target, command)
    os.setgroups([target.pw_gid] + [g.gr_gid for g in grp.getgrall() if target.pw_name in g.gr_mem])
    os.setresgid(target.pw_gid, target.pw_gid, target.pw_gid)
    os.setresuid(target.pw_uid, target.pw_uid, target.pw_uid)
    sys.stderr.flush()
    try:
        os.execvpe(command[0], command, environment)
    except OSError:
        fail(f"sudo: {command[0]}: command not found")
