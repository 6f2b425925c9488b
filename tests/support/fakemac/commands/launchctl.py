"""launchctl(1) and the part of launchd(8) behind it: the system domain, run-at-load jobs, and what happens at boot."""

import os
import stat
import sys

from .base import LOOPBACK, State, fail, get, not_modelled

DAEMONS = "/Library/LaunchDaemons"
# `launchctl error N`
TEXTS = {
    1: "Operation not permitted",
    3: "No such process",
    5: "Input/output error",
    36: "Operation now in progress",
    37: "Operation already in progress",
    108: "Invalid path",
    109: "Invalid property list",
    110: "Missing service identifier",
    111: "Missing program",
    112: "Could not find specified domain",
    113: "Could not find specified service",
    119: "Service is disabled",
    122: "Path had bad ownership/permissions",
    140: "Service name is reserved or invalid",
    155: "Path is quarantined",
}


def _say(text):
    sys.stderr.write(text + "\n")


def _target(word):
    """`system/LABEL` -> LABEL."""
    domain, _, label = word.partition("/")
    if domain != "system" or not label:
        not_modelled(f"launchctl service target {word}")
    return label


def _quarantined(path):
    try:
        os.getxattr(path, "user.com.apple.quarantine")
    except OSError:
        return False
    return True


def read(path):
    """The job in the file at `path`, or the code that says why launchd does not take it."""
    from .plist import PlistError, parse  # only here: most calls read none, and it takes longer than all else

    try:
        about = os.stat(path)
        with open(path, "rb") as file:
            job = parse(file.read())
    except OSError:
        return 108
    except PlistError:
        return 109
    if not stat.S_ISREG(about.st_mode) or about.st_uid != 0 or about.st_mode & 0o022:
        return 122
    if _quarantined(path):
        return 155
    if not isinstance(job, dict) or not isinstance(job.get("Label"), str) or not job["Label"]:
        return 110
    if not job.get("ProgramArguments") and not job.get("Program"):
        return 111
    if job["Label"].startswith("com.apple.") or "/" in job["Label"]:
        return 140
    return job


def _run(label):
    """Run the job as launchd would: as root, its own small environment, no terminal; keep its exit code."""
    with State() as state:
        job = state["loaded"][label]
        job["runs"] += 1
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 78  # EX_CONFIG: launchd's own code for a program or a log file that cannot be opened
        try:
            os.setsid()
            os.setgroups([0])
            os.chdir("/")
            os.umask(0o022)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            for number, where in ((1, job["stdout"]), (2, job["stderr"])):
                os.dup2(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
            environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "XPC_SERVICE_NAME": label}
            os.execve(job["program"], job["arguments"], environment)
        except OSError:
            pass
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with State() as state:
        state["loaded"][label]["exit"] = code


def _load(path, at_boot=False):
    """Load one file. Returns 0 or launchctl's code (before it is flattened to 5)."""
    job = read(path)
    if isinstance(job, int):
        return job
    label = job["Label"]
    with State() as state:
        if state["disabled"].get(label):
            return 119
        if label in state["loaded"]:
            _drain(state, label)
            return 37
        if at_boot and label in state["btm_denied"]:
            return 161
        if os.path.basename(path) != label + ".plist":
            state["warnings"].append(f"{path}: the label is {label}")
        if job.get("KeepAlive") is True:
            state["warnings"].append(f"{path}: KeepAlive on a one-shot job respawns it every 10 seconds for ever")
        arguments = job.get("ProgramArguments") or [job["Program"]]
        state["loaded"][label] = {
            "path": path,
            "program": job.get("Program") or arguments[0],
            "arguments": arguments,
            "stdout": job.get("StandardOutPath", "/dev/null"),
            "stderr": job.get("StandardErrorPath", "/dev/null"),
            "runs": 0,
            "exit": None,
            "draining": None,
        }
    if job.get("RunAtLoad") is True or job.get("KeepAlive") is True:
        _run(label)
    return 0


def _drain(state, label):
    """A job that was booted out but still ends: one look less until it is gone. Is it still to be seen?"""
    job = state["loaded"].get(label)
    if job is None:
        return False
    if job["draining"] is not None:
        if job["draining"] == 0:
            del state["loaded"][label]
            return False
        job["draining"] -= 1
    return True


def _unload(label):
    with State() as state:
        job = state["loaded"].get(label)
        if job is None:
            return 3
        if job["draining"] is not None:
            return 36
        if state["bootout_drains"]:
            job["draining"] = state["bootout_drains"]
        else:
            del state["loaded"][label]
    return 0


def bootstrap(args):
    if args[:1] != ["system"] or len(args) < 2:
        not_modelled("launchctl bootstrap " + " ".join(args))
    for path in args[1:]:
        code = 1 if os.geteuid() else _load(path)
        if code:
            # 5 stands for nearly everything; newer systems say more. Quarantine and permission are always told.
            if not get("richer_errors") and code not in (1, 140, 155):
                code = 5
            fail(f"Bootstrap failed: {code}: {TEXTS[code]}", code)


def bootout(args):
    if not args:
        not_modelled("launchctl bootout")
    by_path = args[0] == "system"
    if os.geteuid():
        code = 1
    elif by_path:
        code = 0
        for path in args[1:]:
            job = read(path)
            code = 5 if isinstance(job, int) or _unload(job["Label"]) else code
    else:
        code = _unload(_target(args[0]))
    if code:
        fail(f"Boot-out failed: {code}: {TEXTS[code]}", code)


def print_(args):
    if args == ["system"]:
        print("system = {\n\ttype = system\n}")
        return
    domain, _, label = args[0].rpartition("/")
    with State() as state:
        job = state["loaded"].get(label) if domain == "system" and _drain(state, label) else None
    if job is None:
        where = "system" if domain == "system" else domain.replace("gui/", "user gui: ").replace("user/", "uid: ")
        fail(f'Bad request.\nCould not find service "{label}" in domain for {where}', 113)
    lines = [f"system/{label} = {{", "\tactive count = 0", f"\tpath = {job['path']}", "\ttype = LaunchDaemon"]
    lines += ["\tstate = not running", "", f"\tprogram = {job['program']}", "\targuments = {"]
    lines += [f"\t\t{a}" for a in job["arguments"]] + ["\t}", "", f"\truns = {job['runs']}"]
    if job["exit"] is None:
        lines.append("\tlast exit code = (never exited)")
    elif job["exit"] < 0:
        lines.append(f"\tlast terminating signal = {_signal_name(-job['exit'])}: {-job['exit']}")
    else:
        lines.append(f"\tlast exit code = {job['exit']}")
    print("\n".join([*lines, "}"]))


def _signal_name(number):
    return {1: "Hangup", 2: "Interrupt", 9: "Killed", 15: "Terminated"}.get(number, "Signal")


def _override(args, verb, disabled):
    label = _target(args[0])
    if os.geteuid():
        fail(f"Could not {verb} service: 1: {TEXTS[1]}", 1)
    with State() as state:
        state["disabled"][label] = disabled


def enable(args):
    _override(args, "enable", False)


def disable(args):
    _override(args, "disable", True)


def kickstart(args):
    """Runs the definition launchd has in memory, which may be older than the file."""
    label = _target(next(a for a in args if not a.startswith("-")))
    if os.geteuid():
        fail(f'Could not kickstart service "{label}": 1: {TEXTS[1]}', 1)
    if label not in get("loaded"):
        fail(f'Could not find service "{label}" in domain for system', 113)
    _run(label)


def print_disabled(args):
    if args != ["system"]:
        not_modelled("launchctl print-disabled " + " ".join(args))
    with State() as state:
        words = ("true", "false") if int(state["macos"].split(".")[0]) <= 12 else ("disabled", "enabled")
        entries = [f'\t\t"{label}" => {words[0] if off else words[1]}' for label, off in state["disabled"].items()]
    print("\n".join(["\tdisabled services = {", *entries, "\t}"]))


def list_(args):
    """As root the system domain; as a user the user's own, where no daemon is."""
    loaded = {} if os.geteuid() else get("loaded")
    if not args:
        print("PID\tStatus\tLabel")
        for label, job in loaded.items():
            print(f"-\t{job['exit'] or 0}\t{label}")
        return
    label = args[0]
    if label not in loaded:
        fail(f'Could not find service "{label}" in domain for port', 113)
    job = loaded[label]
    print('{\n\t"LimitLoadToSessionType" = "System";')
    print(f'\t"Label" = "{label}";\n\t"OnDemand" = true;\n\t"LastExitStatus" = {job["exit"] or 0};')
    print(f'\t"Program" = "{job["program"]}";\n\t"ProgramArguments" = (')
    print("".join(f'\t\t"{a}";\n' for a in job["arguments"]) + "\t);\n};")


def _legacy(args, failed, modern, act):
    """load and unload: whatever happens, they exit 0."""
    write = "-w" in args
    for path in [a for a in args if not a.startswith("-")]:
        if os.geteuid() == 0 and "/LaunchAgents" in path:
            _say(
                "Warning: Expecting a LaunchDaemons path since the command was ran as root. Got LaunchAgents instead.\n"
                f"`launchctl {modern}` is a recommended alternative."
            )
        if os.geteuid() or act(path, write):
            _say(f"{failed} failed: 5: Input/output error")
            _say(f"Try running `launchctl {modern}` as root for richer errors.")


def load(args):
    def act(path, write):
        job = read(path)
        if write and isinstance(job, dict):
            with State() as state:
                state["disabled"][job["Label"]] = False
        return _load(path)

    _legacy(args, "Load", "bootstrap", act)


def unload(args):
    def act(path, write):
        job = read(path)
        if isinstance(job, int):
            return job
        if write:
            with State() as state:
                state["disabled"][job["Label"]] = True
        return _unload(job["Label"])

    _legacy(args, "Unload", "bootout", act)


VERBS = {
    "bootstrap": bootstrap,
    "bootout": bootout,
    "print": print_,
    "enable": enable,
    "disable": disable,
    "kickstart": kickstart,
    "print-disabled": print_disabled,
    "list": list_,
    "load": load,
    "unload": unload,
}


def launchctl(args):
    if not args:
        fail("Usage: launchctl <subcommand> ... | help [subcommand]", 64)
    if args[0] == "error" and len(args) == 2:
        print(f"{args[1]}: {TEXTS.get(int(args[1]), 'unknown error code')}")
        return 0
    if args[0] not in VERBS:
        fail(f"Unrecognized subcommand: {args[0]}", 64)
    return VERBS[args[0]](args[1:])


def sfltool(args):
    """`dumpbtm`, which needs root: what System Settings > Login Items knows about each daemon's file."""
    if args != ["dumpbtm"]:
        not_modelled("sfltool " + " ".join(args))
    if os.geteuid():
        fail("sfltool: dumpbtm requires root", 1)
    denied = get("btm_denied")
    for name in sorted(os.listdir(DAEMONS)):
        label = name[: -len(".plist")]
        print(f" Identifier: {label}")
        print(f" Disposition: [enabled, {'disallowed' if label in denied else 'allowed'}, notified]")


def boot():
    """A restart as lo0 and launchd see it. Symbolic links in the daemons' folder are not followed at boot."""
    with State() as state:
        state["lo0"] = [list(LOOPBACK)]
        state["loaded"] = {}
        state["ticket"] = False
    for name in sorted(os.listdir(DAEMONS)):
        path = os.path.join(DAEMONS, name)
        if name.endswith(".plist") and not os.path.islink(path):
            _load(path, at_boot=True)
