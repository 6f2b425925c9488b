"""host-alias on Linux: with the real `ip` in a network of its own, and with a real systemd in a container.

Each test of the first half has a box: a network and mount namespace in which this machine's lo, units and sudo are not seen.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from box import SUDO_ASKS, SUDO_OPEN, SYSTEMCTL, UNITS, Box, finish, on_terminal
from conftest import Render, Run
from host import ALIAS_IP as IP
from host import LABEL
from needs import NIGHTLY, linux_only, need, need_command
from systemd import IMAGE, Booted, booted_machine

UNIT = f"{UNITS}/{LABEL}.service"
OTHER_UNIT = "[Service]\nType=oneshot\nExecStart=/sbin/ip addr add {ip}/32 dev lo\n"
pytestmark = linux_only


@pytest.fixture
def plain(box: Box) -> Box:
    """A box without systemd and sudo."""
    box.mount_commands()
    return box


SET = [(IP, 32, "host")]
GIVES = (
    "host-alias: this gives lo one more address, by which containers reach the services of this machine; "
    "a guard keeps the LAN from it.\n"
)


def answer(box: Box, ip: str, label: str = "a.b") -> None:
    """Give the box's repo another address and label, as an update with these answers does."""
    for name in ("host-alias.conf", "host-alias.service"):
        file = box.source / ".localdev" / name
        file.write_text(file.read_text().replace(LABEL, label).replace(IP, ip))


def test_from_a_fresh_machine_to_the_address_and_back(plain: Box) -> None:
    code, out, err = plain("check")
    assert (code, out, err) == (3, "", f"host-alias: {IP} is not on lo. Run: make dev-alias\n")
    code, out, err = plain("up")
    assert (code, out) == (0, "")
    assert err == (
        f"host-alias: {IP} is not on lo.\n{GIVES}"
        "host-alias: it will be gone after a reboot: systemd does not run here.\n"
        "host-alias: this needs root, for these commands:\n"
        f"  the guard, by nft or iptables\n  /sbin/ip address replace {IP}/32 dev lo scope host\n"
        "host-alias: later runs ask for nothing, and make dev-alias-down takes all of it away again. "
        "All that root runs: sh .localdev/host-alias up --dry-run\n"
        f"host-alias: {IP} is on lo. It will not survive a reboot: systemd does not run here.\n"
    )
    assert plain.addresses() == SET
    assert plain("up") == (0, "", "")
    assert plain("check") == (0, "", "")
    assert plain("plan") == (0, "", "")
    assert plain("status") == (
        0,
        f"address  {IP}  present on lo\njob      {UNIT}  not possible here: systemd does not run here\n",
        "",
    )
    code, out, err = plain("down", "--yes")
    assert (code, out) == (0, "")
    assert err.endswith(f"host-alias: {IP} and its boot job are gone.\n")
    assert plain.addresses() == []
    code, out, err = plain("down", "--yes")
    assert (code, out) == (0, "")
    assert err == f"host-alias: nothing to remove: {IP} is not on lo and nothing adds it at boot.\n"
    assert plain("check")[0] == 3
    assert plain.units() == []


def test_status_of_a_fresh_machine_says_what_is_next(plain: Box) -> None:
    code, out, err = plain("status", user=True)
    assert (code, err) == (3, "")
    assert out.splitlines()[0] == f"address  {IP}  missing on lo"
    assert out.splitlines()[-1] == "next     make dev-alias"


@pytest.mark.parametrize("prefix", [8, 24, 32])
def test_an_address_that_only_looks_alike_is_not_ours_and_stays(plain: Box, prefix: int) -> None:
    others = ["10.254.254.25", "110.254.254.254", "10.254.254.2", "10.254.25.254", "10.25.254.254"]
    for other in others:
        plain.root(f"ip address add {other}/{prefix} dev lo")
    assert plain("check")[0] == 3
    assert plain("up")[0] == 0
    assert {a[0] for a in plain.addresses()} == {IP, *others}
    assert plain("down", "--yes")[0] == 0
    assert {a[0] for a in plain.addresses()} == set(others)


@pytest.mark.parametrize("wanted", ["10.254.254.25", "10.254.254.2", "110.254.254.254"])
def test_the_address_is_no_pattern_and_no_part_of_a_longer_one(plain: Box, wanted: str) -> None:
    answer(plain, wanted)
    plain.root(f"ip address add {IP}/32 dev lo; ip address add 10.254.254.250/32 dev lo")
    assert plain("check")[0] == 3
    assert plain("up")[0] == 0
    assert plain("check")[0] == 0
    assert plain("down", "--yes")[0] == 0
    assert {a[0] for a in plain.addresses()} == {IP, "10.254.254.250"}


def test_a_dot_in_the_address_matches_only_a_dot(plain: Box) -> None:
    answer(plain, "10.2.3.4")
    plain.root("ip address add 10.213.4.1/32 dev lo; ip address add 10.2.3.41/32 dev lo")
    assert plain("check")[0] == 3


def test_an_address_with_another_prefix_length_counts_and_can_be_removed(plain: Box) -> None:
    plain.root(f"ip address add {IP}/24 dev lo")
    assert plain("up") == (0, "", "")
    assert plain("down", "--yes")[0] == 0
    assert plain.addresses() == []


def test_the_address_on_another_interface_is_refused_and_named(plain: Box) -> None:
    plain.root(f"ip link add neighbour type veth peer name peer; ip address add {IP}/24 dev neighbour")
    for verb in ("up", "plan"):
        code, out, err = plain(verb)
        assert (code, out) == (1, "")
        assert err == f"host-alias: {IP} already belongs to neighbour. Choose another address: make dev-update\n"
    assert plain.addresses() == []
    code, out, _ = plain("status")
    assert code == 3
    assert f"also     neighbour  has {IP}\n" in out


def test_a_similar_address_on_another_interface_is_nobodys_business(plain: Box) -> None:
    plain.root("ip link add neighbour type veth peer name peer; ip address add 10.254.254.25/24 dev neighbour")
    assert plain("up")[0] == 0
    assert plain.addresses() == SET


def test_a_longer_address_on_another_interface_is_nobodys_business(plain: Box) -> None:
    answer(plain, "10.254.254.25")
    plain.root(f"ip link add neighbour type veth peer name peer; ip address add {IP}/24 dev neighbour")
    assert plain("up")[0] == 0
    assert plain.addresses() == [("10.254.254.25", 32, "host")]


@pytest.mark.parametrize("network", ["10.0.0.0/8", "10.254.254.254/32", "0.0.0.0/1"])
def test_a_route_that_covers_the_address_is_a_warning(plain: Box, network: str) -> None:
    plain.root(
        "ip link add vpn0 type veth peer name peer; ip link set vpn0 up; ip link set peer up;"
        f"ip address add 192.0.2.1/24 dev vpn0; ip route add {network} dev vpn0"
    )
    code, out, err = plain("up")
    assert (code, out) == (0, "")
    assert f"host-alias: warning: vpn0 routes {IP} elsewhere" in err
    assert plain.addresses() == SET
    assert f"local {IP} dev lo" in plain.root(f"ip route get {IP}")


@pytest.mark.parametrize("network", ["default", "10.0.0.0/9", "11.0.0.0/8"])
def test_the_default_route_and_routes_elsewhere_are_no_warning(plain: Box, network: str) -> None:
    plain.root(
        "ip link add eth9 type veth peer name peer; ip link set eth9 up; ip link set peer up;"
        f"ip address add 192.0.2.1/24 dev eth9; ip route add {network} dev eth9"
    )
    code, _, err = plain("up")
    assert code == 0
    assert "warning" not in err


LINKS = {
    "an absolute path": ("/", "{repo}/.localdev/host-alias"),
    "a relative path": ("{repo}", ".localdev/host-alias"),
    "a relative path with ..": ("{repo}/.localdev/alias", "../../.localdev/host-alias"),
    "its own folder": ("{repo}/.localdev", "./host-alias"),
    "sh and a bare name": ("{repo}/.localdev", "sh host-alias"),
    "sh and a path": ("/tmp", "sh {repo}/.localdev/host-alias"),
    "PATH": ("/", "env PATH={repo}/.localdev:/usr/bin:/bin host-alias"),
    "a link": ("/", "/mnt/bin/absolute"),
    "a relative link": ("/", "/mnt/bin/relative"),
    "a chain of links": ("/mnt/bin", "./chain"),
    "a linked folder": ("/mnt", "folder/host-alias"),
    "a relative link in a linked folder": ("/", "/mnt/linkedbin/relative"),
    "a link that PATH finds": ("/tmp", "env PATH=/mnt/linkedbin:/usr/bin:/bin chain"),
    "sh and a link by its bare name": ("/mnt/bin", "sh chain"),
    "a link whose name begins with a hyphen": ("/mnt/bin", "./-n"),
    "CDPATH": ("/mnt/bin", "env CDPATH=/tmp:/mnt sh relative"),
}


def test_it_finds_its_files_from_everywhere(plain: Box) -> None:
    repo = shlex.quote(str(plain.repo))
    plain.root(
        f"mkdir /mnt/bin; cd /mnt/bin; ln -s {repo}/.localdev/host-alias absolute;"
        f"ln -s ../{shlex.quote(plain.repo.name)}/.localdev/host-alias relative; ln -s /mnt/bin/middle chain;"
        "ln -s relative middle; ln -s ./chain ./-n; ln -s bin ../linkedbin;"
        f"ln -s {repo}/.localdev ../folder"
    )
    for verb, expected in (("check", 3), ("up", 0), ("check", 0)):
        for name, (folder, line) in LINKS.items():
            done = plain.run("sh", "-c", f"{line.format(repo=repo)} {verb}", cwd=folder.format(repo=plain.repo))
            assert done[:2] == (expected, ""), (name, verb, done)
    assert plain.addresses() == SET


ENVIRONMENTS = {
    "a Turkish locale": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    "a German locale": {"LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"},
    "a locale by category": {"LC_CTYPE": "tr_TR.UTF-8", "LC_COLLATE": "de_DE.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"},
    "NO_COLOR": {"NO_COLOR": "1"},
    "CI": {"CI": "true"},
    "IFS": {"IFS": "0123456789./=al "},
    "strange words for the shell": {
        "CDPATH": "/",
        "ENV": "/mnt/none",
        "PS4": "$(touch /mnt/canary)",
        "POSIXLY_CORRECT": "1",
    },
    "names of the script's variables": dict.fromkeys(
        (
            *("address", "job", "claimed", "claimant", "elsewhere", "route", "label", "ip", "localdev", "self", "link"),
            *(
                "loopback",
                "ours",
                "folder",
                "installed",
                "wanted",
                "text",
                "format",
                "wanted_format",
                "script",
                "code",
            ),
            *("ask", "verb", "dry_run", "argument", "conf", "seen", "number", "line", "key", "value", "rest", "octet"),
            *("newline", "cleanup", "adds", "word", "file", "on_lo"),
        ),
        "$(touch /mnt/canary)",
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_changes_nothing(plain: Box, name: str) -> None:
    env = ENVIRONMENTS[name]
    assert plain("check", env=env) == (3, "", f"host-alias: {IP} is not on lo. Run: make dev-alias\n")
    code, out, err = plain("up", env=env)
    assert (code, out) == (0, "")
    assert err.count("\n") == 8
    assert plain.addresses() == SET
    assert plain("up", env=env) == (0, "", "")
    assert plain("down", "--yes", env=env)[0] == 0
    assert plain.addresses() == []
    assert "canary" not in plain.root("ls /mnt")


def test_it_works_with_no_environment_at_all(plain: Box) -> None:
    code, out, err = plain.run("env", "-i", plain.script, "up")
    assert (code, out) == (0, ""), err
    assert plain.addresses() == SET


@pytest.mark.parametrize(
    "shell",
    ["dash", "bash", "bash --posix", "busybox ash", "mksh", "zsh --emulate sh"],
    ids=lambda s: s.replace(" ", "_"),
)
def test_every_shell_does_the_same(box: Box, shell: str) -> None:
    need_command(shell.split()[0])
    box.fake_systemd()
    results = [
        box.run(*shell.split(), box.script, *verb.split())
        for verb in ("check", "up", "up", "check", "down --yes", "status")
    ]
    assert [code for code, _, _ in results] == [3, 0, 0, 0, 0, 3], results
    assert results[2] == (0, "", "")
    assert box.units() == []
    assert box.addresses() == []


# --- who becomes root, and when ---------------------------------------------------------------------------------------


def assert_shown(text: str) -> None:
    """Raise unless a person saw what root does on this machine, in a few rows, before anything happened."""
    lines = text.splitlines()
    assert "host-alias: this needs root, for these commands:" in lines
    assert f"  /sbin/ip address replace {IP}/32 dev lo scope host" in lines
    assert 3 <= len([line for line in lines if line.startswith("host-alias: ")]) <= 6 and len(lines) <= 12


def test_without_sudo_the_exit_code_is_4(plain: Box) -> None:
    code, out, err = plain("up", user=True)
    assert (code, out) == (4, "")
    assert_shown(err)
    assert err.endswith("host-alias: there is no sudo here. Run as root: sh .localdev/host-alias up\n")
    assert plain.addresses() == []


def test_without_a_terminal_sudo_is_not_allowed_to_ask(box: Box) -> None:
    box.fake_sudo(SUDO_ASKS)
    code, out, err = box("up", user=True)
    assert (code, out) == (4, "")
    assert_shown(err)
    assert "sudo: a password is required\n" in err
    assert err.endswith("cannot ask for it here. In a terminal: sh .localdev/host-alias up\n")
    assert box.calls("sudo") == ["-n /bin/sh -eu"]
    assert box.addresses() == []


def test_in_ci_nobody_is_asked_even_on_a_terminal(box: Box) -> None:
    box.fake_sudo(SUDO_ASKS)
    code, text = finish(on_terminal(box, "up", CI="1"))
    assert code == 4
    assert_shown(text)
    assert "Password" not in text
    assert box.calls("sudo") == ["-n /bin/sh -eu"]


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_refused_password_leaves_everything_as_it_was(box: Box, no_color: str) -> None:
    box.fake_sudo(SUDO_ASKS)
    child = on_terminal(box, "up", NO_COLOR=no_color)
    child.expect("Password: ")
    assert_shown(child.before.replace("\r\n", "\n"))
    child.sendline("wrong")
    code, text = finish(child)
    assert code == 1
    assert "sudo did not run the commands above; nothing was changed. Try again: make dev-alias" in text
    assert ("\033[31m" in text) is (no_color == "")
    assert box.calls("sudo") == ["/bin/sh -eu"]
    assert box.addresses() == []


def test_an_interrupted_password_is_one_line_and_exit_code_1(box: Box) -> None:
    box.fake_sudo(SUDO_ASKS)
    child = on_terminal(box, "up", NO_COLOR="1")
    child.expect("Password: ")
    child.sendintr()
    code, text = finish(child)
    assert code == 1
    assert text.count("host-alias: ") == 1
    assert "host-alias: interrupted. See where things are: make dev-status\n" in text
    assert box.addresses() == []


def test_one_sudo_does_it_all_and_only_the_first_time(box: Box) -> None:
    box.fake_sudo()
    box.fake_systemd()
    code, out, err = box("up", user=True)
    assert (code, out) == (0, ""), err
    assert box.addresses() == SET
    assert sorted(box.units()) == [f"./{LABEL}.service", f"./multi-user.target.wants/{LABEL}.service"]
    assert box("up", user=True) == (0, "", "")
    assert box("check", user=True) == (0, "", "")
    assert box.calls("sudo") == ["-n /bin/sh -eu"]
    assert box("down", "--yes", user=True)[0] == 0
    assert box.calls("sudo") == ["-n /bin/sh -eu"] * 2
    assert box.addresses() == []
    assert box.units() == []


def test_commands_that_ran_without_effect_are_no_success(box: Box) -> None:
    # Nobody waits for another project's `up`.
    box.replace(sleep="#!/bin/sh\n")
    box.fake_sudo("#!/bin/sh\n[ \"$1 $2\" != '-n -v' ]\n")
    code, out, err = box("up", user=True)
    assert (code, out) == (1, "")
    assert err.endswith(f"host-alias: the commands ran, yet {IP} is not on lo. Run: make dev-status\n")
    box.root(f"ip address add {IP}/32 dev lo")
    code, out, err = box("down", "--yes", user=True)
    assert (code, out) == (1, "")
    assert err.endswith(f"host-alias: {IP} is still on lo: something else adds it. Run: make dev-status\n")


def test_with_a_terminal_sudo_may_ask(box: Box) -> None:
    box.fake_sudo()
    code, text = finish(on_terminal(box, "up"))
    assert code == 0, text
    assert box.calls("sudo") == ["/bin/sh -eu"]
    assert box.addresses() == SET


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_commands_of_a_hostile_path_never_run_as_root_and_never_reach_roots_script(box: Box, user: bool) -> None:
    box.fake_sudo()
    box.fake_systemd()
    evil = (
        '#!/bin/sh\\n[ \\"$(/usr/bin/id -u)\\" -ne 0 ] || /bin/touch /mnt/canary\\necho \\"/bin/touch /mnt/canary\\"\\n'
    )
    box.root(
        f'mkdir /mnt/evil; cd /mnt/evil; for name in ip cat mv rm sh sudo systemctl printf umask touch; do printf "{evil}" '
        '>"$name"; chmod 755 "$name"; done'
    )
    code, _, err = box("up", user=user, env={"PATH": "/mnt/evil:/usr/bin:/bin"})
    assert "canary" not in box.root("ls /mnt"), err
    assert code == 0, err
    assert box.addresses() == SET
    assert box("check")[0] == 0


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_the_plan_pasted_into_a_shell_makes_it_so(box: Box, user: bool) -> None:
    box.fake_sudo()
    box.fake_systemd()
    code, plan, err = box("plan", user=user)
    assert (code, err) == (0, "")
    assert plan.startswith("sudo /bin/sh" if user else "/bin/sh")
    assert box.addresses() == []
    assert box.units() == []
    assert box("up", "--dry-run", user=user) == (0, plan, "")
    assert box.run("sh", "-c", plan, user=user)[0] == 0
    assert box.addresses() == SET
    assert box("check", user=user) == (0, "", "")
    assert box("plan", user=user) == (0, "", "")
    assert box.root(f"cat {UNIT}") == (box.source / ".localdev" / "host-alias.service").read_text()
    code, plan, err = box("down", "-n", user=user)
    assert (code, err) == (0, "")
    assert box.addresses() == SET
    assert box.run("sh", "-c", plan, user=user)[0] == 0
    assert box.addresses() == []
    assert box.units() == []


def test_the_plan_is_the_static_part_below_how_things_are_and_the_units_text(box: Box) -> None:
    box.fake_systemd()
    plan = box("plan")[1]
    head, text, part = re.split(r"(?s)boot_job\(\) \{\n\t/bin/cat <<'END_OF_FILE'\n(.*?)\nEND_OF_FILE\n\}\n", plan)
    assert head == f"/bin/sh -eu <<'AS_ROOT'\nverb=up label={LABEL} ip={IP}\naddress=missing job=missing seen=''\n"
    assert f"{text}\n" == (box.source / ".localdev/host-alias.service").read_text()
    static = (box.source / ".localdev/alias/root-linux.sh").read_text().splitlines()
    assert part.splitlines() == [
        *(line for line in static if not line.startswith(("# SPDX", "# shellcheck"))),
        "AS_ROOT",
    ]


def test_where_sudo_asks_for_no_password_we_ask(box: Box) -> None:
    box.fake_sudo(SUDO_OPEN)
    box.fake_systemd()
    code, out, err = box("up", user=True)
    assert (code, out) == (4, "")
    assert err.endswith(
        "cannot ask here whether root may run the commands above. If it may: sh .localdev/host-alias up --yes\n"
    )
    for answer, wanted in (("", 1), ("n", 1), ("y", 0)):
        child = on_terminal(box, "up")
        child.expect(r"Go on\? \[y/N\] ")
        assert box.addresses() == [] and "/bin/systemctl restart" in child.before
        child.sendline(answer)
        assert finish(child)[0] == wanted
    assert box.addresses() == SET and box.calls("sudo") == ["/bin/sh -eu"]
    child = on_terminal(box, "down")
    child.expect(r"Go on\? \[y/N\] ")
    child.sendline("y")
    assert finish(child)[0] == 0, "it asks once"
    assert box("up", "--yes", user=True)[0] == 0


def test_a_unit_that_could_hide_a_line_of_the_plan_is_refused(box: Box) -> None:
    ours = box.source / ".localdev/host-alias.service"
    text = ours.read_text()
    for hidden in ("# \x1b[2K\r", "# a\r", "# \x08", "# \x7f", "# \x9b2K", "# \xe2\x80\xae", "# \0"):
        ours.write_text(text + hidden + "\n")
        for verb in ("up", "plan"):
            code, out, err = box(verb)
            assert (code, out) == (2, ""), repr(hidden)
            assert err.splitlines()[-1].endswith("host-alias.service has control characters. Restore it from git")
    for line in ("END_OF_FILE", "AS_ROOT"):
        ours.write_text(f"{text}{line}\n")
        assert box("plan")[0] == 2


def test_an_edited_unit_is_installed_byte_for_byte_and_an_edit_of_the_installed_one_is_seen(box: Box) -> None:
    box.fake_systemd()
    ours = box.source / ".localdev/host-alias.service"
    text, edits = ours.read_text(), ("`", "# `", "# mine")
    for turn, comment in enumerate(("# `a`\n", "# a ` b\n", "# `", "# no line end", "#\n\n\n")):
        ours.write_text(text + comment)
        wanted = ours.read_text().removesuffix("\n") + "\n"
        before = box.calls("systemctl")
        assert box("up")[0] == 0, comment
        assert box.root(f"cat {UNIT}") == wanted
        assert len([call for call in box.calls("systemctl")[len(before) :] if call.startswith("restart")]) == 1
        assert box("check") == (0, "", ""), comment
        for edit in edits if NIGHTLY else edits[turn % 3 :][:1]:
            box.root(f"printf '%s\\n' '{edit}' >>{UNIT}")
            assert box("check")[0] == 3, (comment, edit)
            assert box("up")[0] == 0
            assert box.root(f"cat {UNIT}") == wanted
            assert box("check") == (0, "", ""), (comment, edit)


@pytest.mark.parametrize("systemd", [False, True], ids=["plain", "systemd"])
@pytest.mark.parametrize("verb", ["up", "check"])
def test_a_satisfied_machine_costs_at_most_two_processes(box: Box, systemd: bool, verb: str, tmp_path: Path) -> None:
    need_command("strace")
    if systemd:
        box.fake_systemd()
    assert box("up")[0] == 0
    forks = "trace=?clone,?clone3,?fork,?vfork"
    assert box.run("strace", "-f", "-qq", "-e", forks, "-o", tmp_path / "forks", box.script, verb) == (0, "", "")
    assert 1 <= (tmp_path / "forks").read_text().count("= ") <= 2


# --- systemd's files, without systemd ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["check", "up", "plan", "down", "status"])
def test_a_unit_with_another_address_than_the_conf_is_refused(box: Box, verb: str) -> None:
    box.fake_systemd()
    unit = box.source / ".localdev" / "host-alias.service"
    unit.write_text(unit.read_text().replace(f"{IP}/32", "10.254.254.25/32"))
    code, out, err = box(verb)
    assert (code, out) == (2, "")
    assert err.startswith(f"host-alias: {box.repo}/.localdev/host-alias.service adds 10.254.254.25")
    assert f"host-alias.conf says {IP}" in err
    assert err.count("\n") == 1
    assert box.addresses() == []
    assert box.units() == []


@pytest.mark.parametrize("kind", ["missing", "without an address", "with two addresses"])
def test_a_broken_unit_of_the_repo_is_refused(box: Box, kind: str) -> None:
    box.fake_systemd()
    unit = box.source / ".localdev" / "host-alias.service"
    text = unit.read_text()
    if kind == "missing":
        unit.unlink()
    else:
        unit.write_text(text.replace(f"{IP}/32", "" if kind == "without an address" else f"{IP}/32 10.1.1.1/32"))
    code, out, err = box("up")
    assert (code, out) == (2, "")
    assert "host-alias.service" in err
    assert err.count("\n") == 1
    assert box.addresses() == []


@pytest.mark.parametrize("mark", ["END_OF_FILE", "AS_ROOT"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_unit_cannot_break_out_into_roots_script(box: Box, mark: str, place: str) -> None:
    box.fake_systemd()
    unit = box.source / ".localdev" / "host-alias.service"
    evil = f"{mark}\n/bin/touch /mnt/canary\n"
    text = unit.read_text()
    unit.write_text(
        {"first": evil + text, "middle": text.replace("[Install]\n", f"{evil}[Install]\n"), "last": text + evil}[place]
    )
    code, plan, _ = box("plan")
    box.run("sh", "-c", plan)
    box("up")
    assert "canary" not in box.root("ls /mnt")
    assert code == 2


def test_an_unreadable_conf_is_refused(plain: Box) -> None:
    (plain.source / ".localdev" / "host-alias.conf").chmod(0o600)
    code, out, err = plain("up", user=True)
    assert (code, out) == (2, "")
    assert err == f"host-alias: {plain.repo}/.localdev/host-alias.conf is missing or unreadable. Restore it from git\n"


@pytest.mark.parametrize("verb", ["check", "up", "plan", "down", "status"])
def test_a_bad_conf_changes_nothing_whatever_the_verb(plain: Box, verb: str) -> None:
    plain.root("ip address add 10.1.1.1/32 dev lo")
    (plain.source / ".localdev" / "host-alias.conf").write_text("label=a.b\nip=127.0.0.1\n")
    assert plain(verb)[0] == 2
    assert plain.root("ip -o -4 address show dev lo").count("inet ") == 2


def test_a_missing_ip_command_is_said(box: Box) -> None:
    box.root("mount --bind /dev/null /sbin/ip")
    assert box("check")[:2] == (1, "")
    assert "Install the package iproute2" in box("check")[2]
    _, out, _ = box.run("python3", "-I", "-B", ".localdev/stack", "doctor", "--", "--json", cwd=box.repo)
    (found,) = (one for one in json.loads(out)["findings"] if one["subject"] == "alias")
    assert (found["level"], found["id"]) == ("fail", "alias.unknown")
    assert found["fix"] == "install the package iproute2, then: make dev-alias", "nothing of the repo is thrown away"


def test_units_that_cannot_be_written_fail_with_the_reason_and_leave_no_file(box: Box) -> None:
    box.fake_systemd()
    box.root(f"mount -o remount,ro {UNITS}")
    code, out, err = box("up")
    assert (code, out) == (1, "")
    assert "Read-only file system" in err
    assert err.endswith(
        f"host-alias: a command failed (its message is above). Now: {IP} is missing, its boot job is missing\n"
    )
    assert box.units() == []


def test_a_file_that_cannot_be_renamed_is_not_left_behind(box: Box) -> None:
    box.replace(mv="#!/bin/sh\necho 'mv: No space left on device' >&2\nexit 1\n")
    box.fake_systemd()
    code, out, err = box("up")
    assert (code, out) == (1, "")
    assert "mv: No space left on device\n" in err
    assert box.units() == []


@pytest.mark.parametrize(
    ("word", "state"), [("daemon-reload", "missing"), ("restart", "missing"), ("enable", "present")]
)
def test_a_failing_systemctl_is_exit_code_1_with_its_message_and_the_state(box: Box, word: str, state: str) -> None:
    fault = f'[ "$1" != {word} ] || {{ echo "Failed to do it: Access denied" >&2; exit 4; }}'
    box.fake_systemd(SYSTEMCTL.replace("\nset -eu\n", f"\nset -eu\n{fault}\n"))
    code, out, err = box("up")
    assert (code, out) == (1, "")
    assert "Failed to do it: Access denied\n" in err
    assert err.endswith(
        "host-alias: a command failed (its message is above)."
        f" Now: {IP} is {state}, its boot job is installed, not loaded\n"
    )
    assert box.units() == [f"./{LABEL}.service"]
    assert box("check")[0] == 3
    box.replace(systemctl=SYSTEMCTL)
    box.mount_commands()
    assert box("up")[0] == 0
    assert box("check") == (0, "", "")


def test_a_failing_ip_is_exit_code_1_and_the_boot_job_is_not_enabled(box: Box) -> None:
    real = shutil.which("ip")
    box.root(f"cp -L {real} /mnt/real-ip")
    # /sbin/ip may be a file or a link, so it is covered where it is.
    fake = box.commands.parent / "ip"
    fake.write_text(
        '#!/bin/sh\ncase $* in *replace*) echo "RTNETLINK answers: Operation not permitted" >&2; exit 2 ;; esac\n'
        'exec /mnt/real-ip "$@"\n'
    )
    fake.chmod(0o755)
    box.fake_systemd()
    box.root(f"mount --bind {fake} /sbin/ip")
    code, out, err = box("up")
    assert (code, out) == (1, "")
    assert "RTNETLINK answers: Operation not permitted\n" in err
    assert err.endswith(f"Now: {IP} is missing, its boot job is installed, not loaded\n")
    assert box.units() == [f"./{LABEL}.service"]
    assert "guard" not in box.root("nft list ruleset")


@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_unit_that_is_a_link_to_nothing_is_somebody_elses(box: Box, verb: str) -> None:
    box.fake_systemd()
    box.root(f"ln -s /nowhere {UNIT}")
    code, out, err = box(verb)
    assert (code, out) == (1, "")
    assert err.startswith(f"host-alias: {UNIT} adds no address that can be read, not {IP}.")
    assert box.units() == [f"./{LABEL}.service"]
    assert box.addresses() == []


def test_a_unit_for_a_longer_address_is_no_claim(box: Box) -> None:
    box.fake_systemd()
    answer(box, "10.254.254.25")
    box.root(f"printf '{OTHER_UNIT.format(ip=IP)}' >{UNITS}/other.service")
    code, _, err = box("up")
    assert code == 0
    removal = f"sudo systemctl disable --now other.service && sudo rm {UNITS}/other.service"
    assert err.endswith(
        f"host-alias: {UNITS}/other.service adds {IP}. If no repo of this machine uses that any more:"
        f" {removal} && {{ grep -qswF {IP} {UNITS}/*.service || ! ip -o address show dev lo | grep -qwF {IP}"
        f" || sudo ip address delete {IP}/32 dev lo; }}\n"
    )
    assert f"also     {UNITS}/other.service  adds {IP}\n" in box("status")[1]
    assert box("down", "--yes")[0] == 0
    assert box.units() == ["./other.service"]


def test_a_unit_that_is_a_link_is_replaced_by_a_file(box: Box) -> None:
    box.fake_systemd()
    box.root(f"cp {shlex.quote(str(box.repo))}/.localdev/host-alias.service /mnt/unit; ln -s /mnt/unit {UNIT}")
    assert box("check")[0] == 3
    assert box("up")[0] == 0
    assert box.root(f"stat -c %F {UNIT}") == "regular file\n"


def test_a_unit_with_a_huge_format_is_a_newer_one(box: Box) -> None:
    box.fake_systemd()
    assert box("up")[0] == 0
    box.root(f"sed -i 's/format 1:/format 99999999999999999999:/' {UNIT}")
    assert box("check") == (0, "", "")
    assert box("status")[2] == ""


# --- a real systemd ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_machine(run: Run, rendered: Render) -> Iterator[Booted]:
    with booted_machine(run, rendered()) as machine:
        yield machine


@pytest.fixture
def machine(shared_machine: Booted) -> Booted:
    """The machine, as if host-alias had never been there."""
    return shared_machine.fresh()


ON = ["127.0.0.1/8", f"{IP}/32"]
GUARD = f"table ip {LABEL} {{\n\tchain guard {{"


@pytest.mark.engine
def test_up_installs_enables_and_starts_a_unit_that_brings_the_address_back_at_boot(machine: Booted) -> None:
    code, out, err = machine("up")
    assert (code, out) == (0, ""), err
    assert err.endswith(f"host-alias: {IP} is on lo, now and after every reboot.\n")
    assert machine.addresses() == ON
    assert machine.sh(f"cat {UNIT}") == (machine.repo / ".localdev" / "host-alias.service").read_text()
    assert machine.sh(f"stat -c '%F %a %U %G' {UNIT}") == "regular file 644 root root\n"
    assert machine.sh(f"systemctl is-enabled {LABEL}; systemctl is-active {LABEL}") == "enabled\nactive\n"
    assert machine("up") == (0, "", "")
    assert machine("plan") == (0, "", "")
    machine.reboot()
    machine.until(f"ip -4 -o address show dev lo | grep -qF ' {IP}/32 '")
    assert machine("check") == (0, "", "")
    assert machine("up") == (0, "", "")
    assert machine.sh(f"systemctl is-active {LABEL}") == "active\n"
    assert GUARD in machine.sh("nft list ruleset")


@pytest.mark.engine
def test_the_guard_outlives_every_flush_and_its_owners_death(machine: Booted) -> None:
    assert machine("up")[0] == 0
    owned = f"table ip {LABEL}.own "
    flushes = ["nft flush ruleset", *(f"systemctl {verb} nftables" for verb in ("start", "reload", "restart", "stop"))]
    for flush in [f"nft delete table ip {LABEL}", *flushes, f"systemctl restart {LABEL}; nft flush ruleset"]:
        machine.sh(f"nft add table ip of_somebody_else; {flush}")
        assert owned in machine.sh("nft list ruleset"), flush
        assert machine("check", user="nobody") == (0, "", ""), flush
    assert machine.result("nft", "delete", "table", "ip", f"{LABEL}.own")[0] != 0
    machine.sh(f"kill -9 $(systemctl show --property MainPID --value {LABEL})")
    machine.until(f"nft list table ip {LABEL}.own && ip -o address show dev lo | grep -q {IP}/32")
    machine.until("[ -s /run/host-alias/*/ready ]")
    assert machine("check", user="nobody") == (0, "", "")


@pytest.mark.engine
def test_a_guard_that_cannot_start_leaves_no_address_and_no_loop(machine: Booted) -> None:
    machine.sh("printf '#!/bin/sh\\nexit 1\\n' >/mnt/nft; chmod 755 /mnt/nft; mount --bind /mnt/nft /usr/sbin/nft")
    try:
        code, out, err = machine("up")
        assert (code, out) == (1, "") and "a command failed" in err
        assert machine.addresses() == ["127.0.0.1/8"]
        assert machine.result("systemctl", "is-active", LABEL)[1] in ("inactive\n", "failed\n")
    finally:
        machine.sh("umount /usr/sbin/nft")
    assert machine("up")[0] == 0 and machine.addresses() == ON


@pytest.mark.engine
def test_down_leaves_nothing_behind_not_even_after_a_reboot(machine: Booted) -> None:
    assert machine("up")[0] == 0
    code, out, err = machine("down", "--yes")
    assert (code, out) == (0, ""), err
    assert machine.addresses() == ["127.0.0.1/8"]
    assert machine.sh("find /etc /run /lib/systemd -name '*host-alias*' 2>/dev/null; nft list ruleset") == ""
    assert machine("check")[0] == 3
    assert machine("down", "--yes")[0] == 0
    machine.reboot()
    assert machine.addresses() == ["127.0.0.1/8"]
    assert machine("check")[0] == 3


@pytest.mark.engine
def test_the_rendered_unit_pleases_systemd(machine: Booted) -> None:
    machine.sh(f"cp /srv/repo/.localdev/host-alias.service /tmp/{LABEL}.service")
    assert machine.result("systemd-analyze", "verify", f"/tmp/{LABEL}.service") == (0, "", "")


@pytest.mark.engine
@pytest.mark.parametrize(
    "change",
    ["s/format 3:/format 1:/", "/host-alias format/d", "s/^ProtectHome.*//", "s/dev lo scope host/dev lo/"],
)
def test_an_older_or_edited_unit_is_replaced_and_restarted(machine: Booted, change: str) -> None:
    assert machine("up")[0] == 0
    machine.sh(f"sed -i '{change}' {UNIT}; systemctl daemon-reload")
    before = machine.sh(f"systemctl show -p ExecMainStartTimestampMonotonic {LABEL}")
    assert machine("check")[0] == 3
    assert f"{UNIT}  out of date" in machine("status")[1]
    code, out, err = machine("up")
    assert (code, out) == (0, ""), err
    assert machine.sh(f"cat {UNIT}") == (machine.repo / ".localdev" / "host-alias.service").read_text()
    assert machine.sh(f"systemctl show -p ExecMainStartTimestampMonotonic {LABEL}") != before
    assert machine("check")[0] == 0


@pytest.mark.engine
def test_a_newer_unit_is_left_alone_byte_for_byte(machine: Booted) -> None:
    assert machine("up")[0] == 0
    machine.sh(f"sed -i 's/format 3:/format 12:/; $a # of the future' {UNIT}; systemctl daemon-reload")
    before = machine.sh(f"cat {UNIT}; stat -c '%i %Y' {UNIT}")
    assert machine("check") == (0, "", "")
    assert machine("up") == (0, "", "")
    machine.sh(f"ip address delete {IP}/32 dev lo")
    assert machine("up")[0] == 0
    assert machine.addresses() == ON
    assert machine.sh(f"cat {UNIT}; stat -c '%i %Y' {UNIT}") == before


@pytest.mark.engine
@pytest.mark.parametrize("other", ["10.254.254.25", "10.254.254.253"])
def test_the_same_label_with_another_address_is_refused_and_both_are_named(machine: Booted, other: str) -> None:
    machine.sh(f"sed 's/{IP}/{other}/g' /srv/repo/.localdev/host-alias.service >{UNIT}; systemctl enable --now {LABEL}")
    before = machine.sh(f"cat {UNIT}; stat -c '%i %Y' {UNIT}; ip -o address show")
    for verb in ("up", "plan", "down"):
        code, out, err = machine(verb)
        assert (code, out) == (1, "")
        assert err == (
            f"host-alias: {UNIT} adds {other}, not {IP}. Give one of the two another label: make dev-update\n"
        )
    assert machine("check")[0] == 3
    assert f"in conflict: it adds {other}" in machine("status")[1]
    assert machine.sh(f"cat {UNIT}; stat -c '%i %Y' {UNIT}; ip -o address show") == before


@pytest.mark.engine
def test_another_unit_for_the_address_is_named_and_makes_down_refuse(machine: Booted) -> None:
    machine.sh(f"printf '{OTHER_UNIT.format(ip=IP)}' >{UNITS}/other.service; systemctl daemon-reload")
    code, _, err = machine("up")
    assert code == 0
    assert f"{UNITS}/other.service claims {IP}, too; both may stay." in err
    assert f"also     {UNITS}/other.service  claims {IP}\n" in machine("status")[1]
    code, out, err = machine("down", "--yes")
    assert (code, out) == (1, "")
    assert err.startswith(f"host-alias: {UNITS}/other.service claims {IP}, too, so something else needs it.")
    assert machine.addresses() == ON
    assert machine("check")[0] == 0


@pytest.mark.engine
def test_a_unit_for_a_similar_address_is_nobodys_business(machine: Booted) -> None:
    machine.sh(f"printf '{OTHER_UNIT.format(ip='10.254.254.25')}' >{UNITS}/other.service")
    code, _, err = machine("up")
    assert code == 0
    assert f"{UNITS}/other.service adds 10.254.254.25. If no repo" in err
    assert f"also     {UNITS}/other.service  adds 10.254.254.25\n" in machine("status")[1]
    assert machine("down", "--yes")[0] == 0


@pytest.mark.engine
def test_a_disabled_or_stopped_unit_is_put_right(machine: Booted) -> None:
    assert machine("up")[0] == 0
    machine.sh(f"systemctl disable {LABEL} 2>/dev/null")
    assert machine("check")[0] == 3
    assert "installed, not loaded" in machine("status")[1]
    assert machine("up")[0] == 0
    assert machine.sh(f"systemctl is-enabled {LABEL}") == "enabled\n"
    machine.sh(f"systemctl stop {LABEL}")
    assert machine("check")[0] == 3
    assert machine("up")[0] == 0
    machine.sh(f"ip address delete {IP}/32 dev lo")
    assert machine("check")[0] == 3
    assert machine("up")[0] == 0
    assert machine.addresses() == ON


@pytest.mark.engine
def test_a_masked_unit_is_refused_and_stays_masked(machine: Booted) -> None:
    machine.sh(f"systemctl mask {LABEL} 2>/dev/null")
    code, out, err = machine("up")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert UNIT in err
    assert machine.sh(f"readlink {UNIT}") == "/dev/null\n"
    assert machine.addresses() == ["127.0.0.1/8"]


@pytest.mark.engine
def test_a_start_that_fails_is_exit_code_1_with_systemds_message(machine: Booted) -> None:
    machine.sh(
        f"mkdir {UNITS}/{LABEL}.service.d;"
        f"printf '[Service]\\nExecStartPre=/bin/false\\n' >{UNITS}/{LABEL}.service.d/broken.conf"
    )
    code, out, err = machine("up")
    assert (code, out) == (1, "")
    assert f"Job for {LABEL}.service failed" in err
    assert err.endswith(
        "host-alias: a command failed (its message is above)."
        f" Now: {IP} is missing, its boot job is installed, not loaded\n"
    )
    assert "guard" not in machine.sh("nft list ruleset")
    assert machine.sh(f"find {UNITS} -name '*.service.[0-9]*'") == ""


@pytest.mark.engine
def test_a_user_with_a_real_sudo_needs_it_once(machine: Booted) -> None:
    need(machine.result("test", "-x", "/usr/bin/sudo")[0] == 0, f"sudo in {IMAGE}", "sh .ci/images")
    code, out, err = machine("up", user="nobody")
    assert (code, out) == (4, ""), err
    assert "sudo: " in err
    assert machine.addresses() == ["127.0.0.1/8"]
    machine.sh("echo 'nobody ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/nobody")
    try:
        code, out, err = machine("up", user="nobody")
        assert (code, out) == (4, "") and err.endswith("If it may: sh .localdev/host-alias up --yes\n"), err
        assert machine.addresses() == ["127.0.0.1/8"]
        code, out, err = machine("up", "--yes", user="nobody")
        assert (code, out) == (0, ""), err
    finally:
        machine.sh("rm /etc/sudoers.d/nobody")
    assert machine.addresses() == ON
    assert machine("up", user="nobody") == (0, "", "")
    assert machine("check", user="nobody") == (0, "", "")
