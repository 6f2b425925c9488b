"""Who listens, where packets go, which names resolve: lsof, netstat, nc, route, dscacheutil."""

import os
import sys

from .base import State, fail, get, not_modelled, options
from .ifconfig import ALL_ONES, dotted, number


def _lo0():
    return [ip for ip, _, hidden in get("lo0") if not hidden]


def lsof(args):
    """Of sockets, a user sees only their own; root sees all. Exit 1 and silence when there is nothing to show."""
    port = form = None
    brief = False
    for word in args:
        if word.startswith("-i"):
            _, _, port = word[2:].partition(":")
            if word[2:].partition(":")[0].upper() not in ("TCP", "4TCP", "6TCP", ""):
                not_modelled(f"lsof {word}")
        elif word.startswith("-F"):
            form = word[2:] or "pcn"
        elif word.startswith("-s"):
            if word.upper() != "-STCP:LISTEN":
                not_modelled(f"lsof {word}")
        elif word.startswith("-") and not word.strip("-nPtaOw"):
            brief = brief or "t" in word
        else:
            not_modelled(f"lsof {word}")
    shown = [
        one
        for one in get("listeners")
        if (not port or str(one["port"]) in port.split(",")) and os.geteuid() in (0, one["uid"])
    ]
    if not shown:
        return 1
    rows = []
    for fd, one in enumerate(sorted(shown, key=lambda one: one["pid"]), 23):
        address = "*" if one["address"] == "*" else f"[{one['address']}]" if ":" in one["address"] else one["address"]
        kind = "IPv4" if one["proto"] == "tcp4" else "IPv6"
        rows.append((one, fd, kind, f"{address}:{one['port']}"))
    if brief:
        print("\n".join(dict.fromkeys(str(one["pid"]) for one in shown)))
    elif form:
        before = None
        for one, fd, _, name in rows:
            if one["pid"] != before:
                for letter, key in (("p", "pid"), ("c", "command"), ("L", "user")):
                    if letter in form or letter == "p":
                        print(f"{letter}{one[key]}")
            before = one["pid"]
            print(f"f{fd}" + (f"\nn{name}" if "n" in form else ""))
    else:
        print("COMMAND   PID  USER   FD   TYPE             DEVICE SIZE/OFF NODE NAME")
        for one, fd, kind, name in rows:
            command = one["command"].replace(" ", "\\x20")[:9]
            device = f"0x{0x5CEE55FAB8990C3 + fd:x}"
            owner = f"{command:<7} {one['pid']:>5} {one['user']:>5} {fd:>4}u"
            print(f"{owner} {kind:>5} {device:>18} {'0t0':>8} {'TCP':>4} {name} (LISTEN)")
    return 0


# The columns after the foreign address, in the three generations of `netstat -anv`: they begin and end in common.
BYTES = "     rxbytes      txbytes  rhiwat  shiwat"
TITLES = "options           gencnt    flags   flags1 usecnt rtncnt fltrs"
ZEROES = f"{0:>13} {0:>12}  131072  131072"
FLAGS = "00100 00000006 0000000000000a1b 00000000 00000900      1      0 000001"
NETSTAT = {
    "15.3": (
        f"(state)     rhiwat shiwat    pid   epid state  {TITLES}",
        f"{{state:<11}} 131072 131072 {{pid:>6}}      0 {FLAGS}",
    ),
    "15.4": (f"(state)     {BYTES}    pid   epid state  {TITLES}", f"{{state:<11}}{ZEROES} {{pid:>6}}      0 {FLAGS}"),
    "26": (
        f"(state)     {BYTES}          process:pid    state  {TITLES}",
        f"{{state:<11}}{ZEROES} {{process:>20}}   {FLAGS}",
    ),
}


def _generation():
    version = [int(n) for n in get("macos").split(".")]
    return "26" if version >= [26] else "15.4" if version >= [15, 4] else "15.3"


def _connections(verbose):
    rows = [
        (one["proto"], f"{one['address']}.{one['port']}", "*.*", "LISTEN", one["command"], one["pid"])
        for one in get("listeners")
    ]
    # Decoys: clients whose ports a careless pattern would take for a listener's.
    rows.append(("tcp4", "10.0.2.15.52011", "10.0.2.99.3000", "ESTABLISHED", "Safari Networking", 501))
    rows.append(("tcp4", "127.0.0.1.52012", "127.0.0.1.3001", "CLOSE_WAIT", "Safari Networking", 501))
    header, row = NETSTAT[_generation()] if verbose else ("(state)", "{state}")
    print("Active Internet connections (including servers)")
    print(f"Proto Recv-Q Send-Q  Local Address          Foreign Address        {header}")
    for proto, local, remote, state, command, pid in rows:
        tail = row.format(state=state, pid=pid, process=f"{command}:{pid}")
        print(f"{proto:<5} {0:>6} {0:>6}  {local:<22} {remote:<22} {tail}")


def _target(network):
    """A route's network as netstat writes it: no zeros at the end, and no length when it is that of its class."""
    ip, _, prefix = network.partition("/")
    if prefix == "0":
        return "default"
    size = 1 if number(ip) >> 31 == 0 else 2 if number(ip) >> 30 == 2 else 3
    octets, length = ip.split("."), f"/{prefix}" if int(prefix) != 8 * size else ""
    while len(octets) > size and octets[-1] == "0":
        octets.pop()
    return ".".join(octets) + length


def _table(family):
    with State() as state:
        rows, lo0 = list(state["routes"]), [ip for ip, _, hidden in state["lo0"] if not hidden]
    print("Routing tables\n\nInternet:")
    print("Destination        Gateway            Flags               Netif Expire")

    def row(target, gateway, flags, interface, expire=""):
        print(f"{target:<19}{gateway:<19}{flags:<22}{interface}{expire:>{10 - len(interface)}}")

    for network, interface, gateway in rows:
        row(_target(network), gateway or "link#16", "UGScg" if gateway else "UCS", interface)
    row("127", "127.0.0.1", "UCS", "lo0")
    for ip in lo0:
        row(ip, ip, "UH", "lo0")
    row("169.254", "link#7", "UCS", "en0", "!")
    if family != "inet":
        print(f"\nInternet6:\n{'Destination':<40}{'Gateway':<40}Flags               Netif Expire")
        print(f"{'::1':<40}{'::1':<40}{'UHL':<22}lo0       ")


def netstat(args):
    flags, operands = options(
        "netstat", args, "ArnavlWLsgi:f:p:I:", 1, "usage: netstat [-AaLlnW] [-f address_family | -p protocol]"
    )
    if "r" in flags and not operands:
        return _table(flags.get("f"))
    if "a" in flags and flags.get("p", "tcp") == "tcp" and not operands:
        return _connections("v" in flags)
    return not_modelled("netstat " + " ".join(args))


def _reachable(one, host):
    if one["address"] == "*":
        return one["proto"] != "tcp6" or host == "::1"
    return one["address"] == host


def nc(args):
    """`nc -z`, answered from the state's listeners. The success line is on standard error even without -v."""
    flags, operands = options(
        "nc", args, "46AcDFhklnOrtUuvzG:w:i:p:s:", 1, "usage: nc [-46AacCDdEFhklMnOortUuvz] [hostname] [port]"
    )
    if "z" not in flags or len(operands) != 2:
        not_modelled("nc " + " ".join(args))
    host, port = operands
    address = next((a for a in get("hosts").get(host, [host]) if "." in a), host)
    if address not in (*_lo0(), "::1"):
        reason = "Operation timed out"
    elif any(str(one["port"]) == port and _reachable(one, address) for one in get("listeners")):
        sys.stderr.write(f"Connection to {host} port {port} [tcp/*] succeeded!\n")
        return 0
    else:
        reason = "Connection refused"
    if "v" in flags:
        sys.stderr.write(f"nc: connectx to {host} port {port} (tcp) failed: {reason}\n")
    return 1


def _best(value):
    """The longest matching prefix among the routes."""
    best = None
    for network, interface, gateway in get("routes"):
        ip, _, prefix = network.partition("/")
        mask = ALL_ONES << (32 - int(prefix)) & ALL_ONES
        if value & mask == number(ip) & mask and (best is None or mask >= best[1]):
            best = (number(ip) & mask, mask, interface, gateway)
    return best


def route(args):
    """`route -n get ADDRESS`. 77 is EX_NOPERM, 68 EX_NOHOST. Changing routes is not modelled beyond its refusal."""
    _, operands = options("route", args, "dnqtv", 64, "usage: route [-dnqtv] command [[modifiers] args]")
    if not operands:
        fail("usage: route [-dnqtv] command [[modifiers] args]", 64)
    verb, words = operands[0], [w for w in operands[1:] if w not in ("-inet", "-host", "-net")]
    if verb != "get":
        if os.geteuid():
            fail("route: must be root to alter routing table", 77)
        not_modelled("route " + " ".join(args))
    value = 0 if words[0] == "default" else number(words[0])
    if value is None:
        fail(f"route: bad address: {words[0]}", 68)
    lines = [f"   route to: {dotted(value) if value else 'default'}"]
    if dotted(value) in _lo0():
        lines += [f"destination: {dotted(value)}", "  interface: lo0", "      flags: <UP,HOST,DONE,LOCAL>"]
        numbers = "   49152     49152         0         0         0         0     16384         0 "
    else:
        best = _best(value)
        if best is None:
            fail("route: writing to routing socket: not in table")
        network, mask, interface, gateway = best
        lines += [
            f"destination: {dotted(network) if mask else 'default'}",
            f"       mask: {dotted(mask) if mask else 'default'}",
        ]
        lines += [f"    gateway: {gateway}"] if gateway else []
        lines += [f"  interface: {interface}"]
        flags = "UP,GATEWAY,DONE,STATIC,PRCLONING,GLOBAL" if gateway else "UP,DONE,CLONING,STATIC,PRCLONING,GLOBAL"
        lines += [f"      flags: <{flags}>"]
        numbers = "       0         0         0         0         0         0      1500         0 "
    print(
        "\n".join([*lines, " recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire", numbers])
    )
    return 0


def dscacheutil(args):
    """`-q host -a name N`: IPv6 block first, empty and 0 for an unknown name."""
    if args == ["-flushcache"]:
        return 0
    if args[:4] != ["-q", "host", "-a", "name"] or len(args) != 5:
        not_modelled("dscacheutil " + " ".join(args))
    name = args[4]
    addresses = get("hosts").get(name, [])
    for label, chosen in (
        ("ipv6_address", [a for a in addresses if ":" in a]),
        ("ip_address", [a for a in addresses if ":" not in a]),
    ):
        if chosen:
            print(f"name: {name}\n" + "".join(f"{label}: {a}\n" for a in chosen))
    return 0
