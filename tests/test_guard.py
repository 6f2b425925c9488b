"""The guard of the Linux unit: whatever route a neighbour on the LAN sets, the alias is for this machine and its containers.

The machine is a box with a real `nft` and `iptables`, the neighbour a network namespace at the other end of its LAN, and a
container one behind a bridge; what listens, and what asks, are real sockets.
"""

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from box import UNITS, Box
from host import ALIAS_IP, LABEL
from lab import HELLO, SERVICE, Place
from needs import NIGHTLY, need_command

PORT, PUBLISHED = 3000, 8080
HOST, NEIGHBOUR, CONTAINER, BRIDGE = "198.51.100.1", "198.51.100.2", "172.30.0.2", "172.30.0.1"
# Ways by which the neighbour tells its packets for the alias to go to this machine.
ROUTES = {
    "via the machine": f"ip route add {ALIAS_IP} via {HOST}",
    "on the link, asking by ARP": f"ip route add {ALIAS_IP} dev lan0",
    "a network that has it": "ip route add 10.0.0.0/8 via 198.51.100.1",
    "a fixed ARP entry": (
        f"ip route add {ALIAS_IP} dev lan0;"
        f"ip neighbour add {ALIAS_IP} dev lan0 lladdr $(ip neighbour show {HOST} | awk '{{ print $5 }}')"
    ),
    "from an address of the containers' network": (
        f"ip address add 172.30.0.77/32 dev lan0; ip route add {ALIAS_IP} via {HOST} src 172.30.0.77"
    ),
}
# nft and iptables see every route, iptables by day two of them; how they are called does not change that.
FIRST, *_, LAST = ROUTES
SEEN = {"nft": [*ROUTES], "iptables": [*ROUTES] if NIGHTLY else [FIRST, LAST]}
KINDS = ["nft", "iptables", "iptables-legacy", "no systemd"]


class GuardedMachine:
    """A box on a LAN with a neighbour, with a bridge and a container behind it, and a port published on the alias."""

    def __init__(self, box: Box, env: dict[str, str]) -> None:
        self.box = box
        self.env = env
        self.container = Place(env, "ip link set lo up", "--net")
        box.root(
            f"ip link add br-12ab34cd type bridge; ip address add {BRIDGE}/24 dev br-12ab34cd; sysctl -qw net.ipv4.ip_forward=1"
        )
        # Services listen on the LAN's address before there is a neighbour.
        box.root("ip link set br-12ab34cd up; sysctl -qw net.ipv4.ip_nonlocal_bind=1")
        self.join(self.container, "veth1", "", CONTAINER)
        box.root("ip link set veth1 master br-12ab34cd")
        self.container.root(f"ip route add default via {BRIDGE}")
        # As Docker publishes a port on the alias, if somebody tells it to.
        box.root(
            "nft 'table ip docker { chain prerouting { type nat hook prerouting priority -100;"
            f" ip daddr {ALIAS_IP} tcp dport {PUBLISHED} dnat to {CONTAINER}:{PORT}; }}; }}'"
        )

    def join(self, place: Place, name: str, here: str, there: str) -> None:
        """Connect the box with `place` by a cable whose ends have the same name."""
        self.box.root(f"ip link add {name} type veth peer name {name} netns {place.pid}; ip link set {name} up")
        if here:
            self.box.root(f"ip address add {here}/24 dev {name}")
        place.root(f"ip address add {there}/24 dev {name}; ip link set {name} up")

    @contextlib.contextmanager
    def neighbour(self, line: str) -> Iterator[Place]:
        """A neighbour on the LAN, who runs a line of shell to route the alias to here."""
        neighbour = Place(self.env, "ip link set lo up", "--net")
        try:
            self.join(neighbour, "lan0", HOST, NEIGHBOUR)
            assert neighbour.run("busybox", "ping", "-c", "1", "-W", "3", HOST).returncode == 0
            neighbour.root(line)
            yield neighbour
        finally:
            self.box.root("ip link delete lan0")
            neighbour.close()

    def reaches(self, port: int, address: str = ALIAS_IP) -> bool:
        """Tell whether the machine itself gets an answer."""
        probe = f"import socket; socket.create_connection(({address!r}, {port}), 1).close()"
        return self.box.run(sys.executable, "-c", probe)[0] == 0

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Run a service that listens on the alias, one on the LAN's address, and one in the container."""
        places = (
            self.box.enter(sys.executable, "-c", SERVICE, ALIAS_IP, HELLO, str(PORT)),
            self.box.enter(sys.executable, "-c", SERVICE, HOST, HELLO, str(PORT)),
            self.container.enter(sys.executable, "-c", SERVICE, CONTAINER, HELLO, str(PORT)),
        )
        with contextlib.ExitStack() as stack:
            for words in places:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                stack.callback(process.wait)
                stack.callback(process.kill)
                assert process.stdout
                stack.enter_context(process.stdout)
                assert process.stdout.readline() == "ready\n"
            yield


def prepare(box: Box, kind: str) -> None:
    """Make the box a machine of that kind."""
    if kind == "no systemd":
        box.mount_commands()
    else:
        box.fake_systemd()
    if kind.startswith("iptables"):
        # A device is no file that can be executed; the tests' own nft is called by another path.
        box.root('cp -L /usr/sbin/nft /mnt/nft; mount --bind /dev/null "$(readlink -f /usr/sbin/nft)"')
    if kind == "iptables-legacy":
        box.root(
            "for name in iptables iptables-restore; do"
            ' mount --bind /usr/sbin/xtables-legacy-multi "$(readlink -f /usr/sbin/$name)" || exit; done'
        )


@pytest.fixture
def box(box: Box) -> Box:
    """A box on a machine with every kind of firewall."""
    for command, package in (("nft", "nftables"), ("iptables-legacy", "iptables"), ("busybox", "busybox")):
        need_command(command, package)
    return box


@pytest.fixture
def machine(box: Box, clean_env: dict[str, str]) -> Iterator[GuardedMachine]:
    made = GuardedMachine(box, clean_env)
    yield made
    made.container.close()


def rules(box: Box) -> list[str]:
    """Return the lines of the firewall that are the guard's, sorted."""
    nft = "if test -x /mnt/nft; then nft=/mnt/nft; else nft=nft; fi"
    lines = box.root(f"{nft}; $nft list ruleset; iptables-legacy-save").splitlines()
    return sorted(line for line in lines if "host-alias" in line or "chain guard" in line)


def reached(neighbour: Place) -> tuple[bool, ...]:
    """Tell what answers the neighbour, asked all at once: the alias's two ports, a ping of it, and the LAN's address."""
    ping = ("busybox", "ping", "-c", "1", "-W", "1", ALIAS_IP)
    with ThreadPoolExecutor() as pool:
        ports = [pool.submit(neighbour.reaches, *to) for to in ((PORT,), (PUBLISHED,), (PORT, HOST))]
        code = neighbour.run(*ping).returncode
    assert code in (0, 1)
    return ports[0].result(), ports[1].result(), code == 0, ports[2].result()


@pytest.mark.parametrize("kind", KINDS)
def test_no_route_of_a_neighbour_leads_to_the_alias(machine: GuardedMachine, kind: str) -> None:
    box = machine.box
    prepare(box, kind)
    routes = {name: ROUTES[name] for name in SEEN.get(kind, [FIRST])}
    # Without the guard each way leads there: that is what it is for.
    box.root(f"ip address add {ALIAS_IP}/32 dev lo")
    with machine.listen():
        ways = {}
        for name, line in routes.items():
            with machine.neighbour(line) as neighbour:
                ways[name] = reached(neighbour)[:2]
        # What claims to come from a container is answered to the bridge.
        assert ways == {name: (False, False) if name.startswith("from") else (True, True) for name in routes}
    box.root(f"ip address delete {ALIAS_IP}/32 dev lo")

    code, out, err = box("up")
    assert (code, out) == (0, ""), err
    assert rules(box)
    with machine.listen():
        for name, line in routes.items():
            with machine.neighbour(line) as neighbour:
                # What listens on the LAN is none of the guard's business.
                assert (name, *reached(neighbour)) == (name, False, False, False, True)
        assert machine.reaches(PORT)
        assert machine.container.reaches(PORT)
    assert box("up") == (0, "", "")

    assert box("down", "--yes")[0] == 0
    assert rules(box) == []
    box.root(f"ip address add {ALIAS_IP}/32 dev lo")
    with machine.listen(), machine.neighbour(ROUTES["via the machine"]) as neighbour:
        assert neighbour.reaches(PORT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_start_leaves_one_guard(box: Box, kind: str) -> None:
    prepare(box, kind)
    assert box("up")[0] == 0
    once = rules(box)
    box.root(f"ip address delete {ALIAS_IP}/32 dev lo")
    assert box("up")[0] == 0
    assert rules(box) == once != []


def test_two_labels_for_one_address_have_a_guard_each(box: Box) -> None:
    """So the end of one does not open the address that the other one still adds."""
    box.fake_systemd()
    assert box("up")[0] == 0
    for name in ("host-alias.conf", "host-alias.service"):
        file = box.source / ".localdev" / name
        file.write_text(file.read_text().replace(LABEL, "com.example.other"))
    assert box("up")[0] == 0

    def labels() -> set[str]:
        return set(re.findall(r"table ip (\S+)[.]own ", box.root("nft list ruleset")))

    assert labels() == {LABEL, "com.example.other"}
    box.root(f"systemctl disable --now {LABEL}.service; rm {UNITS}/{LABEL}.service")
    assert labels() == {"com.example.other"}
    assert box("check") == (0, "", "")


def test_without_nft_and_iptables_the_address_comes_and_the_lack_is_said(box: Box) -> None:
    box.fake_systemd()
    for name in ("nft", "iptables"):
        box.root(f'mount --bind /dev/null "$(readlink -f /usr/sbin/{name})"')
    code, out, err = box("up")
    assert (code, out) == (0, "")
    assert "warning: without nftables or iptables, a neighbour on the LAN who sets a route" in err
    assert "no guard against the LAN: neither nft nor iptables is here\n" in err
    assert box("check") == (0, "", "")


def test_a_guard_that_cannot_be_set_up_is_a_failure_and_no_address_is_left_without(box: Box) -> None:
    nft = box.commands.parent / "nft"
    nft.write_text("#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\nexit 1\n")
    nft.chmod(0o755)
    box.fake_systemd()
    box.root(f"mount --bind {shlex.quote(str(nft))} /usr/sbin/nft")
    code, out, err = box("up")
    assert (code, out) == (1, "")
    assert "Could not process rule" in err
    assert err.endswith(f"Now: {ALIAS_IP} is missing, its boot job is installed, not loaded\n")
    assert box.addresses() == []
