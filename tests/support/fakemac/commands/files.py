"""BSD file tools where they differ from the GNU ones that stand in for the rest."""

import errno
import grp
import os
import pwd
import stat as st
import sys

from .base import fail, not_modelled, options

# The Linux tools of the same name, by which the parts that do not differ are done.
TOOLS = "/.fakemac/system/tools"
# Linux lets users keep attributes of their own only under this prefix.
XATTR = "user."


def _why(error):
    return os.strerror(error.errno)


def _run(name, args):
    os.execv(os.path.join(TOOLS, name), [name, *args])


def _ids(name, owner, group, code):
    """-1 where nothing is to change, as chown(2) wants it."""
    uid = gid = -1
    if owner:
        try:
            uid = int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
        except KeyError:
            fail(f"{name}: unknown user {owner}" if name == "install" else f"{name}: {owner}: illegal user name", code)
    if group:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            fail(
                f"{name}: unknown group {group}" if name == "install" else f"{name}: {group}: illegal group name", code
            )
    return uid, gid


def _copy_attributes(source, target):
    """install, cp -p and mv take a file's extended attributes along, the quarantine included."""
    for name in os.listxattr(source):
        if name.startswith(XATTR):
            os.setxattr(target, name, os.getxattr(source, name))


INSTALL_USAGE = """usage: install [-bCcpSsv] [-B suffix] [-f flags] [-g group] [-m mode]
               [-o owner] file1 file2
       install [-bCcpSsv] [-B suffix] [-f flags] [-g group] [-m mode]
               [-o owner] file1 ... fileN directory
       install -d [-v] [-g group] [-m mode] [-o owner] directory ..."""


def install(args):
    """install(1) of file_cmds. -S is a flag (a safe copy), and takes no suffix. 71 is EX_OSERR, 67 is EX_NOUSER."""
    flags, paths = options("install", args, "B:bCcdf:g:m:o:pSsv", 64, INSTALL_USAGE)
    uid, gid = _ids("install", flags.get("o"), flags.get("g"), 67)
    mode = int(flags.get("m", "755"), 8)
    if "d" in flags:
        for path in paths:
            os.makedirs(path, exist_ok=True)
            _own(path, uid, gid, mode, unlink=False)
        return
    if len(paths) < 2:
        fail(INSTALL_USAGE, 64)
    *sources, target = paths
    into = os.path.isdir(target)
    if len(sources) > 1 and not into:
        fail(INSTALL_USAGE, 64)
    for source in sources:
        _install(flags, source, os.path.join(target, os.path.basename(source)) if into else target, uid, gid, mode)


def _content(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _install(flags, source, target, uid, gid, mode):
    try:
        with open(source, "rb") as file:
            content = file.read()
    except OSError as error:
        fail(f"install: {source}: {_why(error)}", 71)
    if os.path.exists(target) and os.path.samefile(source, target):
        fail(f"install: {source} and {target} are the same file", 64)
    try:
        same = "C" in flags and _content(target) == content
        if not same:
            if os.path.lexists(target):
                if "b" in flags:
                    os.rename(target, target + flags.get("B", ".old"))
                else:
                    os.unlink(target)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(descriptor, content)
            os.close(descriptor)
            _copy_attributes(source, target)
    except OSError as error:
        fail(f"install: {target}: {_why(error)}", 71)
    _own(target, uid, gid, mode, unlink=not same)
    if "p" in flags:
        about = os.stat(source)
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    if "v" in flags:
        print(f"install: {source} -> {target}")


def _own(path, uid, gid, mode, unlink):
    try:
        if (uid, gid) != (-1, -1):
            os.chown(path, uid, gid)
        os.chmod(path, mode)
    except OSError as error:
        if unlink:
            os.unlink(path)
        fail(f"install: {path}: chown/chgrp: {_why(error)}", 71)


def _everywhere(paths, recursive):
    for path in paths:
        yield path
        if recursive and os.path.isdir(path) and not os.path.islink(path):
            for folder, folders, files in os.walk(path):
                yield from (os.path.join(folder, name) for name in folders + files)


def _chown(name, args, split):
    usage = f"usage: {name} [-fhnvx] [-R [-H | -L | -P]] {split('')} file ..."
    flags, operands = options(name, args, "fhnvxRHLP", 1, usage)
    if len(operands) < 2:
        fail(usage)
    uid, gid = _ids(name, *split(operands[0]), 1)
    code = 0
    for path in _everywhere(operands[1:], "R" in flags):
        try:
            os.chown(path, uid, gid, follow_symlinks="h" not in flags)
        except OSError as error:
            sys.stderr.write(f"{name}: {path}: {_why(error)}\n")
            code = 1
    return code


def chown(args):
    return _chown("chown", args, lambda word: (word.partition(":")[0], word.partition(":")[2]))


def chgrp(args):
    return _chown("chgrp", args, lambda word: ("", word))


def chmod(args):
    usage = "usage:\tchmod [-fhv] [-R [-H | -L | -P]] [-a | +a | =a  [i][# [ n]]] mode|entry file ..."
    # A mode may start with a minus sign (`chmod -w file`): that is no option.
    if args and args[0][:1] == "-" and args[0].strip("-rwxstX") == "":
        _run("chmod", args)
    flags, operands = options("chmod", args, "fhvRHLP", 1, usage)
    if len(operands) < 2:
        fail(usage)
    if not operands[0].isdigit():
        _run("chmod", args)
    code = 0
    for path in _everywhere(operands[1:], "R" in flags):
        try:
            os.chmod(path, int(operands[0], 8))
        except OSError as error:
            what = f"{path}: {_why(error)}"
            sys.stderr.write(
                f"chmod: {what}\n" if error.errno == errno.ENOENT else f"chmod: Unable to change file mode on {what}\n"
            )
            code = 1
    return code


STAT_USAGE = "usage: stat [-FLnq] [-f format | -l | -r | -s | -x] [-t timefmt] [file ...]"
KINDS = {st.S_IFREG: "Regular File", st.S_IFDIR: "Directory", st.S_IFLNK: "Symbolic Link", st.S_IFIFO: "Fifo File"}


def _field(path, about, form, part, letter):
    """One datum of `stat -f`: %Su is a name, %Lp the low bits of the mode, %OLp the same with a leading zero."""
    if letter == "N":
        return path
    if letter == "Y":
        return os.readlink(path) if st.S_ISLNK(about.st_mode) else ""
    if letter in "ug" and form == "S":
        entry = pwd.getpwuid if letter == "u" else grp.getgrgid
        number = about.st_uid if letter == "u" else about.st_gid
        try:
            return entry(number)[0]
        except KeyError:
            return f"({number})"
    if letter == "p":
        if form == "S":
            return st.filemode(about.st_mode)
        bits = {"": about.st_mode, "L": about.st_mode & 0o777, "M": about.st_mode >> 9 & 7, "H": about.st_mode >> 12}[
            part
        ]
        return f"{bits:d}" if form == "D" else f"{bits:o}"
    if letter == "T":
        kind = KINDS.get(st.S_IFMT(about.st_mode), "???")
        return (
            kind
            if part == "H"
            else {"Directory": "/", "Symbolic Link": "@"}.get(kind, "*" if about.st_mode & 0o111 else "")
        )
    values = {"u": "st_uid", "g": "st_gid", "z": "st_size", "i": "st_ino", "l": "st_nlink", "d": "st_dev"}
    values |= {"m": "st_mtime", "a": "st_atime", "c": "st_ctime", "B": "st_ctime"}
    if letter not in values or form not in ("", "D"):
        not_modelled(f"stat -f %{form}{part}{letter}")
    return str(int(getattr(about, values[letter])))


def _expand(path, about, text):
    out, rest = "", text
    while rest:
        before, percent, rest = rest.partition("%")
        out += before
        if not percent:
            break
        if rest[:1] in ("%", "n", "t"):
            out, rest = out + {"%": "%", "n": "\n", "t": "\t"}[rest[0]], rest[1:]
            continue
        form = part = ""
        if rest[:1] in tuple("DOUXFS"):
            form, rest = rest[0], rest[1:]
        if rest[:1] in tuple("HML"):
            part, rest = rest[0], rest[1:]
        value = _field(path, about, "" if form == "O" and rest[:1] == "p" else form, part, rest[:1])
        out, rest = out + ("0" if form == "O" else "") + value, rest[1:]
    return out


def stat(args):
    flags, paths = options("stat", args, "FLnqf:lrsxt:", 1, STAT_USAGE)
    if "f" not in flags:
        not_modelled("stat without -f")
    code = 0
    for path in paths:
        try:
            about = os.stat(path) if "L" in flags else os.lstat(path)
        except OSError as error:
            if "q" not in flags:
                sys.stderr.write(f"stat: {path}: stat: {_why(error)}\n")
            code = 1
            continue
        sys.stdout.write(_expand(path, about, flags["f"]) + ("" if "n" in flags else "\n"))
    return code


def mktemp(args):
    """-t takes a prefix, not a template; only X's at the very end of a template are replaced."""
    usage = "usage: mktemp [-d] [-q] [-t prefix] [-u] template ...\n       mktemp [-d] [-q] [-u] -t prefix"
    flags, templates = options("mktemp", args, "dqt:u", 1, usage)
    if "t" in flags or not templates:
        folder = os.environ.get("TMPDIR", "/tmp").rstrip("/")
        templates.insert(0, f"{folder}/{flags.get('t', 'tmp')}.XXXXXXXXXX")
    call = "mkdtemp" if "d" in flags else "mkstemp"
    for template in templates:
        stem = template.rstrip("X")
        path = stem + os.urandom(len(template) - len(stem)).hex()[: len(template) - len(stem)]
        try:
            if "d" in flags:
                os.mkdir(path, 0o700)
            else:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            fail(f"mktemp: {call} failed on {path}: {_why(error)}")
        if "u" in flags:
            (os.rmdir if "d" in flags else os.unlink)(path)
        print(path)


SED_COMMANDS = "{}abcdDgGhHilnNpPqrstwxy:=#0123456789$/\\!"


def sed(args):
    """-i and -I take a suffix, always: `sed -i s/a/b/ file` uses the script as suffix and the file's name as script."""
    usage = "usage: sed script [-EHalnru] [-i extension] [file ...]"
    flags, words, rest = [], [], list(args)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "efiI":
                if not letters and not rest:
                    fail(f"sed: option requires an argument -- {letter}\n{usage}")
                value, letters = letters or rest.pop(0), ""
                flags += [f"-i{value}"] if letter in "iI" else [f"-{letter}", value]
                words += [] if letter in "iI" else [value]
            elif letter in "Enrulas":
                flags += [] if letter in "a" else ["-u" if letter == "l" else f"-{letter}"]
            else:
                fail(f"sed: illegal option -- {letter}\n{usage}")
    script = None
    if not words:
        if not rest:
            fail(usage)
        script = rest.pop(0)
        flags += ["-e", script]
    if not rest and any(flag.startswith("-i") for flag in flags):
        if script and script[0] not in SED_COMMANDS:
            fail(f'sed: 1: "{script}": invalid command code {script[0]}')
        fail("sed: -i may not be used with stdin")
    # Whatever is wrong, BSD's exits 1.
    return min(1, os.spawnv(os.P_WAIT, os.path.join(TOOLS, "sed"), ["sed", "--posix", *flags, "--", *rest]))


def xattr(args):
    flags, operands = options("xattr", args, "lpdcwrsvx", 64, "usage: xattr [-l] [-r] [-s] [-v] [-x] file [file ...]")
    name = operands.pop(0) if set("pdw") & set(flags) else None
    value = operands.pop(0) if "w" in flags else None
    code = 0
    for path in operands:
        try:
            names = [n[len(XATTR) :] for n in os.listxattr(path) if n.startswith(XATTR)]
        except OSError as error:
            sys.stderr.write(f"xattr: No such file: {path}\n" if error.errno == errno.ENOENT else f"xattr: {error}\n")
            code = 1
            continue
        if value is not None:
            os.setxattr(path, XATTR + name, value.encode())
        elif name and name not in names:
            sys.stderr.write(f"xattr: {path}: No such xattr: {name}\n")
            code = 1
        elif "p" in flags:
            print(os.getxattr(path, XATTR + name).decode())
        elif "d" in flags or "c" in flags:
            for doomed in [name] if name else names:
                os.removexattr(path, XATTR + doomed)
        else:
            for each in names:
                print(f"{each}: {os.getxattr(path, XATTR + each).decode()}" if "l" in flags else each)
    return code


def _refuse(name, args, letters, usage, long=()):
    """Stop at an option the BSD tool does not have; leave the rest to the Linux tool."""
    for word in args:
        if word == "--":
            return
        if word.startswith("--") and word.split("=")[0] not in long:
            fail(
                f"{name}: illegal option -- -\n{usage}"
                if not long
                else f"{name}: unrecognized option `{word}'\n{usage}",
                2 if long else 64,
            )
        if word.startswith("-") and not word.startswith("--") and word != "-":
            bad = [letter for letter in word[1:] if letter not in letters]
            if bad and not long:
                fail(f"{name}: illegal option -- {bad[0]}\n{usage}", 64)


def cp(args):
    usage = "usage: cp [-R [-H | -L | -P]] [-fi | -n] [-aclpSsvXx] source_file target_file"
    _refuse("cp", args, "RHLPfinaclpSsvXxr", usage)
    keep = any(word[:1] == "-" and "p" in word for word in args)
    _run("cp", ["--preserve=mode,ownership,timestamps,xattr" if keep else "--", *args] if keep else args)


def grep(args):
    """No -P: the regular expressions are POSIX ones."""
    usage = "usage: grep [-abcdDEFGHhIiJLlMmnOopqRSsUVvwXxZz] [-A num] [-B num] [-C[num]] [pattern] [file ...]"
    for word in args:
        if word == "--" or not word.startswith("-"):
            break
        if word == "--perl-regexp" or (not word.startswith("--") and word[1:2] == "P"):
            fail(f"grep: invalid option -- P\n{usage}", 2)
    _run("grep", args)


def date(args):
    """GNU's -d and -s are refused and %N is a plain N; -r takes seconds; -u and +FORMAT are the same on both."""
    usage = "usage: date [-jnRu] [-I[date|hours|minutes|seconds|ns]] [-f input_fmt] [-r filename|seconds] [+format]"
    for word in args:
        if word.startswith(("--", "-d", "-s")):
            fail(f"date: illegal option -- {'-' if word.startswith('--') else word[1]}\n{usage}", 1)
        if "%N" in word:
            print(word.lstrip("+").replace("%N", "N"))
            return 0
    if args[:1] == ["-r"] and len(args) > 1 and args[1].isdigit():
        _run("date", ["-d", f"@{args[1]}", *args[2:]])
    return _run("date", args)
