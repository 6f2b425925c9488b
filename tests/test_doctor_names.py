"""The doctor on names: what this machine's own resolver says of each host in routes. In a box whose /etc is the test's."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from box import Box, an_etc, need_box
from conftest import Render

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are missing; get them with: Linux")
PYTHON = "/usr/bin/python3"
USUAL = "127.0.0.1 localhost\n"
Findings = dict[str, dict[str, Any]]
# Takes every question and answers none, as a VPN's name server does when the VPN is gone.
SILENT = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))
    print("ready", flush=True)
    while True:
        server.recv(4096)
"""


class NamesBox(Box):
    """A box with hosts and resolv.conf of its own, and a repo with `answers`."""

    def __init__(self, repo: Path, folder: Path, env: dict[str, str]) -> None:
        super().__init__(repo, folder, env)
        self.hosts = an_etc(folder / "etc", USUAL.encode())
        (self.hosts.parent / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (self.hosts.parent / "nsswitch.conf").write_text("hosts: files dns\n")
        self.root(f"mount --bind {self.hosts.parent} /etc")

    def findings(self) -> Findings:
        """Return what the doctor finds on names, by id."""
        code, out, err = self.run(PYTHON, "-I", "-B", ".localdev/stack", "doctor", "--", "--json", cwd=self.repo)
        assert code in (0, 1), err
        return {found["id"]: found for found in json.loads(out)["findings"] if found["subject"] == "names"}

    def fix(self, command: str) -> None:
        """Run what the doctor printed, as somebody who is root already and says yes."""
        self.root(f"cd {shlex.quote(str(self.repo))} && {command} ARGS=--yes")


Make = Callable[..., NamesBox]


@pytest.fixture
def box(repo: Render, tmp_path: Path, clean_env: dict[str, str]) -> Iterator[Make]:
    """Makes the test's box, with a repo of these answers."""
    need_box()
    made: list[NamesBox] = []

    def box(**answers: str) -> NamesBox:
        made.append(NamesBox(repo(**answers), tmp_path, clean_env))
        return made[0]

    yield box
    for one in made:
        one.close()


def test_names_below_localhost_that_only_browsers_know(box: Make) -> None:
    machine = box(project_slug="shop", native_services="web:3000 api:4000")
    found = machine.findings()
    assert found.keys() == {"names.browsers-only"}
    found = found["names.browsers-only"]
    assert found["level"] == "warn"
    assert "shop.localhost, web.shop.localhost, api.shop.localhost" in found["text"]
    assert found["fix"] == "make dev-hosts"
    machine.fix(found["fix"])
    assert machine.findings().keys() == {"names.resolve"}
    # And back.
    machine.fix("make dev-hosts-down")
    assert machine.hosts.read_text() == USUAL
    assert machine.findings().keys() == {"names.browsers-only"}


def test_a_domain_that_nobody_knows_is_told_and_dev_hosts_adds_it(box: Make) -> None:
    machine = box(web_domain="shop.test", native_services="web:3000")
    found = machine.findings()["names.unresolved"]
    assert (found["level"], found["fix"]) == ("fail", "make dev-hosts")
    assert "shop.test, web.shop.test" in found["text"]
    machine.fix(found["fix"])
    assert machine.findings().keys() == {"names.resolve"}


def test_a_name_that_leads_to_another_machine(box: Make) -> None:
    machine = box(web_domain="shop.test", native_services="web:3000")
    machine.hosts.write_text(USUAL + "127.0.0.1 shop.test\n192.0.2.7 web.shop.test\n")
    found = machine.findings()
    assert found["names.elsewhere"]["level"] == "fail"
    assert "web.shop.test resolves to 192.0.2.7" in found["names.elsewhere"]["text"]
    assert found["names.elsewhere"]["fix"] == "remove web.shop.test from line 3 of /etc/hosts, then: make dev-hosts"
    assert "shop.test resolves to 127.0.0.1" in found["names.resolve"]["text"]
    machine.hosts.write_text(machine.hosts.read_text().replace("192.0.2.7 web.shop.test\n", ""))
    machine.fix("make dev-hosts")
    assert machine.findings().keys() == {"names.resolve"}


def test_a_wildcard_needs_dns_as_the_file_has_none(box: Make) -> None:
    machine = box(web_domain="shop.test", native_services="web:3000")
    (machine.source / ".localdev/routes").write_text("web 3000 *.tenant.shop.test\n")
    found = machine.findings()["names.unresolved"]
    assert "127.0.0.1 NAME.tenant.shop.test" in found["fix"]


def test_a_name_server_that_never_answers_does_not_stop_it(box: Make) -> None:
    machine = box(web_domain="shop.test", native_services=" ".join(f"s{n}:{3000 + n}" for n in range(20)))
    server = subprocess.Popen(machine.enter(PYTHON, "-c", SILENT), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        begin = time.monotonic()
        found = machine.findings()
        assert time.monotonic() - begin < 3
        assert "names.unresolved" in found
    finally:
        server.kill()
        server.wait()


# Says of every name that there is none, and prints the name.
COUNTING = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))
    print("ready", flush=True)
    while True:
        question, asker = server.recvfrom(4096)
        labels, rest = [], question[12:]
        while rest[0]:
            labels.append(rest[1 : rest[0] + 1].decode())
            rest = rest[rest[0] + 1 :]
        print(".".join(labels), flush=True)
        server.sendto(question[:2] + b"\\x81\\x83" + question[4:], asker)
"""


def test_one_name_is_asked_for_all_below_its_parent_and_etc_hosts_has_its_own(box: Make) -> None:
    names = [f"s{number}.shop.localhost" for number in range(50)]
    machine = box(project_slug="shop", native_services="web:3000")
    routes = "".join(f"s{number} {3000 + number} s{number}.\n" for number in range(50))
    (machine.source / ".localdev/routes").write_text(routes)
    machine.hosts.write_text(f"{USUAL}127.0.0.1 {names[7]}\n")
    server = subprocess.Popen(machine.enter(PYTHON, "-c", COUNTING), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        found = machine.findings()
    finally:
        server.kill()
        asked = set(server.communicate()[0].split())
    assert asked == {names[0]}
    assert found["names.resolve"]["text"] == f"{names[7]} resolves to 127.0.0.1"
    assert f"{', '.join(names[:3])} and 46 more" in found["names.browsers-only"]["text"]


def test_without_a_proxy_there_are_no_names(box: Make) -> None:
    assert box(web_proxy="none").findings() == {}
