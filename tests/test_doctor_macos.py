"""The doctor on macOS: the real program in a pretend Mac. Each fault is made, found by its name, and fixed by the fix that the
doctor prints, run as it stands."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from conftest import Render
from host import ALIAS_IP as IP
from host import LABEL
from laptop import DAEMONS, PLIST, REPO, Laptop
from needs import NIGHTLY, need_command

PORT = 3000
# netstat lists sockets in three ways: up to 15.3, from 15.4 on, from 26 on.
GENERATIONS = ["15.3.2", "15.7.1", "26.6.2"]
# What the doctor starts, in a place that comes first in PATH: whoever looks it up there gets no answer.
PROGRAMS = ("ifconfig", "launchctl", "lsof", "netstat", "ps", "route", "dscacheutil", "sudo", "uname", "sw_vers")

VITE = "node /Users/alice/my app's repo/node_modules/.bin/vite"
DOCKER = """#!/bin/sh
case $* in
'info --format {{json .}}') printf '{"ServerVersion": "29.1.2", "OperatingSystem": "Docker Desktop", "Name": "docker-desktop"}' ;;
'compose version --short') printf '2.40.3\\n' ;;
compose\\ --profile*) printf '{"name": "shop", "services": {}}' ;;
'version '*) printf '{}' ;;
'context inspect '*) printf 'unix:///Users/alice/.docker/run/docker.sock\\n' ;;
'network ls '*) printf 'bridge\\n' ;;
'network inspect bridge') printf '[{"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}}]' ;;
esac
"""

Found = dict[str, Any]


class DoctorsLaptop(Laptop):
    """A pretend Mac with a generated repo in it, whose one service is called web."""

    def __init__(self, root: Path, rendered: Render, **answers: Any) -> None:
        """Make the Mac; its sudo never asks."""
        need_command("make")
        super().__init__(root, rendered(**answers))
        self.rendered, self.answers = rendered, answers
        self.sudo = "ok"

    def doctor(self, *words: str, **options: Any) -> tuple[int, str]:
        """Run the doctor: its exit code and what it printed. It never complains elsewhere."""
        done = self.run(["python3", "-I", "-B", ".localdev/stack", "doctor", "--", *words], **{"cwd": REPO} | options)
        assert done.stderr == ""
        return done.returncode, done.stdout

    def report(self) -> list[Found]:
        """Return what the doctor found; its exit code and its numbers agree with that."""
        code, text = self.doctor("--json")
        report = json.loads(text)
        levels = [found["level"] for found in report["findings"]]
        assert (report["failures"], report["warnings"]) == (levels.count("fail"), levels.count("warn"))
        assert (code, report["ok"]) == ((1, False) if report["failures"] else (0, True))
        return report["findings"]

    def faults(self) -> dict[str, Found]:
        """Return what is not well by its id, but for the engine: this machine has none."""
        found = [one for one in self.report() if one["level"] != "ok"]
        for one in found:
            assert "\n" not in one["text"] + (one["fix"] or "")
            assert one["fix"] or one["level"] != "fail"
        by_id = {one["id"]: one for one in found}
        assert len(by_id) == len(found)
        del by_id["runtime.missing"], by_id["compose.missing"]
        return by_id

    def fault(self, *ids: str) -> Found:
        """Return the first of `ids`, which are all that is not well."""
        faults = self.faults()
        assert faults.keys() == set(ids)
        return faults[ids[0]]

    def assert_well(self) -> None:
        """Nothing is wrong, but for the engine."""
        assert self.faults() == {}

    def apply(self, fix: str) -> None:
        """Do what the doctor says, as a person does: paste it into a shell. Copier is not on this Mac, so we are it."""
        update = re.fullmatch(r'make dev-update ARGS="-d ([a-z_]+)=([^" ]+)"', fix)
        if update:
            self.put(self.rendered(**self.answers | {update[1]: update[2]}), REPO)
            fix = "make dev-alias"
        # Nobody sits at this terminal to say yes.
        done = self.sh(fix.replace("make dev-alias", "sh .localdev/host-alias up --yes"), cwd=REPO)
        assert done.returncode == 0, done.stderr

    def well(self) -> "DoctorsLaptop":
        """Bring everything up as it should be; there is no engine, though."""
        self.write(PLIST, self.path(f"{REPO}/.localdev/host-alias.plist").read_text(), owner=0)
        self.load(PLIST)
        assert self.masks[IP] == "0xffffffff"
        conf = self.path(f"{REPO}/.localdev/host-alias.conf").read_text()
        domain = conf.partition("domain=")[2].split()[0]
        self.hosts = {**self.hosts, domain: ["127.0.0.1"], f"web.{domain}": ["127.0.0.1"]}
        self.listen(PORT, IP, line=VITE, pid=4242)
        self.forget_calls()
        return self


Make = Callable[..., DoctorsLaptop]


@pytest.fixture
def laptop(rendered: Render, tmp_path: Path) -> Make:
    """Makes pretend Macs with a repo generated from the given answers."""
    made: list[DoctorsLaptop] = []

    def laptop(**answers: Any) -> DoctorsLaptop:
        made.append(DoctorsLaptop(tmp_path / f"mac{len(made)}", rendered, **answers))
        return made[-1]

    return laptop


@pytest.fixture
def mac(laptop: Make) -> DoctorsLaptop:
    """A Mac on which all is well but for the engine, which is not there."""
    return laptop().well()


def everything(mac: DoctorsLaptop) -> set[tuple[str, float]]:
    """Return all that is in the repo and in launchd's folder, files with when they were changed."""
    found = [path for folder in (REPO, DAEMONS, "/private/tmp") for path in mac.path(folder).rglob("*")]
    return {(str(path), 0 if path.is_dir() else path.stat().st_mtime) for path in found}


# ---- the whole report


def test_where_all_is_well_each_line_says_ok(laptop: Make) -> None:
    mac = laptop(web_proxy="none").well()
    mac.write("/usr/local/bin/docker", DOCKER, 0o755, owner=0)
    assert mac.doctor() == (
        0,
        "ok    runtime   Docker Desktop 29.1.2\n"
        "ok    compose   Compose 2.40.3\n"
        f"ok    alias     {IP}/32 is on lo0\n"
        f"ok    boot job  {PLIST} adds the alias at every boot\n"
        f"ok    web       Vite (node, pid 4242) listens on {IP}:3000\n"
        "\nEverything works.\n",
    )


def test_without_docker_everything_else_is_still_told(mac: DoctorsLaptop) -> None:
    code, text = mac.doctor()
    lines = text.splitlines()
    assert (code, [line[:14] for line in lines if line[:4].strip()][:-1]) == (
        1,
        ["FAIL  runtime ", "FAIL  compose ", "ok    alias   ", "ok    boot job", "ok    web     ", "ok    names   "],
    )
    assert lines[0] == "FAIL  runtime   there is no docker here"
    fix = lines[1].removeprefix("      fix       ")
    assert "Docker Desktop" in fix and lines[-1] == f"2 failures. Run first: {fix}"


def test_it_needs_no_root_and_no_path_and_changes_nothing(mac: DoctorsLaptop) -> None:
    mac.decoys(*PROGRAMS)
    mac.listen(4000, user="bob", pid=77)
    before = everything(mac), mac.masks, mac.loaded, mac.disabled
    mac.assert_well()
    assert len(mac.calls) > 5 and {user for _, _, user in mac.calls} == {501}
    assert [program for program, _, _ in mac.calls if program.startswith("/usr/local/")] == []
    assert [program for program, _, _ in mac.calls if "sudo" in program] == []
    assert (everything(mac), mac.masks, mac.loaded, mac.disabled) == before


def test_it_runs_from_any_folder(mac: DoctorsLaptop) -> None:
    expected = (*mac.doctor(), "")
    for where in ("/", f"{REPO}/.localdev"):
        done = mac.run(["python3", "-I", "-B", f"{REPO}/.localdev/stack", "doctor"], cwd=where)
        assert (done.returncode, done.stdout, done.stderr) == expected, where


def test_a_terminal_gets_colours(mac: DoctorsLaptop) -> None:
    mac.remove_alias(IP)
    plain = mac.doctor()[1]
    for env, colour in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)):
        child = mac.spawn(["python3", "-I", "-B", ".localdev/stack", "doctor"], cwd=REPO, env=env)
        child.expect(pexpect.EOF)
        seen = child.before.replace("\r\n", "\n")
        assert re.sub("\033\\[[0-9;]*m", "", seen) == plain
        parts = (f"\033[1;31mFAIL\033[0m  alias     {IP} is not on lo0\n", "\033[32mok  \033[0m  boot job")
        assert [part in seen for part in (*parts, "\033")] == [colour] * 3, env


# ---- the alias


def test_a_missing_alias_is_told_and_dev_alias_adds_it(mac: DoctorsLaptop) -> None:
    mac.remove_alias(IP)
    for other in ("10.254.254.25", "110.254.254.254", "10.25.4.254"):
        mac.add_alias(other, "255.255.255.255")
    found = mac.fault("alias.missing")
    expected = ("fail", "alias", f"{IP} is not on lo0", "make dev-alias")
    assert (found["level"], found["subject"], found["text"], found["fix"]) == expected
    mac.apply(found["fix"])
    mac.assert_well()
    assert f"ok    alias     {IP}/32 is on lo0\n" in mac.doctor()[1]


def test_the_mask_of_the_class_is_told_and_the_fix_narrows_it(mac: DoctorsLaptop) -> None:
    mac.macos = "13.7.1"
    mac.remove_alias(IP)
    mac.add_alias(IP)
    assert mac.masks[IP] == "0xff000000"
    found = mac.fault("alias.mask")
    assert found["subject"] == "alias" and f"{IP}/8 is on lo0" in found["text"]
    assert found["fix"] == f"sudo /sbin/ifconfig lo0 alias {IP} netmask 255.255.255.255"
    mac.apply(found["fix"])
    mac.assert_well()
    assert mac.masks == {"127.0.0.1": "0xff000000", IP: "0xffffffff"}


def test_an_address_of_another_interface_is_told_and_the_fix_moves_the_alias(mac: DoctorsLaptop) -> None:
    mac.add_interface_address("en0", IP)
    found = mac.fault("alias.elsewhere")
    mac.remove_alias(IP)
    assert mac.fault("alias.elsewhere", "alias.missing") == found
    assert (found["level"], found["subject"]) == ("fail", "alias") and f"{IP} belongs to en0" in found["text"]
    assert found["fix"] == 'make dev-update ARGS="-d alias_ip=10.254.254.253"'
    mac.apply(found["fix"])
    assert "10.254.254.253" in mac.addresses
    mac.fault("service.elsewhere")  # the service still listens on the old one


def test_a_route_of_a_vpn_that_covers_the_alias_is_a_warning(mac: DoctorsLaptop) -> None:
    usual = mac.routes
    for network in ("10.0.0.0/8", "10.254.128.0/17", "8.0.0.0/6"):
        mac.routes = usual
        mac.cover(network)
        found = mac.fault("alias.route")
        assert (found["level"], found["subject"]) == ("warn", "alias")
        assert f"the route {network} by utun0 (a VPN or LAN) covers {IP}" in found["text"]
    mac.apply(found["fix"])
    mac.fault("service.elsewhere")


def test_a_route_to_elsewhere_or_to_everywhere_is_no_matter(mac: DoctorsLaptop) -> None:
    for network in ("10.253.0.0/16", "10.254.254.0/25", "192.168.0.0/16", "0.0.0.0/0", "0.0.0.0/1"):
        mac.cover(network)
    mac.assert_well()


def test_with_host_gateway_no_alias_is_needed(mac: DoctorsLaptop) -> None:
    mac.remove_alias(IP)
    _, text = mac.doctor("--json", env={"LOCALDEV_HOST": "host-gateway"})
    levels = {one["id"]: one["level"] for one in json.loads(text)["findings"]}
    assert levels["alias.gateway"] == "ok" and not {id for id in levels if id.startswith("job.")}


# ---- the boot job


def test_a_boot_job_that_is_missing_or_older_is_told_and_dev_alias_puts_ours_there(mac: DoctorsLaptop) -> None:
    text = mac.path(PLIST).read_text()
    for id, words in (("job.missing", "is missing: after a reboot the alias is gone"), ("job.older", "is out of date")):
        mac.path(PLIST).unlink()
        if id == "job.older":
            mac.write(PLIST, text.replace("255.255.255.255", "255.0.0.0"), owner=0)
        found = mac.fault(id)
        assert (found["level"], found["subject"], found["fix"]) == ("fail", "boot job", "make dev-alias")
        assert found["text"].startswith(f"{PLIST} {words}")
        mac.apply(found["fix"])
        mac.assert_well()
        assert mac.path(PLIST).read_text() == text


def test_a_boot_job_switched_off_in_login_items_is_told_with_the_way_there(mac: DoctorsLaptop) -> None:
    mac.btm_denied = [LABEL]
    mac.reboot()
    found = mac.fault("job.off", "alias.missing")
    assert (found["level"], found["subject"], found["fix"]) == ("fail", "boot job", "make dev-alias")
    assert "`ifconfig`" in found["text"] and "System Settings > General > Login Items" in found["text"]
    mac.apply(found["fix"])
    mac.assert_well()


def test_a_disabled_boot_job_is_told_though_it_runs(mac: DoctorsLaptop) -> None:
    for macos in ("12.7.6", "26.6.2"):
        mac.macos = macos
        mac.disabled = {"com.example.other": True, f"{LABEL}0": True, LABEL: False}
        mac.assert_well()
        mac.disabled = {LABEL: True, "com.example.other": False}
        found = mac.fault("job.disabled")
    assert (found["level"], found["subject"]) == ("fail", "boot job") and "after a reboot the alias is gone" in found[
        "text"
    ]
    assert found["fix"] == f"sudo /bin/launchctl enable system/{LABEL}"
    mac.apply(found["fix"])
    mac.assert_well()
    mac.reboot()
    mac.assert_well()


@pytest.mark.parametrize(
    ("label", "fix", "loaded"),
    [
        (LABEL, f"sudo launchctl bootout system/{LABEL}; sudo rm {PLIST} && make dev-alias", True),
        ("org.example.alias", f'make dev-update ARGS="-d alias_label={LABEL}"', False),
    ],
)
def test_a_label_of_something_else_is_told_and_the_fix_ends_that(
    laptop: Make, label: str, fix: str, loaded: bool
) -> None:
    mac = laptop(alias_label=label)
    text = mac.path(f"{REPO}/.localdev/host-alias.plist").read_text().replace(f">{IP}<", ">10.1.2.3<")
    path = f"{DAEMONS}/{label}.plist"
    mac.write(path, text, owner=0)
    if loaded:
        mac.load(path)
    found = mac.faults()["job.conflict"]
    assert (found["level"], found["subject"], found["fix"]) == ("fail", "boot job", fix)
    assert path in found["text"] and "adds 10.1.2.3" in found["text"]
    mac.apply(found["fix"])
    assert mac.faults().keys() == {"service.none", "names.browsers-only"}


@pytest.mark.parametrize("label", ["co.cozy.add-lo0-alias-for-docker", "a-label-that-is-not-its-file-name"])
def test_another_boot_job_that_claims_the_address_is_a_warning(mac: DoctorsLaptop, label: str) -> None:
    other = f"{DAEMONS}/co.cozy.add-lo0-alias-for-docker.plist"
    mac.write(other, mac.path(PLIST).read_text().replace(LABEL, label), owner=0)
    mac.load(other)
    found = mac.fault("job.claimed")
    assert (found["level"], found["subject"]) == ("warn", "boot job")
    assert found["text"] == f"{other} adds {IP}, too; both may stay"
    mac.apply(found["fix"])
    mac.assert_well()
    assert not mac.path(other).exists()
    assert IP in mac.addresses


# ---- who listens, and where


LISTENS = "listens on all addresses, port 3000: it works, and the LAN reaches it, too"
ADDRESSES = [
    (IP, None, "service.alias", f"listens on {IP}:3000"),
    ("*", "tcp46", "service.all", LISTENS),
    ("*", "tcp4", "service.all", LISTENS),
    ("127.0.0.1", None, "service.loopback", "listens on 127.0.0.1:3000 only; containers do not reach that"),
    ("::1", None, "service.loopback6", "listens on [::1]:3000 only; containers do not reach that"),
    ("*", "tcp6", "service.ipv6", "listens on all addresses of IPv6, port 3000, but not of IPv4"),
    ("10.0.2.15", None, "service.elsewhere", "listens on 10.0.2.15:3000 only; containers do not reach that"),
]


@pytest.mark.parametrize("macos", GENERATIONS)
def test_each_address_a_service_listens_on_has_its_finding_and_fix(mac: DoctorsLaptop, macos: str) -> None:
    mac.macos = macos
    mac.listen(3001, IP)
    # By day older systems have one of each kind.
    for address, proto, id, words in ADDRESSES if NIGHTLY or macos == GENERATIONS[-1] else ADDRESSES[1::2]:
        mac.stop(PORT)
        mac.listen(PORT, address, proto=proto, pid=4242, line=VITE)
        if id == "service.alias":
            assert f"ok    web       Vite (node, pid 4242) {words}\n" in mac.doctor()[1]
            continue
        found = mac.fault(id)
        assert (found["level"], found["subject"]) == ("warn" if id == "service.all" else "fail", "web")
        assert found["text"].startswith(f"Vite (node, pid 4242) {words}")
        assert found["fix"] == f"npx vite --host {IP} --port {PORT}"
    mac.stop(PORT)
    mac.listen(PORT, IP, pid=4243, line=f"{VITE} --host {IP}")
    mac.assert_well()


@pytest.mark.parametrize("macos", GENERATIONS)
def test_another_users_process_is_named(mac: DoctorsLaptop, macos: str) -> None:
    # lsof hides its socket; netstat shows that with the process's number, and ps knows all processes.
    mac.macos = macos
    mac.stop(PORT)
    mac.listen(PORT, "127.0.0.1", user="bob", pid=4242, line=VITE)
    assert mac.sh(f"/usr/sbin/lsof -nP -iTCP:{PORT} -sTCP:LISTEN").stdout == ""
    assert mac.fault("service.loopback")["text"].startswith("Vite (node, pid 4242) listens on ")


def test_a_service_that_does_not_listen_is_told(mac: DoctorsLaptop) -> None:
    mac.stop(PORT)
    mac.listen(30000, IP)
    found = mac.fault("service.none")
    assert (found["level"], found["subject"]) == ("fail", "web")
    assert "nothing listens on port 3000" in found["text"] and f"{IP}:3000" in found["fix"]


def test_a_port_that_macos_itself_has_is_told(mac: DoctorsLaptop) -> None:
    routes = mac.path(REPO) / ".localdev/routes"
    line = "/System/Library/CoreServices/ControlCenter.app/Contents/MacOS/ControlCenter"
    for port in (5000, 7000):
        routes.write_text(f"web {port}\n")
        for proto in ("tcp4", "tcp6"):
            mac.listen(port, "*", command="ControlCenter", pid=600, line=line, proto=proto)
        found = mac.fault("service.none")
        assert (found["level"], found["subject"]) == ("fail", "web")
        assert found["text"] == f"macOS's AirPlay Receiver has port {port}; web does not listen there"
        assert found["fix"] == "give web another port in .localdev/routes, then: make dev-reload"
    routes.write_text("web 3000\n")
    mac.assert_well()
    routes.write_text(f"web {port}\n")
    mac.listen(port, IP, line=VITE)
    assert f"ok    web       Vite (node, pid 12345) listens on {IP}:{port}\n" in mac.doctor()[1]


def test_two_addresses_are_told_in_one_line(mac: DoctorsLaptop) -> None:
    mac.stop(PORT)
    mac.listen(PORT, "127.0.0.1", pid=4242, line=VITE)
    mac.listen(PORT, "::1", pid=4242, line=VITE)
    text = "Vite (node, pid 4242) listens on 127.0.0.1:3000 and [::1]:3000 only; containers do not reach that"
    assert mac.fault("service.loopback")["text"] == text
    mac.listen(PORT, IP, pid=4242, line=VITE)
    mac.assert_well()


def test_a_process_that_nobody_tells_belongs_to_another_user(mac: DoctorsLaptop) -> None:
    mac.macos = "15.3.2"
    mac.stop(PORT)
    mac.listen(PORT, "127.0.0.1", user="bob", pid=0, command="puma")
    found = mac.fault("service.loopback")
    assert found["text"].startswith("another user's process (")
    hint = found["text"].partition("(")[2].partition(" names it)")[0]
    done = mac.sh(hint, cwd=REPO)
    assert done.returncode == 0 and "puma" in done.stdout


def test_a_process_that_was_gone_when_looked_at_is_told_as_far_as_known(mac: DoctorsLaptop) -> None:
    # A name that ps does not know any more: what netstat and lsof said is all there is.
    mac.stop(PORT)
    mac.listen(PORT, "127.0.0.1", user="bob", pid=77, command="my\033[31m app", line=" ")
    found = mac.fault("service.loopback")
    assert "\033" not in found["text"] and "my" in found["text"] and "pid 77" in found["text"]


# ---- frameworks, as ps shows them on a Mac

PYTHON = "/opt/homebrew/Cellar/python@3.13/3.13.1/Frameworks/Python.framework/Versions/3.13/Resources/Python.app/Contents/MacOS/Python"


FRAMEWORKS = [
    ("node node_modules/.bin/vite --port 3000", "npm run dev", "Vite", f"npx vite --host {IP} --port 3000"),
    ("next-server (v15.1.0)", "node node_modules/.bin/next dev", "Next", f"npx next dev -H {IP} -p 3000"),
    ("puma: cluster worker 0: 4100 [my app]", "puma 6.5.0 (tcp://localhost:3000) [my app]", "Puma", None),
    (f"{PYTHON} manage.py runserver 3000", "", "Django", f"python3 manage.py runserver {IP}:3000"),
    (f"{PYTHON} -m flask --app app run -p 3000", "", "Flask", f"flask --app app run --host {IP} --port 3000"),
]


def test_the_fix_is_the_line_of_the_framework_that_listens(mac: DoctorsLaptop) -> None:
    for line, parent, name, fix in FRAMEWORKS:
        mac.processes = []
        if parent:
            mac.start(4100, parent)
        mac.stop(PORT)
        mac.listen(PORT, "127.0.0.1", pid=4242, line=line, parent=4100 if parent else 1)
        found = mac.fault("service.loopback")
        assert found["text"].startswith(f"{name} (") and "pid 4242)" in found["text"], line
        assert found["fix"] == (fix or f"bundle exec puma -b tcp://{IP}:3000")


def test_a_puma_in_a_rails_application_was_started_by_rails(mac: DoctorsLaptop) -> None:
    mac.put(mac.write("/Users/alice/rails", "#!/usr/bin/env ruby\n", 0o755), f"{REPO}/bin/rails")
    mac.stop(PORT)
    mac.listen(PORT, "127.0.0.1", command="ruby", pid=4242, line="puma 6.5.0 (tcp://localhost:3000) [my app]")
    assert mac.fault("service.loopback")["fix"] == f"bin/rails server -b {IP} -p 3000"


def test_a_long_command_line_is_read_to_its_end(mac: DoctorsLaptop) -> None:
    # ps ends lines where the screen does, unless told otherwise.
    mac.stop(PORT)
    line = f"node {'/Users/alice/a-long-way-down' * 8}/node_modules/.bin/vite --port 3000"
    mac.listen(PORT, "127.0.0.1", pid=4242, line=line)
    assert mac.fault("service.loopback")["fix"] == f"npx vite --host {IP} --port 3000"
