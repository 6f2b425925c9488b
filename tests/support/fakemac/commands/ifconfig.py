"""ifconfig(8) of macOS (network_cmds), as far as IPv4 addresses of lo0 go, and the listing of a few interfaces."""

import os
import sys

from .base import LOOPBACK, State, fail, not_modelled

ALL_ONES = 0xFFFFFFFF

HEADERS = {
    "lo0": "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 16384",
    "gif0": "gif0: flags=8010<POINTOPOINT,MULTICAST> mtu 1280",
    "stf0": "stf0: flags=0<> mtu 1280",
    "en0": "en0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500",
    "utun0": "utun0: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1380",
}
OPTIONS = {
    "lo0": "options=1203<RXCSUM,TXCSUM,TXSTATUS,SW_TIMESTAMP>",
    "en0": "options=6460<TSO4,TSO6,CHANNEL_IO,PARTIAL_CSUM,ZEROINVERT_CSUM>",
}
# inet6 lines always end with a space
INET6 = {
    "lo0": ["::1 prefixlen 128 ", "fe80::1%lo0 prefixlen 64 scopeid 0x1 "],
    "en0": ["fe80::1cd4:7a1f:9c2e:42a3%en0 prefixlen 64 secured scopeid 0xe "],
    "utun0": ["fe80::ce81:b1c:bd2c:69e%utun0 prefixlen 64 scopeid 0xf "],
}


def number(ip):
    """inet_aton(3), or None. Takes shorthand and octal too: 169.254 is 169.0.0.254, and 010.0.0.1 is 8.0.0.1."""
    parts = []
    for part in ip.split("."):
        try:
            base = 16 if part[:2] in ("0x", "0X") else 8 if part[:1] == "0" else 10
            parts.append(int(part, base) if part.isalnum() else -1)
        except ValueError:
            return None
    if len(parts) > 4 or any(not 0 <= p <= 255 for p in parts[:-1]):
        return None
    room = 8 * (5 - len(parts))
    if not 0 <= parts[-1] < 1 << room:
        return None
    return sum(p << (24 - 8 * i) for i, p in enumerate(parts[:-1])) + parts[-1]


def dotted(value):
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def classful(value):
    """The mask an address gets when none is given."""
    first = value >> 24
    return 0xFF000000 if first < 128 else 0xFFFF0000 if first < 192 else 0xFFFFFF00


def _inet_line(interface, ip, peer, mask, space):
    line = f"\tinet {ip}" + (f" --> {peer}" if peer else "") + f" netmask 0x{mask:x}"
    if interface != "lo0" and not peer:
        line += f" broadcast {dotted(number(ip) | ~mask & ALL_ONES)}"
    return line + space


def _show(state, interface, family):
    # Up to macOS 13 inet lines end with a space, from 14 on they do not.
    space = " " if int(state["macos"].split(".")[0]) <= 13 else ""
    inet = [_inet_line(i, ip, peer, mask, space) for i, ip, peer, mask in state["interfaces"] if i == interface]
    if interface == "lo0":
        inet += [_inet_line("lo0", ip, None, mask, space) for ip, mask, hidden in state["lo0"] if not hidden]
        for address in state["lo0"]:
            address[2] = max(0, address[2] - 1)
    inet6 = [f"\tinet6 {a}" for a in INET6.get(interface, [])]
    out = [HEADERS[interface]]
    if interface in OPTIONS:
        out.append("\t" + OPTIONS[interface])
    if interface == "en0" and not family:
        out.append("\tether 3e:22:fb:00:00:01")
    if family == "inet":
        out += inet
    elif family == "inet6":
        out += inet6
    elif interface == "lo0":  # 127.0.0.1 is older than the IPv6 addresses, aliases are younger
        first = [line for line in inet if line.split()[1] == LOOPBACK[0]]
        out += first + inet6 + [line for line in inet if line not in first]
    else:
        out += inet6 + inet
    if not family and interface in INET6:
        out.append("\tnd6 options=201<PERFORMNUD,DAD>")
    if interface == "en0" and not family:
        out += ["\tmedia: autoselect", "\tstatus: active"]
    print("\n".join(out))


def _error(call, reason):
    fail(f"ifconfig: ioctl ({call}): {reason}")


def _parse(text, with_prefix):
    """An address operand. For a delete the `/` is not parsed, so A/32 is simply a bad value there."""
    ip, slash, prefix = text.partition("/") if with_prefix else (text, "", "")
    value = number(ip)
    if value is None or (slash and not (prefix.isdigit() and int(prefix) <= 32)):
        # The real one asks the DNS about `foo` first, and may hang.
        fail(f"ifconfig: {text}: bad value")
    return value, (ALL_ONES << (32 - int(prefix)) & ALL_ONES if slash else None)


def _delete(state, value, lenient):
    """SIOCDIFADDR. Without an address the kernel removes the interface's first one."""
    if os.geteuid() or state["lo0_denied"]:
        _error("SIOCDIFADDR", "permission denied")
    addresses = state["lo0"]
    chosen = [a for a in addresses if a[0] == dotted(value)] if value is not None else addresses[:1]
    if chosen:
        addresses.remove(chosen[0])
    elif not lenient:
        _error("SIOCDIFADDR", "Can't assign requested address")


def _add(state, value, mask):
    """SIOCAIFADDR. Adding what is there succeeds, and changes its mask only when one is given."""
    if os.geteuid() or state["lo0_denied"]:
        _error("SIOCAIFADDR", "permission denied")
    if value in (0, ALL_ONES) or value >> 28 == 14:
        _error("SIOCAIFADDR", "Invalid argument")
    if state["alias_vanishes"]:
        return
    for address in state["lo0"]:
        if address[0] == dotted(value):
            address[1] = mask if mask is not None else address[1]
            return
    # launchd names the job in XPC_SERVICE_NAME: only what a job adds comes late.
    late = state["alias_late"] if "XPC_SERVICE_NAME" in os.environ else 0
    state["lo0"].append([dotted(value), classful(value) if mask is None else mask, late])


def _change(state, words):
    """The parameters in order. `alias` and `-alias` only set a mode; an address after them is its own parameter."""
    alias, clear, add, address, gone, mask = 0, False, False, None, None, None
    words = list(words)
    while words:
        word = words.pop(0)
        if word in ("alias", "add", "-alias", "delete", "remove"):
            alias = 1 if word in ("alias", "add") else -1
            clear = alias < 0
            add = add and not clear
        elif word in ("up", "down"):
            if os.geteuid() or state["lo0_denied"]:
                fail(f"ifconfig: {word}: permission denied")
        elif word in ("netmask", "broadcast", "mtu", "metric"):
            if not words:
                fail(f"ifconfig: '{word}' requires argument")
            value = words.pop(0)
            if word == "netmask":
                mask = _parse(value, False)[0]
        elif alias < 0:
            gone = _parse(word, False)[0]
        elif address is None:
            address, prefix = _parse(word, True)
            mask = prefix if prefix is not None else mask
            add, clear = True, alias == 0
        else:
            _parse(word, False)  # a second address is the destination, which lo0 does not use
    if clear:
        _delete(state, gone, lenient=alias == 0)
    if add:
        _add(state, address, mask)


def ifconfig(args):
    args = list(args)
    with State() as state:
        if args[:1] == ["-l"]:
            print(" ".join(HEADERS))
            return
        if args[:1] == ["-a"]:
            args.pop(0)
            interfaces = list(HEADERS)
        elif not args:
            interfaces = list(HEADERS)
        elif args[0].startswith("-"):
            not_modelled("ifconfig " + " ".join(args))
        else:
            interfaces = [args.pop(0)]
            if interfaces[0] not in HEADERS:
                fail(f"ifconfig: interface {interfaces[0]} does not exist")
        family = args.pop(0) if args[:1] and args[0] in ("inet", "inet6") else None
        if not args:
            for interface in interfaces:
                _show(state, interface, family)
        elif interfaces != ["lo0"] or family == "inet6":
            not_modelled("ifconfig " + " ".join(sys.argv[1:]))
        else:
            _change(state, args)
