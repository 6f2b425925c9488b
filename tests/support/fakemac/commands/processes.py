"""ps(1) of macOS: the processes that listen, and whatever else a test says runs. It shows every user's."""

import os
import sys

from .base import fail, get, not_modelled, options

USAGE = "usage: ps [-AaCcEefhjlMmrSTvwXx] [-O fmt | -o fmt] [-G gid[,gid...]]"
# keyword -> its header, its width, is it aligned to the right
COLUMNS = {
    "pid": ("PID", 5, True),
    "ppid": ("PPID", 5, True),
    "uid": ("UID", 5, True),
    "user": ("USER", 16, False),
    "comm": ("COMM", 16, False),
    "command": ("COMMAND", 16, False),
    "args": ("ARGS", 16, False),
}
NARROW, WIDE = 79, 131  # columns, when neither COLUMNS nor a terminal says otherwise; and with one -w


def running():
    """Every process in the order of its number, each once: {pid, ppid, user, uid, command}."""
    first = {"pid": 1, "ppid": 0, "user": "root", "uid": 0, "command": "/sbin/launchd"}
    found = {one["pid"]: one for one in [first, *get("processes")]}
    for one in get("listeners"):
        found.setdefault(
            one["pid"],
            {name: one[name] for name in ("pid", "user", "uid")} | {"ppid": one["parent"], "command": one["line"]},
        )
    return [found[pid] for pid in sorted(found)]


def _visible(text):
    """vis(3) without the backslash, as ps shows arguments: ESC is ^[."""
    return "".join(f"^{chr(ord(c) ^ 64)}" if c < " " or c == "\x7f" else c for c in text)


def _width():
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    for stream in (1, 2, 0):
        try:
            return (os.get_terminal_size(stream).columns or NARROW + 1) - 1
        except OSError:
            pass
    return NARROW


def _columns(formats):
    """`pid=,command=` -> [(keyword, header)]. A Mac splits at every comma, also behind a `=`."""
    found = []
    for item in ",".join(formats).split(","):
        name, renamed, header = item.partition("=")
        if name not in COLUMNS:
            fail(f"ps: {name}: keyword not found")
        found.append((name, header if renamed else COLUMNS[name][0]))
    return found


def ps(args):
    """`ps -axo FORMAT` and `ps -p PID -o FORMAT`; without -ww a line ends where the screen does."""
    # -w counts and -o adds up, which the shared parser does not do for any other command.
    formats, rest, args = [], [], list(args)
    while args:
        word = args.pop(0)
        letters, is_format, value = word.partition("o") if word.startswith("-") else (word, "", "")
        if is_format:
            formats.append(value or (args.pop(0) if args else fail(f"ps: option requires an argument -- o\n{USAGE}")))
            word = letters
        if word != "-":
            rest.append(word)
    flags, operands = options("ps", rest, "AaCcEefhjlMmrSTvwXxG:O:p:t:U:u:", 1, USAGE)
    chosen = flags.keys() & {"A", "e", "p"} or {"a", "x"} <= flags.keys()
    if operands or not formats or not chosen or flags.keys() - set("Aaepwx"):
        not_modelled("ps " + " ".join(sys.argv[1:]))
    shown = running()
    if "p" in flags:
        shown = [one for one in shown if str(one["pid"]) in flags["p"].split(",")]
    columns = _columns(formats)
    wide = sum(word.count("w") for word in rest if word.startswith("-"))
    limit = None if wide > 1 else max(_width(), WIDE) if wide else _width()
    rows = [[header for _, header in columns]] if any(header for _, header in columns) else []
    for one in shown:
        values = one | {"comm": one["command"].split(" ")[0], "args": one["command"]}
        rows.append([_visible(str(values[name])) for name, _ in columns])
    for row in rows:
        cells = []
        for (name, _), text in zip(columns, row, strict=True):
            _, width, right = COLUMNS[name]
            last = len(cells) == len(columns) - 1
            cells.append(text.rjust(width) if right else text if last else text[:width].ljust(width))
        print(" ".join(cells)[:limit])
    return 0 if shown else 1
