"""uname(1) and sw_vers(1)."""

from .base import get, options

BUILDS = {"26.6.2": "25G83", "15.7.1": "24G231", "15.3.2": "24D81", "14.7.1": "23H222", "13.7.1": "22H221"}


def _release():
    """Darwin's version: one less than macOS's since 26, nine more before (25.6.0 is macOS 26.6)."""
    numbers = [int(n) for n in get("macos").split(".")] + [0, 0]
    return f"{numbers[0] - 1 if numbers[0] >= 26 else numbers[0] + 9}.{numbers[1]}.0"


def uname(args):
    wanted, _ = options("uname", args, "amnoprsv", 1, "usage: uname [-amnoprsv]")
    version = f"Darwin Kernel Version {_release()}: root:xnu/RELEASE_ARM64_T6000"
    fields = {"s": "Darwin", "n": "mac.local", "r": _release(), "v": version, "m": "arm64", "p": "arm"}
    shown = "snrvm" if "a" in wanted else [k for k in fields if k in wanted] or "s"
    print(" ".join(fields[k] for k in shown))


def sw_vers(args):
    version = get("macos")
    values = {"ProductName": "macOS", "ProductVersion": version, "BuildVersion": BUILDS.get(version, "99A999")}
    if args:
        print(values[{n.lower(): n for n in values}[args[0].lstrip("-").lower()]])
        return
    for name, value in values.items():
        print(f"{name}:\t\t{value}")
