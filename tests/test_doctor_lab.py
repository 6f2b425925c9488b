"""The doctor on a whole Linux machine: each fault is made for real, found, and gone after the fix exactly as printed."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from box import UNITS
from conftest import Render
from host import ALIAS_IP, LABEL, retry
from lab import IMAGE, LAN_LAB, Lab, Repo
from needs import need_command

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
WEB, API, OTHER = 4401, 4402, 4403
DOMAIN = "my-app-s-repo.localhost"
UNIT = UNITS / f"{LABEL}.service"
ROUTES = f"web {WEB} /\napi {API}\n"
Finding = dict[str, Any]


class Patient:
    """A repo in the lab, and what its doctor says about it."""

    def __init__(self, lab: Lab, repo: Repo) -> None:
        self.lab, self.repo = lab, repo

    def findings(self, **more: Any) -> list[Finding]:
        return self.lab.doctor(self.repo, **more)

    def finding(self, id: str, subject: str, **more: Any) -> Finding:
        """Return the finding `id` about `subject`, which must be there once."""
        found = self.findings(**more)
        (wanted,) = [one for one in found if (one["id"], one["subject"]) == (id, subject)] or [pytest.fail(f"{found}")]
        return wanted

    def found(self, level: str, id: str, subject: str, fix: str | None, **more: Any) -> str:
        """Assert level and fix of the finding `id` about `subject`; return its text."""
        finding = self.finding(id, subject, **more)
        assert (finding["level"], finding["fix"]) == (level, fix)
        return finding["text"]

    def apply(self, fix: str) -> None:
        """Do what the doctor said, as people do: in the repo's root, in a shell."""
        self.lab.root(fix, cwd=self.repo.path)

    def ids(self, subject: str, **more: Any) -> list[str]:
        """Return the ids of the findings about `subject`."""
        return [one["id"] for one in self.findings(**more) if one["subject"] == subject]

    def container_reaches(self, port: int, address: str = "host-alias") -> bool:
        """Tell whether the proxy's container gets a connection to `port` of `address`."""
        line = f"docker compose exec -T proxy nc -w 1 {address} {port} -e /bin/true"
        return self.lab.run("sh", "-c", line, cwd=self.repo.path).returncode == 0

    def up(self) -> None:
        self.lab.make(self.repo, "dev-up")


@pytest.fixture(scope="module")
def machine(rendered: Render, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"), clean_env, rendered)
    made.root(f"printf '127.0.0.1 {DOMAIN} web.{DOMAIN} api.{DOMAIN}\\n' >>/etc/hosts")
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_patient(machine: Lab) -> Patient:
    return Patient(machine, machine.repo(native_services=f"web:{WEB} api:{API}", web_port="8197"))


@pytest.fixture
def patient(shared_patient: Patient) -> Patient:
    """The repo on a machine without any fault; each test makes one, and what it leaves behind is removed for the next."""
    patient = shared_patient
    patient.lab.root(
        'for table in $(nft list tables | awk \'$2 == "inet" && $3 == "test" { print $3 }\'); do'
        " nft delete table inet $table; done;"
        "iptables -P INPUT ACCEPT; iptables -F INPUT; [ ! -e /sys/class/net/vpn0 ] || ip link delete vpn0;"
        f"rm -rf {UNITS}/*; mkdir -p /run/systemd/system; ip -4 address flush dev lo to 10.0.0.0/8"
    )
    patient.lab.make(patient.repo, "dev-alias")
    patient.repo.write_routes(ROUTES)
    return patient


@pytest.fixture
def stack(patient: Patient) -> Iterator[Patient]:
    """The same for tests that break the stack."""
    yield patient
    patient.repo.write_routes(ROUTES)
    patient.up()
    patient.lab.make(patient.repo, "dev-reload")


@contextlib.contextmanager
def http_server(patient: Patient, command: str) -> Iterator[None]:
    """Run `command`, which is Python's own server, as people do."""
    inside = patient.lab.enter("sh", "-c", f"exec {command}", cwd=patient.repo.path)
    port = next(word for word in reversed(command.split()) if word.isdigit())
    with subprocess.Popen(
        inside, env=patient.lab.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            retry(lambda: patient.lab.root(f"ss -Hltn 'sport = :{port}' | grep -q ."))
            yield
        finally:
            patient.lab.kill(server)


# --- nothing is wrong -------------------------------------------------------------------------------------------------


def test_a_healthy_machine_is_told_so(patient: Patient) -> None:
    with patient.lab.listen(WEB, API):
        assert {(one["level"], one["id"], one["subject"]) for one in patient.findings()} == {
            ("ok", "runtime.found", "runtime"),
            ("ok", "compose.found", "compose"),
            ("ok", "alias.present", "alias"),
            ("ok", "job.ready", "boot job"),
            ("ok", "guard.present", "guard"),
            ("ok", "stack.running", "proxy"),
            ("ok", "service.alias", "web"),
            ("ok", "service.alias", "api"),
            ("ok", "route.answers", "web"),
            ("ok", "route.answers", "api"),
            ("ok", "names.resolve", "names"),
        }
        done = patient.lab.run("make", "dev-doctor", cwd=patient.repo.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n\nEverything works.\n")


def test_the_doctor_writes_nothing(patient: Patient) -> None:
    # An address of IPv6 is "tentative" until the kernel has looked for a second one of its kind (RFC 4862, 5.4).
    retry(lambda: patient.lab.root('test -z "$(ip -6 address show tentative)"'))
    look = "find . -printf '%p %T@ %s\\n' | sort; docker ps -aq; ip address; nft list ruleset | grep -v counter"
    before = patient.lab.root(look, cwd=patient.repo.path)
    patient.findings()
    assert patient.lab.root(look, cwd=patient.repo.path) == before


# --- firewalls --------------------------------------------------------------------------------------------------------

NFT_DROP = """nft 'table inet test { chain input { type filter hook input priority 0; policy drop;
    iifname lo accept; ct state established,related accept; }; }'"""
NFT_FIX = f"""sudo nft 'insert rule inet test input iifname "br-*" ip daddr {ALIAS_IP} tcp dport {{port}} accept'"""
IPTABLES = "iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT;"
IPTABLES_FIX = f"sudo iptables -I INPUT -i br-+ -d {ALIAS_IP} -p tcp --dport {{port}} -j ACCEPT"
UFW_FIX = f"sudo ufw allow in on br-+ to {ALIAS_IP} port {{port}} proto tcp"


@contextlib.contextmanager
def rules(lab: Lab, line: str) -> Iterator[None]:
    """Firewall rules, made by a line of shell."""
    lab.root(line)
    yield


@contextlib.contextmanager
def ufw(lab: Lab) -> Iterator[None]:
    """Ubuntu's firewall, switched on in the lab only: its settings are below /etc."""
    need_command("ufw")
    lab.root("ufw --force enable")
    try:
        yield
    finally:
        lab.root("ufw --force reset")


FIREWALLS = {
    "nftables that drop": (lambda lab: rules(lab, NFT_DROP), "timeout", NFT_FIX),
    "nftables that reset": (
        lambda lab: rules(lab, NFT_DROP + "; nft add rule inet test input reject with tcp reset"),
        "refused",
        NFT_FIX,
    ),
    "iptables that drop": (lambda lab: rules(lab, IPTABLES + "iptables -P INPUT DROP"), "timeout", IPTABLES_FIX),
    # The kernel forgets an ICMP answer that comes while connect() still has the socket: it looks like none for a second.
    "iptables that reject": (lambda lab: rules(lab, IPTABLES + "iptables -A INPUT -j REJECT"), "timeout", IPTABLES_FIX),
    "ufw": (ufw, "timeout", UFW_FIX),
}


def opens_one_port_only(patient: Patient, how: str, rule: str) -> None:
    """Assert that each service gets its `rule` for a firewall that is closed, and what the one for web opens."""
    lab = patient.lab
    for service, port in (("web", WEB), ("api", API)):
        text = patient.found("fail", f"route.{how}", service, rule.replace("{port}", str(port)))
        assert f"{ALIAS_IP}:{port}" in text
        assert "firewall" in text
    assert not patient.container_reaches(WEB)
    patient.apply(rule.replace("{port}", str(WEB)))
    assert patient.ids("web") == ["service.alias", "route.answers"]
    assert patient.ids("api") == ["service.alias", f"route.{how}"]
    assert patient.container_reaches(WEB)
    assert not patient.container_reaches(OTHER)
    assert not patient.container_reaches(WEB, LAN_LAB)
    assert not lab.neighbour.reaches(WEB)
    assert not lab.neighbour.reaches(WEB, LAN_LAB)


@pytest.mark.parametrize("name", FIREWALLS)
def test_the_rule_opens_a_firewall_for_one_port_of_the_alias_only(patient: Patient, name: str) -> None:
    firewall, how, rule = FIREWALLS[name]
    with patient.lab.listen(WEB, API, OTHER), patient.lab.listen(WEB, address=LAN_LAB), firewall(patient.lab):
        opens_one_port_only(patient, how, rule)


def test_firewalld_lets_containers_in_until_somebody_tells_it_not_to(patient: Patient) -> None:
    need_command("firewalld")
    lab = patient.lab
    rich = f'rule family="ipv4" source address="{{subnet}}" destination address="{ALIAS_IP}"'
    rich += ' port port="{port}" protocol="tcp" accept'
    rule = f"sudo firewall-cmd --permanent --zone=docker --add-rich-rule='{rich}' && sudo firewall-cmd --reload"
    with (
        lab.listen(WEB, API, OTHER),
        lab.listen(WEB, address=LAN_LAB),
        subprocess.Popen(
            lab.enter("firewalld", "--nofork", "--nopid"), env=lab.env, stderr=subprocess.DEVNULL
        ) as daemon,
    ):
        try:
            retry(lambda: lab.root("firewall-cmd --state"))
            lab.restart_engine()
            patient.up()
            assert patient.ids("web") == ["service.alias", "route.answers"]
            assert patient.ids("guard") == ["guard.present"]
            assert not lab.neighbour.reaches(WEB)
            lab.root("firewall-cmd --permanent --zone=docker --set-target=DROP && firewall-cmd --reload")
            network = json.loads(lab.root("docker network inspect my-app-s-repo_default"))[0]
            opens_one_port_only(patient, "timeout", rule.replace("{subnet}", network["IPAM"]["Config"][0]["Subnet"]))
        finally:
            lab.kill(daemon)
            lab.root("rm -rf /etc/firewalld/zones/*; nft delete table inet firewalld")
            lab.restart_engine()
            patient.up()


def test_who_is_not_root_gets_the_rule_for_the_firewall_in_the_settings(patient: Patient) -> None:
    lab = patient.lab
    lab.root(
        "printf 'table inet test {\\n\\tchain input {\\n\\t\\ttype filter hook input priority filter; policy drop;\\n"
        "\\t\\tiif lo accept\\n\\t\\tct state established,related accept\\n\\t}\\n}\\n' >/etc/nftables.conf;"
        "nft -f /etc/nftables.conf"
    )
    with lab.listen(WEB):
        patient.found("fail", "route.timeout", "web", NFT_FIX.replace("{port}", str(WEB)), user=True)


# --- where services listen --------------------------------------------------------------------------------------------


def test_a_service_that_is_not_started(patient: Patient) -> None:
    fix = f'start it on {ALIAS_IP}:{WEB}, in a shell after: eval "$(make -s dev-env)"'
    assert f"nothing listens on port {WEB}" in patient.found("fail", "service.none", "web", fix)
    with patient.lab.listen(WEB):
        assert patient.ids("web") == ["service.alias", "route.answers"]


BINDINGS = {
    "127.0.0.1": ("fail", "service.loopback", f"127.0.0.1:{WEB} only"),
    "127.0.0.53": ("fail", "service.loopback", f"127.0.0.53:{WEB} only"),
    "::1": ("fail", "service.loopback6", f"[::1]:{WEB} only"),
    LAN_LAB: ("fail", "service.elsewhere", f"{LAN_LAB}:{WEB} only"),
    "0.0.0.0": ("warn", "service.all", "the LAN reaches it, too"),
    "::": ("warn", "service.all", "the LAN reaches it, too"),
}


@pytest.mark.parametrize("address", BINDINGS)
def test_a_service_on_another_address_is_told_with_the_command_that_mends_it(patient: Patient, address: str) -> None:
    level, id, words = BINDINGS[address]
    with http_server(patient, f"python3 -m http.server --bind {address} {WEB}"):
        finding = patient.finding(id, "web")
        assert (finding["level"], words in finding["text"]) == (level, True), finding
        assert re.match(r"http\.server \(python3[.0-9]*, pid [0-9]+\) listens on ", finding["text"])
        assert finding["fix"] == f"python3 -m http.server --bind {ALIAS_IP} {WEB}"
        works = level == "warn"
        assert ("route.answers" in patient.ids("web")) == works
        assert patient.lab.neighbour.reaches(WEB, LAN_LAB) == (address in (LAN_LAB, "0.0.0.0", "::"))
    with http_server(patient, finding["fix"]):
        assert patient.ids("web") == ["service.alias", "route.answers"]
        assert not patient.lab.neighbour.reaches(WEB, LAN_LAB)


def test_a_service_on_ipv6_only_is_told(patient: Patient) -> None:
    with patient.lab.listen(WEB, address="::"):
        assert "not of IPv4" in patient.finding("service.ipv6", "web")["text"]
        assert patient.ids("web") == ["service.ipv6"]


def test_a_service_of_another_user_is_not_named_but_how_to_name_it(patient: Patient) -> None:
    with patient.lab.listen(WEB, address="127.0.0.1"):
        text = patient.finding("service.loopback", "web", user=True)["text"]
    hint = f"sudo /usr/bin/ss -ltnp sport = :{WEB}"
    assert hint in text
    with patient.lab.listen(WEB, address="127.0.0.1"):
        assert "python3" in patient.lab.root(hint)


@pytest.mark.parametrize("user", [False, True])
def test_a_container_that_has_a_services_port_is_told_with_its_project(patient: Patient, user: bool) -> None:
    run = f"docker run -d --rm --name taker --label com.docker.compose.project=other -p {{}}{WEB}:80 {IMAGE} httpd -f -p 80"
    for address in ("127.0.0.1:", ""):
        patient.lab.root(run.format(address))
        try:
            fix = "docker stop taker, or publish another port of it"
            text = patient.found("fail", "service.container", "web", fix, user=user)
            assert text == f"the container taker of the project other has port {WEB}, where web should listen"
            # What that container answers is not the service.
            assert patient.ids("web", user=user) == ["service.container"]
            if address:
                with patient.lab.listen(WEB):
                    assert patient.ids("web", user=user) == ["service.alias", "route.answers"]
        finally:
            patient.lab.root("docker stop -t 0 taker")


# --- the alias --------------------------------------------------------------------------------------------------------


def test_a_missing_alias_is_told_and_dev_alias_adds_it(patient: Patient) -> None:
    patient.lab.root(f"ip address delete {ALIAS_IP}/32 dev lo")
    assert patient.found("fail", "alias.missing", "alias", "make dev-alias") == f"{ALIAS_IP} is not on lo"
    patient.apply("make dev-alias")
    assert patient.ids("alias") == ["alias.present"]


@pytest.mark.parametrize("beside", [False, True])
def test_an_alias_with_a_mask_that_is_too_wide(patient: Patient, beside: bool) -> None:
    if not beside:
        patient.lab.root(f"ip address delete {ALIAS_IP}/32 dev lo")
    patient.lab.root(f"ip address add {ALIAS_IP}/8 dev lo")
    fix = f"sudo ip address delete {ALIAS_IP}/8 dev lo && make dev-alias"
    assert f"{ALIAS_IP}/8" in patient.found("fail", "alias.mask", "alias", fix)
    assert ("alias.present" in patient.ids("alias")) == beside
    patient.apply(fix)
    assert patient.ids("alias") == ["alias.present"]
    assert f"inet {ALIAS_IP}/32 scope host lo" in patient.lab.root("ip -4 address show dev lo")


def test_an_alias_that_another_interface_has(patient: Patient) -> None:
    patient.lab.root(
        f"ip address delete {ALIAS_IP}/32 dev lo; ip link add vpn0 type veth peer name vpn1; ip address add {ALIAS_IP}/24 dev vpn0"
    )
    finding = patient.finding("alias.elsewhere", "alias")
    assert (finding["level"], finding["fix"]) == ("fail", 'make dev-update ARGS="-d alias_ip=10.254.254.253"')
    assert "vpn0" in finding["text"]
    patient.lab.root("ip link delete vpn0")
    patient.apply("make dev-alias")
    assert patient.ids("alias") == ["alias.present"]


def test_a_route_that_covers_the_alias(patient: Patient) -> None:
    patient.lab.root(
        "ip link add vpn0 type veth peer name vpn1; ip link set vpn0 up; ip link set vpn1 up; ip route add 10.0.0.0/8 dev vpn0"
    )
    finding = patient.finding("alias.route", "alias")
    assert (finding["level"], "10.0.0.0/8 by vpn0" in finding["text"]) == ("warn", True), finding
    with patient.lab.listen(WEB):
        assert "route.answers" in patient.ids("web")
    patient.lab.root("ip link delete vpn0")
    assert patient.ids("alias") == ["alias.present"]


def test_a_container_network_that_covers_the_alias(patient: Patient) -> None:
    patient.lab.root("docker network create --subnet 10.254.0.0/16 other-net")
    text = patient.found("warn", "alias.network", "alias", "docker network rm other-net")
    assert "other-net, 10.254.0.0/16," in text
    patient.apply("docker network rm other-net")
    assert patient.ids("alias") == ["alias.present"]


# --- the unit that adds it at boot ------------------------------------------------------------------------------------

OTHER_UNIT = "[Service]\\nType=oneshot\\nExecStart=/sbin/ip addr add {ip}/32 dev lo\\n"
LINK = UNITS / "multi-user.target.wants" / UNIT.name
UNIT_FAULTS = {
    "job.missing": (f"rm {UNIT} {LINK}", f"{UNIT} is missing", "make dev-alias"),
    "job.older": (
        f"sed -i 's/format 3:/format 1:/' {UNIT}",
        f"{UNIT} is out of date",
        "make dev-alias",
    ),
    "job.off": (f"rm {LINK}", f"{UNIT} is not enabled", "make dev-alias"),
    "job.conflict": (
        f"printf '{OTHER_UNIT.format(ip='10.254.254.1')}' >{UNIT}",
        "10.254.254.1",
        f"sudo systemctl disable --now {UNIT.name} && sudo rm {UNIT} && make dev-alias",
    ),
}


@pytest.mark.parametrize("id", UNIT_FAULTS)
def test_a_unit_that_does_not_bring_the_alias_back(patient: Patient, id: str) -> None:
    fault, words, fix = UNIT_FAULTS[id]
    patient.lab.root(fault)
    assert words in patient.found("fail", id, "boot job", fix)
    patient.apply(fix)
    assert patient.ids("boot job") == ["job.ready"]
    assert patient.lab.root(f"cat {UNIT}") == (patient.repo.source / ".localdev/host-alias.service").read_text()
    assert patient.ids("alias") == ["alias.present"]


def test_another_unit_that_claims_the_alias(patient: Patient) -> None:
    patient.lab.root(f"printf '{OTHER_UNIT.format(ip=ALIAS_IP)}' >{UNITS}/other.service")
    fix = f"sudo systemctl disable --now other.service && sudo rm {UNITS}/other.service"
    assert f"{UNITS}/other.service adds {ALIAS_IP}, too" in patient.found("warn", "job.claimed", "boot job", fix)
    patient.apply(fix)
    assert patient.ids("boot job") == ["job.ready"]


def test_a_machine_without_systemd_is_a_warning(patient: Patient) -> None:
    # Its owner would keep the guard for the tests that follow.
    patient.lab.root(
        f"systemctl stop {UNIT.name}; rm -rf /run/systemd {UNITS}/*; make dev-alias", cwd=patient.repo.path
    )
    finding = patient.finding("job.unsupported", "boot job")
    assert (finding["level"], "systemd does not run here" in finding["text"]) == ("warn", True), finding


# --- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("systemd", [True, False], ids=["systemd", "no systemd"])
def test_a_guard_that_is_gone_is_told_and_the_fix_brings_it_back(patient: Patient, systemd: bool) -> None:
    lab = patient.lab
    # Its owner's tables go with it. A flush takes the others.
    lab.root(f"kill $(cat /run/systemd/{UNIT.name}.pid); nft delete table ip {LABEL}")
    if not systemd:
        lab.root(f"rm -rf /run/systemd {UNITS}/*")
    with lab.listen(WEB):
        assert lab.neighbour.reaches(WEB)
        fix = f"sudo systemctl restart {UNIT.name}" if systemd else "make dev-alias-down ARGS=--yes && make dev-alias"
        patient.found("warn", "guard.missing", "guard", fix)
        patient.apply(fix)
        assert patient.ids("guard") == ["guard.present"]
        assert not lab.neighbour.reaches(WEB)
        assert patient.ids("web") == ["service.alias", "route.answers"]


def test_who_is_not_root_sees_the_guard_by_its_owner(patient: Patient) -> None:
    assert "nft runs" in patient.finding("guard.present", "guard", user=True)["text"]
    show = f"sudo /usr/sbin/nft list table ip {LABEL}"
    assert "chain guard" in patient.lab.root(show)
    patient.lab.root(f"systemctl stop {UNIT.name}")
    assert "only root can see" in patient.found("warn", "guard.unknown", "guard", show, user=True)
    assert patient.lab.run("sh", "-c", show, cwd=patient.repo.path).returncode != 0
    assert "guard.missing" in patient.ids("guard")


def test_a_container_network_is_let_in_whatever_its_bridge_is_called(patient: Patient) -> None:
    lab, option = patient.lab, "com.docker.network.bridge.name"
    lab.root(f"docker network create -o {option}=mine0 odd")
    try:
        words = ("docker", "run", "--rm", "--network", "odd", "--entrypoint", "wget", IMAGE)
        with lab.listen(WEB):
            assert lab.run(*words, "-q", "-T", "2", "-O", "-", f"http://{ALIAS_IP}:{WEB}/").stdout == "hello"
    finally:
        lab.root("docker network rm odd")


# --- the stack --------------------------------------------------------------------------------------------------------


def test_a_stack_that_is_down_is_told_and_dev_up_starts_it(stack: Patient) -> None:
    stack.lab.make(stack.repo, "dev-down")
    stack.found("fail", "stack.down", "stack", "make dev-up")
    stack.apply("make dev-up")
    assert stack.ids("proxy") == ["stack.running"]


STACK_FAULTS = {
    "stopped": ("docker compose stop -t 1 proxy", "is not running (exited", "make dev-up"),
    "removed": ("docker compose rm -fs proxy && docker compose create proxy", "is not running (created", "make dev-up"),
    "paused": ("docker compose pause proxy", "is paused", "docker compose unpause proxy"),
}


@pytest.mark.parametrize("fault", STACK_FAULTS)
def test_a_proxy_that_does_not_run(stack: Patient, fault: str) -> None:
    line, words, fix = STACK_FAULTS[fault]
    stack.apply(line)
    with stack.lab.listen(WEB):
        assert words in stack.found("fail", "stack.stopped", "proxy", fix)
        stack.apply(fix)
        # The engine takes a pause for bad health, and may stay with that.
        (proxy,) = [one for one in stack.findings() if one["subject"] == "proxy"]
        if proxy["id"] == "stack.unhealthy":
            stack.apply(proxy["fix"])
        retry(lambda: stack.finding("route.answers", "web"))
        assert stack.ids("proxy") == ["stack.running"]


def test_a_container_of_the_users_that_has_done_its_work_is_fine_and_one_that_failed_is_not(stack: Patient) -> None:
    file = stack.repo.source / "compose.yaml"
    before = file.read_text()
    job = "\nservices:\n  job:\n    image: nginx:1.30-alpine\n    entrypoint: [sh, -c, 'exit {}']\n"
    try:
        for code, level, id in ((0, "ok", "stack.running"), (3, "fail", "stack.stopped")):
            file.write_text(before + job.format(code))
            stack.apply("docker compose up -d job; docker compose wait job || :")
            finding = stack.finding(id, "job")
            assert finding["level"] == level and f"{code}" in finding["text"]
    finally:
        stack.apply("docker compose rm -fs job")
        file.write_text(before)


def test_a_proxy_that_is_not_healthy(stack: Patient) -> None:
    compose = stack.repo.source / ".localdev/compose.yaml"
    before = compose.read_text()
    compose.write_text(before.replace("retries: 30", "retries: 1"))
    try:
        stack.up()
        stack.apply("kill -STOP $(pgrep -f '[n]ginx: worker')")
        status = "docker inspect -f '{{.State.Health.Status}}' my-app-s-repo-proxy-1 | grep -qx "
        retry(lambda: stack.apply(status + "unhealthy"))
        fix = "docker compose restart proxy"
        stack.found("fail", "stack.unhealthy", "proxy", fix)
        stack.apply(fix)
        retry(lambda: stack.apply(status + "healthy"))
        assert stack.ids("proxy") == ["stack.running"]
    finally:
        compose.write_text(before)


def test_containers_made_with_another_alias_are_told_and_dev_up_makes_them_anew(stack: Patient) -> None:
    files = ".localdev/host-alias.conf .localdev/host-alias.service .localdev/compose.yaml"
    change = "sed -i 's/10[.]254[.]254[.]{old}/10.254.254.{new}/g' " + files
    stack.apply(change.format(old=254, new=253))
    try:
        text = stack.found("fail", "stack.stale", "proxy", "make dev-up")
        assert ALIAS_IP in text
        assert "10.254.254.253" in text
        stack.apply("make dev-up")
        assert stack.ids("proxy") == ["stack.running"]
        with stack.lab.listen(WEB, address="10.254.254.253"):
            assert stack.ids("web") == ["service.alias", "route.answers"]
    finally:
        stack.apply(change.format(old=253, new=254))


def test_a_proxy_whose_container_has_no_way_out(stack: Patient) -> None:
    lab = stack.lab
    with lab.listen(WEB, API):
        container = json.loads(lab.root("docker inspect $(docker compose ps -q proxy)", cwd=stack.repo.path))[0]
        lab.root(f"nsenter -t {container['State']['Pid']} --net ip route delete default")
        fix = "docker compose up -d --force-recreate proxy"
        assert f"{ALIAS_IP}:{WEB}" in stack.found("fail", "route.unreachable", "web", fix)
        stack.apply(fix)
        retry(lambda: stack.found("ok", "route.answers", "web", None))


def test_a_compose_file_with_an_error(stack: Patient) -> None:
    file = stack.repo.source / "compose.yaml"
    text = file.read_text()
    try:
        file.write_text(text + "services: {web: {image: [none]}}\n")
        fix = "correct compose.yaml, then: make dev-up"
        assert "services.web.image" in stack.found("fail", "stack.invalid", "stack", fix)
        file.write_text("services: {web: {image: none}}\n")
        finding = stack.finding("stack.invalid", "stack")
        assert finding["text"].startswith("Compose does not know our proxy")
        assert finding["fix"].startswith("include: [.localdev/compose.yaml]")
    finally:
        file.write_text(text)
    assert "stack.invalid" not in stack.ids("stack")


def test_routes_that_were_not_loaded_are_told_and_dev_reload_loads_them(stack: Patient) -> None:
    stack.repo.write_routes(f"{ROUTES}new {OTHER}\n")
    with stack.lab.listen(WEB, OTHER):
        assert f"new.{DOMAIN}" in stack.found("fail", "route.stale", "new", "make dev-reload")
        assert stack.ids("web") == ["service.alias", "route.answers"]
        stack.apply("make dev-reload")
        assert stack.ids("new") == ["service.alias", "route.answers"]


def test_a_port_that_only_compose_knows(stack: Patient) -> None:
    dotenv = stack.repo.source / ".env"
    dotenv.write_text("BASE=819\nLOCALDEV_HTTP_PORT=${BASE}5\n")
    try:
        stack.up()
        with stack.lab.listen(WEB):
            assert stack.ids("web") == ["service.alias", "route.answers"]
    finally:
        dotenv.unlink()


def test_a_route_to_a_container_that_is_not_there(stack: Patient) -> None:
    compose = stack.repo.source / "compose.yaml"
    before = compose.read_text()
    compose.write_text(
        before + "\nservices:\n  admin:\n    image: nginx:1.30-alpine\n    command: [httpd, -f, -p, '80', -h, /etc]\n"
    )
    stack.repo.write_routes(f"{ROUTES}admin admin:80\n")
    stack.lab.make(stack.repo, "dev-reload")
    try:
        fix = "docker compose up -d admin"
        assert "admin" in stack.found("fail", "route.unknown-name", "admin", fix)
        stack.apply(fix)
        retry(lambda: stack.finding("route.answers", "admin"))
    finally:
        stack.apply("docker compose rm -fs admin")
        compose.write_text(before)


def test_a_route_to_a_container_that_no_file_has(stack: Patient) -> None:
    stack.repo.write_routes(f"{ROUTES}admin nobody:80\n")
    stack.lab.make(stack.repo, "dev-reload")
    text = stack.found("fail", "route.unknown-name", "admin", "correct .localdev/routes, then: make dev-reload")
    assert "nobody" in text


# --- what services answer ---------------------------------------------------------------------------------------------

HTTP_500 = r"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ANSWERS = {
    "an error": (HTTP_500, "warn", "route.error", "status 500"),
    "an end": ("", "fail", "route.closed", "ends it without an HTTP answer"),
    "no HTTP": (r"220 smtp.example.com ESMTP\r\n", "fail", "route.closed", "ends it without an HTTP answer"),
    "silence": ("silence", "warn", "route.slow", "no answer within 1 s"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_service_that_does_not_answer_well(patient: Patient, name: str) -> None:
    answer, level, id, words = ANSWERS[name]
    with patient.lab.listen(WEB, answer=answer), patient.lab.listen(API):
        finding = patient.finding(id, "web")
        assert finding["level"] == level
        assert words in finding["text"]
        assert f"{ALIAS_IP}:{WEB}" in finding["text"]
        assert patient.ids("api") == ["service.alias", "route.answers"]
    with patient.lab.listen(WEB):
        assert patient.ids("web") == ["service.alias", "route.answers"]


# --- time -------------------------------------------------------------------------------------------------------------


def test_fifty_routes_of_which_half_get_no_answer_take_less_than_two_seconds(stack: Patient) -> None:
    ports = range(4410, 4460)
    stack.repo.write_routes("".join(f"s{port} {port}\n" for port in ports))
    stack.lab.make(stack.repo, "dev-reload")
    stack.lab.root(
        "nft 'table inet test { chain input { type filter hook input priority 0;"
        f' iifname "br-*" tcp dport {{ {", ".join(str(port) for port in ports[::2])} }} drop; }}; }}\''
    )
    with stack.lab.listen(*ports):
        best = 100.0
        for _ in range(3):
            start = time.monotonic()
            found = stack.findings()
            best = min(best, time.monotonic() - start)
            ids = [one["id"] for one in found if one["subject"] in {f"s{port}" for port in ports}]
            assert {id: ids.count(id) for id in ids} == {"service.alias": 50, "route.timeout": 25, "route.answers": 25}
    print(f"50 routes, 25 without an answer: {best:.2f} s, {best / 2:.0%} of what is allowed")
    assert best < 2
