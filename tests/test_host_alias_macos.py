"""host-alias on macOS: the real script in a pretend Mac, as an ordinary user, with a sudo that counts its prompts.

After every test: 127.0.0.1 is still on lo0, and no temporary file is left where launchd looks.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from conftest import Render
from host import ALIAS_IP as IP
from host import LABEL
from laptop import DAEMONS, HOST_ALIAS, PLIST, REPO, Laptop, Session
from needs import need_command

SHOWN_FIRST = "host-alias: this needs root, for these commands:"
FIVE = "Bootstrap failed: 5: Input/output error"

# The last system whose ifconfig ends its inet lines with a space, and a current one.
GENERATIONS = pytest.mark.parametrize("macos", ["13.7.1", "26.6.2"])

# The set-up of the 2017 article that this project comes from, as its readers installed it.
OLD_LABEL = "co.cozy.add-lo0-alias-for-docker"
OLD_IP = "169.254.254.254"
OLD_PLIST = f"{DAEMONS}/{OLD_LABEL}.plist"
OLD_TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>co.cozy.add-lo0-alias-for-docker</string>
  <key>ProgramArguments</key>
  <array>
    <string>/sbin/ifconfig</string>
    <string>lo0</string>
    <string>alias</string>
    <string>169.254.254.254</string>
  </array>
  <key>RunAtLoad</key>
  <true/>
</dict>
</plist>
"""


def last_line(text: str) -> str:
    """Return the last line of `text`."""
    return text.splitlines()[-1]


Make = Callable[..., Laptop]


@pytest.fixture
def laptop(rendered: Render, tmp_path: Path) -> Iterator[Make]:
    """Makes pretend Macs with a repo generated from the given answers; whatever a test did, each has 127.0.0.1."""
    made: list[Laptop] = []

    def laptop(macos: str = "26.6.2", shell: str | None = None, **answers: Any) -> Laptop:
        made.append(Laptop(tmp_path / f"mac{len(made)}", rendered(**answers), shell=shell))
        made[-1].macos = macos
        return made[-1]

    yield laptop
    for mac in made:
        assert mac.masks.get("127.0.0.1") == "0xff000000", "127.0.0.1 is gone"
        assert list(mac.path(DAEMONS).glob("*.plist.*")) == [], "a temporary file is left where launchd looks"
        assert not [call for call in mac.as_root() if re.search(r"ifconfig lo0 (-alias|[0-9.]+)$", call)]


@pytest.fixture
def mac(laptop: Make) -> Laptop:
    """A fresh Mac with a repo generated from the defaults, whose sudo never asks."""
    made = laptop()
    made.sudo = "ok"
    return made


def assert_is_installed(mac: Laptop, text: str | None = None) -> None:
    """The plist is as launchd wants it, byte for byte ours (or `text`), and loaded; the address is there with /32."""
    about = mac.path(PLIST).lstat()
    assert (stat.S_ISREG(about.st_mode), about.st_mode & 0o7777, about.st_uid, about.st_gid) == (True, 0o644, 0, 0)
    assert mac.path(PLIST).read_text() == (text or mac.plist)
    assert LABEL in mac.loaded
    assert mac.loaded[LABEL]["path"] == PLIST
    assert mac.masks[IP] == "0xffffffff"
    assert mac.warnings == []


# ---- a fresh machine


def test_fresh_check_says_in_one_line_what_is_missing_and_changes_nothing(laptop: Make) -> None:
    mac = laptop()
    before = mac.everything()
    assert mac.say("check") == (
        *(3, "", f"host-alias: {IP} is not on lo0 and nothing adds it at boot. Run: make dev-alias\n"),
    )
    assert mac.everything() == before
    assert mac.as_root() == []


@GENERATIONS
def test_fresh_up_asks_once_after_the_reason_and_the_exact_commands(laptop: Make, macos: str) -> None:
    mac = laptop(macos)
    seen = mac.on_terminal("up")
    assert (seen.code, mac.prompts) == (0, 1)
    assert seen.before == (
        f"host-alias: {IP} is not on lo0 and nothing adds it at boot.\n"
        "host-alias: this gives lo0 one more address, by which containers reach the services of this machine.\n"
        'host-alias: launchd adds it again at every boot. macOS shows "Background Items Added" for ifconfig: that is it.\n'
        f"{SHOWN_FIRST}\n"
        f"  /sbin/ifconfig lo0 alias {IP} netmask 255.255.255.255\n"
        f"  write {PLIST}\n"
        f"  /bin/launchctl enable system/{LABEL}\n"
        f"  /bin/launchctl bootstrap system {PLIST}\n"
        "host-alias: later runs ask for nothing, and make dev-alias-down takes all of it away again. "
        "All that root runs: sh .localdev/host-alias up --dry-run\n"
    )
    assert seen.after == f"\nhost-alias: {IP} is on lo0, now and after every reboot.\n"
    assert_is_installed(mac)
    assert mac.say("check") == (0, "", "")


def test_second_up_is_silent_and_starts_two_processes_at_most(laptop: Make) -> None:
    mac = laptop().set_up()
    before = mac.everything()
    # Without a PATH, every process would have to be one of the fakes, and those are counted.
    for verb in ("up", "check", "plan"):
        mac.forget_calls()
        done = mac.run(["/usr/bin/env", "PATH=/nowhere", HOST_ALIAS, verb])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert mac.calls == [
            ("/sbin/ifconfig", ["lo0", "inet"], 501),
            ("/bin/launchctl", ["print", f"system/{LABEL}"], 501),
        ]
    assert mac.on_terminal("up", answers=()) == Session(0, "", "")
    assert (mac.everything(), mac.prompts) == (before, 0)


def test_a_terminal_gets_colour_and_no_color_gets_none(laptop: Make) -> None:
    mac = laptop()
    line = f"host-alias: {IP} is not on lo0 and nothing adds it at boot. Run: make dev-alias"
    for env, expected in (
        ({"NO_COLOR": ""}, f"\033[31m{line}\033[0m\n"),
        ({"NO_COLOR": "1"}, f"{line}\n"),
        ({"NO_COLOR": "", "TERM": "dumb"}, f"{line}\n"),
    ):
        assert mac.on_terminal("check", answers=(), **env) == Session(3, expected, "")


@pytest.mark.parametrize(("shell", "user"), [("/bin/sh", 501), ("/bin/bash", 0), ("/bin/zsh", 501)])
def test_the_plan_pasted_into_a_shell_of_another_mac_does_all(laptop: Make, shell: str, user: int) -> None:
    need_command(Path(shell).name)
    plan = laptop().say("plan")
    assert (plan[0], plan[2]) == (0, "")
    other = laptop()
    other.sudo = "ok"
    done = other.run([shell], user=user, stdin=plan[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_is_installed(other)
    assert other.say("check") == (0, "", "")


def test_what_is_planned_is_what_runs(laptop: Make) -> None:
    pasted, ran = laptop(), laptop()
    plan = pasted.say("plan")[1]
    pasted.forget_calls()
    assert pasted.run(["/bin/sh"], user=0, stdin=plan.removeprefix("sudo ")).returncode == 0
    assert ran.on_terminal("up").code == 0
    # Root's shell puts its process number into the name of the new file.
    assert [re.sub(r"plist\.[0-9]+", "plist.$$", call) for call in ran.as_root()] == [
        re.sub(r"plist\.[0-9]+", "plist.$$", call) for call in pasted.as_root()
    ]


# ---- other addresses of lo0


@pytest.mark.parametrize(
    ("macos", "others", "wanted"),
    [
        ("13.7.1", ["10.254.254.25", "10.9.9.9", "169.254.254.254", "192.168.7.7", "10.254.254.2"], "10.254.254.254"),
        ("26.6.2", ["110.254.254.254", "10.25.4.254"], "10.254.254.254"),
        ("26.6.2", [*(f"10.200.0.{last}" for last in range(1, 10)), "10.254.254.254"], "10.254.254.25"),
    ],
)
def test_an_address_that_only_looks_alike_is_not_taken_for_ours(
    laptop: Make, macos: str, others: list[str], wanted: str
) -> None:
    mac = laptop(macos, alias_ip=wanted)
    for ip in others:
        mac.add_alias(ip)
    assert mac.say("check")[0] == 3
    assert mac.say("up", user=0)[0] == 0
    assert mac.addresses == ["127.0.0.1", *others, wanted]
    assert mac.say("check") == (0, "", "")
    assert mac.say("down", "--yes", user=0)[0] == 0
    assert mac.addresses == ["127.0.0.1", *others]


# ---- reboots


def test_after_a_reboot_it_is_there_without_root(laptop: Make) -> None:
    mac = laptop().set_up()
    mac.reboot()
    mac.forget_calls()
    assert mac.masks == {"127.0.0.1": "0xff000000", IP: "0xffffffff"}
    assert mac.say("check") == (0, "", "") == mac.say("up")
    assert mac.as_root() == []


def test_switched_off_in_login_items_it_is_added_again_with_one_prompt_each_reboot(laptop: Make) -> None:
    mac = laptop().set_up()
    mac.btm_denied = [LABEL]
    for reboots in (1, 2):
        mac.reboot()
        assert mac.say("check") == (3, "", f"host-alias: {IP} is not on lo0. Run: make dev-alias\n")
        assert mac.on_terminal("up").code == 0
        assert mac.prompts == reboots
        assert_is_installed(mac)
        assert mac.say("up") == (0, "", "")


def test_an_address_taken_away_by_a_vpn_client_comes_back(laptop: Make) -> None:
    mac = laptop().set_up()
    mac.remove_alias(IP)
    before = mac.everything()[0]
    assert mac.on_terminal("up").code == 0
    assert mac.as_root()[-1] == f"/sbin/ifconfig lo0 alias {IP} netmask 255.255.255.255", "the boot job is left alone"
    assert (mac.everything()[0], mac.prompts) == (before, 1)
    assert_is_installed(mac)


# ---- the installed plist: older, newer, somebody else's


def edited(text: str) -> str:
    """Return our plist as somebody changed it."""
    return text.replace("<true/>", "<true/>\n\t<key>KeepAlive</key>\n\t<false/>")


def newer(text: str) -> str:
    """Return our plist as a later release of the template would write it."""
    assert "host-alias format 1:" in text
    return text.replace("format 1:", "format 12:").replace(
        "<true/>", "<true/>\n\t<key>Umask</key>\n\t<integer>18</integer>"
    )


STALE = {
    "edited": edited,
    "an older format": lambda text: text.replace("format 1:", "format 0:"),
    "no format": lambda text: re.sub(r"<!-- host-alias.*\n", "", text),
    "one byte more": lambda text: text + "\n",
    "without a netmask": lambda text: re.sub(r"\t\t<string>(netmask|255[.0-9]*)</string>\n", "", text),
}


@pytest.mark.parametrize("how", STALE)
def test_a_stale_plist_is_replaced_and_reloaded(laptop: Make, how: str) -> None:
    mac = laptop()
    mac.install(STALE[how](mac.plist))
    mac.bootout_drains = 20 if how == "edited" else 0
    assert mac.say("check") == (
        *(3, "", f"host-alias: {IP} is on lo0, but its boot job {PLIST} is out of date. Run: make dev-alias\n"),
    )
    assert mac.on_terminal("up").code == 0
    assert mac.prompts == 1
    assert_is_installed(mac)
    assert mac.loaded[LABEL]["arguments"][4:] == ["netmask", "255.255.255.255"], "launchd runs the new definition"
    verbs = [call.split()[1] for call in mac.as_root() if "launchctl" in call and " print " not in call]
    assert verbs[:2] == ["enable", "bootout"]
    assert verbs == sorted(verbs, key=["enable", "bootout", "bootstrap"].index)
    assert verbs[-1] == "bootstrap"
    assert mac.say("up") == (0, "", "")


def identity(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced."""
    about = path.stat()
    return about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode, about.st_uid, about.st_gid


@pytest.mark.parametrize("loaded", [True, False])
def test_a_newer_plist_is_left_alone_and_satisfies(laptop: Make, loaded: bool) -> None:
    mac = laptop()
    text = newer(mac.plist)
    mac.install(text, loaded=loaded)
    # Reading a file may change its access time, and is allowed.
    before = identity(mac.path(PLIST))
    if loaded:
        assert mac.say("up") == (0, "", "") == mac.say("check")
        assert mac.calls[2:] == mac.calls[:2]
    else:
        assert mac.say("check")[0] == 3
        assert mac.on_terminal("up").code == 0
        assert mac.say("check") == (0, "", "")
    assert_is_installed(mac, text)
    assert identity(mac.path(PLIST)) == before, "not written, not replaced"


def test_a_newer_format_is_compared_as_a_number(laptop: Make) -> None:
    mac = laptop()
    conf = mac.path(f"{REPO}/.localdev/host-alias.plist")
    conf.write_text(mac.plist.replace("format 1:", "format 9:"))
    mac.install(mac.plist.replace("format 1:", "format 10:"))
    assert mac.say("check") == (0, "", "")


def test_the_same_label_with_another_ip_is_refused(laptop: Make) -> None:
    mac = laptop(alias_label="local.shared")
    path = f"{DAEMONS}/local.shared.plist"
    mac.install(mac.plist.replace(IP, "10.1.2.3"), path)
    before = mac.everything()
    line = f"host-alias: {path} adds 10.1.2.3, not {IP}. Give one of the two another label: make dev-update\n"
    for verb in ("up", "plan", "down"):
        assert mac.say(verb) == (1, "", line)
        assert mac.on_terminal(verb, answers=()) == Session(1, line, "")
    assert (mac.everything(), mac.prompts, mac.as_root()) == (before, 0, [])
    code, out, _ = mac.say("status")
    assert code == 3
    assert f"job      {path}  in conflict: it adds 10.1.2.3\n" in out


@pytest.mark.parametrize("kind", ["not a plist", "empty", "unreadable", "a folder", "a link to nothing"])
def test_a_file_in_our_place_that_cannot_be_ours_is_refused(laptop: Make, kind: str) -> None:
    mac = laptop()
    path = mac.path(PLIST)
    if kind == "a folder":
        path.mkdir()
    elif kind == "a link to nothing":
        path.symlink_to("/var/root/nothing")
    else:
        mac.write(PLIST, {"not a plist": "hello\n", "unreadable": mac.plist}.get(kind, ""), owner=0)
        path.chmod(0o600 if kind == "unreadable" else 0o644)
    before = mac.everything()
    line = f"host-alias: {PLIST} adds no address that can be read, not {IP}. Give one of the two another label: make dev-update\n"
    for verb in ("up", "plan", "down"):
        assert mac.say(verb) == (1, "", line)
    assert mac.say("check")[0] == 3
    assert "in conflict: it adds no address that can be read" in mac.say("status")[1]
    assert (mac.everything(), mac.prompts, mac.as_root()) == (before, 0, [])


def test_a_plist_that_is_a_link_is_replaced_by_a_file(laptop: Make) -> None:
    """launchd follows links by hand, and ignores them at boot."""
    mac = laptop()
    mac.write("/var/root/ours.plist", mac.plist, owner=0)
    mac.path("/var/root").chmod(0o755)
    mac.path(PLIST).symlink_to("/var/root/ours.plist")
    mac.load(PLIST)
    assert mac.say("check")[0] == 3
    assert mac.on_terminal("up").code == 0
    assert_is_installed(mac)
    assert mac.path("/var/root/ours.plist").read_text() == mac.plist
    mac.reboot()
    assert mac.say("check") == (0, "", "")


# ---- the set-up of the article of 2017


def with_the_old_set_up(mac: Laptop) -> Laptop:
    """Bring `mac` to where the article leaves it: the alias with the mask of its class, and its boot job."""
    mac.install(OLD_TEXT, OLD_PLIST)
    assert mac.masks[OLD_IP] == "0xffff0000"
    return mac


def test_the_old_boot_job_under_its_own_label_is_older_and_replaced(laptop: Make) -> None:
    mac = with_the_old_set_up(laptop(alias_label=OLD_LABEL, alias_ip=OLD_IP))
    assert mac.say("check") == (
        *(3, "", f"host-alias: {OLD_IP} is on lo0, but its boot job {OLD_PLIST} is out of date. Run: make dev-alias\n"),
    )
    assert mac.on_terminal("up").code == 0
    assert mac.prompts == 1
    assert mac.path(OLD_PLIST).read_text() == mac.plist
    assert mac.masks == {"127.0.0.1": "0xff000000", OLD_IP: "0xffffffff"}
    assert mac.say("check") == (0, "", "")
    mac.reboot()
    assert mac.masks[OLD_IP] == "0xffffffff"
    assert mac.say("check") == (0, "", "")


def test_beside_the_old_boot_job_ours_is_installed_and_the_old_one_named(laptop: Make) -> None:
    mac = with_the_old_set_up(laptop(alias_ip=OLD_IP))
    ours = f"{DAEMONS}/local.host-alias.{OLD_IP}.plist"
    seen = mac.on_terminal("up")
    assert (seen.code, mac.prompts) == (0, 1)
    removal = f"sudo launchctl bootout system/{OLD_LABEL}; sudo rm {OLD_PLIST}"
    assert seen.after.endswith(
        f"host-alias: {OLD_PLIST} claims {OLD_IP}, too; both may stay. To remove that one: {removal}\n"
    )
    assert sorted(path.name for path in mac.path(DAEMONS).iterdir()) == [Path(OLD_PLIST).name, Path(ours).name]
    assert mac.path(OLD_PLIST).read_text() == OLD_TEXT
    assert mac.masks[OLD_IP] == "0xffffffff"
    assert mac.say("up") == (0, "", "")
    assert mac.say("status") == (
        0,
        f"address  {OLD_IP}  present on lo0\njob      {ours}  installed\nalso     {OLD_PLIST}  claims {OLD_IP}\n",
        "",
    )
    before = mac.everything()
    code, out, err = mac.say("down", "--yes")
    assert (code, out) == (1, "")
    assert err.startswith(f"host-alias: {OLD_PLIST} claims {OLD_IP}, too, ")
    assert err.count("\n") == 1
    assert (mac.everything(), mac.prompts) == (before, 1)


# ---- the address belongs to something else


@GENERATIONS
def test_an_address_of_another_interface_is_refused(laptop: Make, macos: str) -> None:
    mac = laptop(macos)
    mac.sudo = "ok"
    mac.add_interface_address("en0", IP)
    before = mac.everything()
    line = f"host-alias: {IP} already belongs to en0. Choose another address: make dev-update\n"
    assert mac.say("up") == (1, "", line) == mac.say("plan")
    assert (mac.everything(), mac.as_root()) == (before, [])
    assert f"also     en0  has {IP}\n" in mac.say("status")[1]


def test_a_vpn_that_routes_the_address_is_warned_about(mac: Laptop) -> None:
    mac.cover("10.0.0.0/8", "utun0")
    code, _, err = mac.say("up")
    assert code == 0
    assert f"host-alias: warning: utun0 routes {IP} elsewhere (a VPN or LAN); from now on it is this machine.\n" in err
    assert_is_installed(mac)
    assert mac.say("up") == (0, "", "")


def test_the_default_route_is_not_warned_about(mac: Laptop) -> None:
    assert "warning" not in mac.say("up")[2]


# ---- no root


REFUSED = "host-alias: sudo did not run the commands above; nothing was changed. Try again: make dev-alias"
CANNOT_ASK = "host-alias: sudo needs a password and cannot ask for it here. In a terminal: sh .localdev/host-alias up"
NO_SUDO = "host-alias: there is no sudo here. Run as root: sh .localdev/host-alias up"
INTERRUPTED = "host-alias: interrupted. See where things are: make dev-status"


@pytest.mark.parametrize(
    ("sudo", "answers", "env", "code", "prompts", "said", "last"),
    [
        ("needs-password", ("a", "b", "c"), {}, 1, 3, "sudo: 3 incorrect password attempts", REFUSED),
        ("needs-password", ("\x04",), {}, 1, 1, "sudo: no password was provided", REFUSED),
        ("needs-password", ("\x03",), {}, 1, 1, "Password:", INTERRUPTED),
        ("not-sudoer", ("secret",), {}, 1, 1, "alice is not in the sudoers file.", REFUSED),
        ("absent", (), {}, 4, 0, "", NO_SUDO),
        ("needs-password", (), {"CI": "1"}, 4, 0, "sudo: a password is required", CANNOT_ASK),
    ],
    ids=["wrong three times", "end of file", "interrupted", "no sudoer", "no sudo", "CI"],
)
def test_without_root_on_a_terminal_the_plan_is_shown_and_nothing_changed(
    laptop: Make,
    sudo: str,
    answers: tuple[str, ...],
    env: dict[str, str],
    code: int,
    prompts: int,
    said: str,
    last: str,
) -> None:
    mac = laptop()
    mac.sudo = sudo
    before = mac.everything()
    seen = mac.on_terminal("up", answers=answers, **env)
    assert (seen.code, mac.prompts) == (code, prompts)
    assert f"{SHOWN_FIRST}\n  /sbin/ifconfig lo0 alias {IP} netmask" in seen.before
    assert said in f"{seen.before}Password:{seen.after}"
    assert last_line(seen.text).removeprefix("^C") == last
    assert mac.everything() == before
    assert mac.as_root() == []
    assert mac.say("check")[0] == 3


@pytest.mark.parametrize("verb", ["up", "down"])
def test_without_a_terminal_it_neither_hangs_nor_changes_anything(laptop: Make, verb: str) -> None:
    mac = laptop()
    if verb == "down":
        mac.set_up()
    before = mac.everything()
    for sudo, last in (("needs-password", CANNOT_ASK), ("not-sudoer", CANNOT_ASK), ("absent", NO_SUDO)):
        last = last.replace("host-alias up", f"host-alias {verb}")
        mac.sudo = sudo
        code, out, err = mac.say(verb, "--yes", timeout=20)
        assert (code, out) == (4, ""), sudo
        assert f"{SHOWN_FIRST}\n  /" in err, sudo
        assert last_line(err) == last
    assert (mac.everything(), mac.prompts, mac.as_root()) == (before, 0, [])


def test_a_remembered_password_is_no_yes(laptop: Make) -> None:
    mac = laptop()
    mac.sudo = "ticket-cached"
    code, _, err = mac.say("up", "--yes", env={"CI": "1"})
    assert code == 0, err
    assert_is_installed(mac)
    assert mac.on_terminal("down", "--yes", answers=(), CI="1").code == 0
    before = mac.everything()
    done = mac.run([HOST_ALIAS, "up"], cwd=REPO)
    assert done.returncode == 4
    assert last_line(done.stderr).endswith("If it may: sh .localdev/host-alias up --yes")
    child = mac.spawn([HOST_ALIAS, "up"], cwd=REPO, env={"NO_COLOR": "1"})
    child.expect(r"Go on\? \[y/N\] ")
    assert mac.everything() == before
    child.sendline("y")
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, mac.prompts) == (0, 0)
    assert_is_installed(mac)


def test_root_needs_no_sudo(laptop: Make) -> None:
    mac = laptop()
    mac.sudo = "absent"
    code, out, err = mac.say("plan", user=0)
    assert (code, out[:8], err) == (0, "/bin/sh ", "")
    code, out, err = mac.say("up", user=0)
    assert (code, out) == (0, "")
    assert "AS_ROOT" not in err, "there is nothing to agree to"
    assert_is_installed(mac)
    assert mac.say("up", user=0) == (0, "", "")
    assert mac.say("down", "--yes", user=0)[0] == 0
    assert mac.addresses == ["127.0.0.1"]


# ---- a command fails as root


def test_bootstrap_that_fails_twice_is_tried_again(mac: Laptop) -> None:
    mac.fail("launchctl bootstrap", 5, FIVE, times=2)
    code, _, err = mac.say("up")
    assert (code, FIVE in err) == (0, False)
    assert_is_installed(mac)


# Each step fails in test_faults.py.
@pytest.mark.parametrize(
    ("command", "rc", "message", "job"),
    [
        ("launchctl bootstrap", 5, FIVE, "installed, not loaded"),
        ("chown", 1, f"chown: {PLIST}.1: Operation not permitted", "missing"),
    ],
    ids=["bootstrap", "chown"],
)
def test_a_command_that_fails_as_root_is_shown_and_the_last_line_tells_the_state(
    mac: Laptop, command: str, rc: int, message: str, job: str
) -> None:
    mac.fail(command, rc, message)
    code, out, err = mac.say("up")
    assert (code, out) == (1, "")
    assert err.splitlines()[-2:] == [
        message,
        f"host-alias: a command failed (its message is above). Now: {IP} is present, its boot job is {job}",
    ]
    assert (IP in mac.addresses, mac.path(PLIST).exists(), LABEL in mac.loaded) == (True, job != "missing", False)
    assert list(mac.path(DAEMONS).glob("*.plist.*")) == []
    assert mac.say("check")[0] == 3
    # Once the reason is gone, the next run does the rest.
    mac.fail(command, 0, "", times=0)
    assert mac.say("up")[0] == 0
    assert_is_installed(mac)


@pytest.mark.parametrize("richer", [False, True], ids=["5", "37"])
def test_bootstrap_that_fails_because_the_job_is_loaded_is_no_failure(mac: Laptop, richer: bool) -> None:
    mac.set_up()
    mac.remove_alias(IP)
    mac.richer_errors = richer
    mac.fail("launchctl print", 113, "Bad request.", times=2)
    code, _, err = mac.say("up")
    assert (code, "Bootstrap failed" in err) == (0, False)
    assert [call for call in mac.as_root() if "bootstrap" in call] == [f"/bin/launchctl bootstrap system {PLIST}"]
    assert_is_installed(mac)


@pytest.mark.parametrize(
    ("verb", "rc", "message", "last"),
    [
        ("up", 36, "Boot-out failed: 36: Operation now in progress", f"launchd does not let go of {LABEL}"),
        ("down", 1, "Boot-out failed: 1: Operation not permitted", "Boot-out failed: 1: Operation not permitted"),
    ],
)
def test_a_job_that_launchd_keeps_is_a_failure(laptop: Make, verb: str, rc: int, message: str, last: str) -> None:
    mac = laptop()
    mac.sudo = "ok"
    mac.install(edited(mac.plist))
    mac.fail("launchctl bootout", rc, message)
    code, _, err = mac.say(verb, "--yes")
    assert code == 1
    assert message in err
    assert err.splitlines()[-2:] == [
        last,
        f"host-alias: a command failed (its message is above). Now: {IP} is present, its boot job is out of date",
    ]
    assert "bootstrap" not in "".join(mac.as_root())


def test_bootstrap_that_only_says_it_worked_is_a_failure(mac: Laptop) -> None:
    mac.fail("launchctl bootstrap", 0, "")
    code, _, err = mac.say("up")
    assert code == 1
    assert last_line(err) == (
        f"host-alias: the commands ran, yet {IP} is on lo0, but its boot job {PLIST} is installed, not loaded."
        " Run: make dev-status"
    )


def test_an_address_that_vanishes_is_a_failure(mac: Laptop) -> None:
    mac.alias_vanishes = True
    code, _, err = mac.say("up")
    assert code == 1
    assert last_line(err) == f"host-alias: the commands ran, yet {IP} is not on lo0. Run: make dev-status"
    assert mac.say("check")[0] == 3


def test_a_managed_mac_that_forbids_addresses_changes_nothing(mac: Laptop) -> None:
    mac.lo0_denied = True
    before = mac.everything()
    code, _, err = mac.say("up")
    assert code == 1
    assert err.splitlines()[-2:] == [
        "ifconfig: ioctl (SIOCAIFADDR): permission denied",
        f"host-alias: a command failed (its message is above). Now: {IP} is missing, its boot job is missing",
    ]
    assert mac.everything() == before


def test_an_address_that_launchd_adds_late_is_there_at_once(mac: Laptop) -> None:
    mac.alias_late = 3
    assert mac.say("up")[0] == 0
    assert mac.say("check") == (0, "", "")
    assert_is_installed(mac)


def test_a_label_that_was_disabled_is_enabled_again(mac: Laptop) -> None:
    mac.disabled = {LABEL: True}
    mac.install(mac.plist, loaded=False)
    assert mac.say("up")[0] == 0
    assert_is_installed(mac)
    assert mac.disabled == {LABEL: False}
    mac.reboot()
    assert mac.say("check") == (0, "", "")


@pytest.mark.parametrize(("spoilt", "richer"), [("mode", False), ("owner", True), ("quarantine", True)])
def test_a_file_that_launchd_refuses_is_written_again(mac: Laptop, spoilt: str, richer: bool) -> None:
    mac.richer_errors = richer
    path = mac.install(mac.plist, loaded=False)
    if spoilt == "mode":
        path.chmod(0o666)
    elif spoilt == "owner":
        os.chown(path, 501, 20)
    else:
        mac.quarantine(PLIST)
    assert mac.say("up")[0] == 0
    assert_is_installed(mac)
    mac.reboot()
    assert mac.say("check") == (0, "", "")


def test_a_repo_that_a_browser_downloaded_installs_no_quarantined_file(mac: Laptop) -> None:
    mac.quarantine(f"{REPO}/.localdev/host-alias.plist")
    assert mac.say("up")[0] == 0
    assert_is_installed(mac)
    assert os.listxattr(mac.path(PLIST)) == []


# ---- down


def test_down_leaves_nothing(laptop: Make) -> None:
    mac = laptop()
    mac.prior_aliases(2)
    others = mac.masks
    mac.set_up()
    mac.bootout_drains = 3
    seen = mac.on_terminal("down", "--yes")
    assert (seen.code, mac.prompts) == (0, 1)
    others_too = "every repo of this machine that uses the address is cut off"
    assert seen.before == (
        f"host-alias: removing {IP} from lo0, and its boot job: {others_too}.\n{SHOWN_FIRST}\n"
        f"  /bin/launchctl bootout system/{LABEL}\n  /bin/rm -f {PLIST}\n  /sbin/ifconfig lo0 -alias {IP}\n"
        "host-alias: make dev-alias brings both back. All that root runs: sh .localdev/host-alias down --dry-run\n"
    )
    assert seen.after == f"\nhost-alias: {IP} and its boot job are gone.\n"
    assert (mac.masks, mac.loaded, list(mac.path(DAEMONS).iterdir())) == (others, {}, [])
    assert mac.say("check")[0] == 3
    gone = f"host-alias: nothing to remove: {IP} is not on lo0 and nothing adds it at boot.\n"
    assert mac.say("down", "--yes") == (0, "", gone)
    assert mac.say("down", "--dry-run") == (0, "", gone)
    assert mac.prompts == 1
    mac.reboot()
    assert mac.addresses == ["127.0.0.1"]


@pytest.mark.parametrize("rest", ["address", "file", "older file", "newer file"])
def test_down_removes_what_there_is(mac: Laptop, rest: str) -> None:
    if rest == "address":
        mac.add_alias(IP)
    else:
        text = {"older file": edited, "newer file": newer}.get(rest, str)(mac.plist)
        mac.install(text, loaded=rest != "file")
        mac.remove_alias(IP)
    assert mac.say("down", "--yes")[0] == 0
    assert (mac.addresses, mac.loaded, list(mac.path(DAEMONS).iterdir())) == (["127.0.0.1"], {}, [])


def job(*words: str) -> str:
    """Return a boot job of somebody else that runs `words`."""
    strings = "".join(f"<string>{word}</string>" for word in words)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"><dict><key>Label</key><string>x.y</string>'
        f"<key>ProgramArguments</key><array>{strings}</array><key>RunAtLoad</key><true/></dict></plist>\n"
    )


def test_a_loaded_plist_that_anybody_may_write_is_replaced(laptop: Make) -> None:
    """launchd skips it at boot, and root would run what somebody else wrote into it."""
    mac = laptop()
    assert mac.say("up", user=0)[0] == 0
    mac.path(PLIST).chmod(0o666)
    assert mac.say("check")[0] == 3
    mac.sudo = "ok"
    assert mac.say("up")[0] == 0
    assert mac.path(PLIST).stat().st_mode & 0o777 == 0o644
    assert mac.say("check") == (0, "", "")


CLAIMS = {
    "as words": job("/sbin/ifconfig", "lo0", "alias", IP),
    "with a mask": job("/sbin/ifconfig", "lo0", "alias", IP, "netmask", "255.255.255.255"),
    "with a prefix": job("/sbin/ifconfig", "lo0", "alias", f"{IP}/32"),
    "the word alias last": job("/sbin/ifconfig", "lo0", "inet", IP, "netmask", "255.255.255.255", "alias"),
    "bash -c": job("/bin/bash", "-c", f"ifconfig lo0 alias {IP}"),
    "bash -c in quotes": job("/bin/bash", "-c", f"ifconfig lo0 alias '{IP}'"),
    "bash -c with more": job("/bin/bash", "-c", f"ifconfig lo0 alias {IP}; pfctl -e"),
    "bash -c, not the first": job(
        "/bin/bash", "-c", f"(ifconfig lo0 alias 10.1.1.1 &amp;&amp; ifconfig lo0 alias {IP})"
    ),
    "the label that we had before": job("/sbin/ifconfig", "lo0", "alias", IP).replace("x.y", "local.host-alias"),
}


def test_down_refuses_while_another_boot_job_claims_the_address(mac: Laptop) -> None:
    mac.set_up()
    other = f"{DAEMONS}/com.example.other.plist"
    line = (
        f"host-alias: {other} claims {IP}, too, so something else needs it. Leave the address, or remove that one first:"
        f" sudo launchctl bootout system/com.example.other; sudo rm {other}"
    )
    for how, text in CLAIMS.items():
        mac.install(text, other, loaded=False)
        before = mac.everything()
        more = f"; grep -qswF 10.1.1.1 {DAEMONS}/*.plist || sudo ifconfig lo0 -alias 10.1.1.1"
        told = (1, "", f"{line}{more if '10.1.1.1' in text else ''}\n")
        assert (how, *mac.say("down", "--yes")) == (how, *told) == (how, *mac.say("down", "--dry-run"))
        assert (mac.everything(), mac.as_root()) == (before, []), how
        assert f"also     {other}  claims {IP}\n" in mac.say("status")[1], how
    mac.path(other).unlink()
    assert mac.say("down", "--yes")[0] == 0


def test_a_boot_job_that_does_not_add_the_address_claims_nothing(mac: Laptop) -> None:
    mac.set_up()
    for text in (
        job("/sbin/ifconfig", "lo0", "alias", "10.254.254.25"),
        job("/sbin/ifconfig", "lo0", "alias", "110.254.254.254"),
        job("/sbin/ifconfig", "lo0", "-alias", IP),
        job("/usr/bin/nc", IP, "80"),
        "not a plist\n",
        "",
    ):
        mac.install(text, f"{DAEMONS}/com.example.other.plist", loaded=False)
        assert "claims" not in mac.say("status")[1], text
        assert mac.say("down", "--dry-run")[0] == 0, text
    assert mac.say("down", "--yes")[0] == 0
    assert mac.addresses == ["127.0.0.1"]


# ---- status and --dry-run


def test_status_in_each_state(laptop: Make) -> None:
    mac = laptop()

    def status(address: str, job: str, *more: str) -> str:
        return "".join(f"{line}\n" for line in (f"address  {IP}  {address} on lo0", f"job      {PLIST}  {job}", *more))

    todo = "next     make dev-alias"
    assert mac.say("status") == (3, status("missing", "missing", todo), "")
    mac.set_up()
    assert mac.say("status") == (0, status("present", "installed"), "")
    mac.remove_alias(IP)
    assert mac.say("status") == (3, status("missing", "installed", todo), "")
    mac.add_alias(IP)
    mac.run(["/bin/launchctl", "bootout", f"system/{LABEL}"], user=0)
    assert mac.say("status") == (3, status("present", "installed, not loaded", todo), "")
    mac.path(PLIST).write_text(edited(mac.plist))
    assert mac.say("status") == (3, status("present", "out of date", todo), "")
    mac.path(PLIST).unlink()
    assert mac.say("status") == (3, status("present", "missing", todo), "")


def test_dry_run_shows_and_changes_nothing(laptop: Make) -> None:
    mac = laptop()
    before = mac.everything()
    shown = mac.on_terminal("up", "-n", answers=())
    assert (shown.code, shown.text) == (0, mac.say("plan")[1])
    assert (mac.everything(), mac.prompts, mac.as_root()) == (before, 0, [])
    mac.set_up()
    assert mac.say("--dry-run", "up") == (0, "", "")
    before = mac.everything()
    code, plan, err = mac.say("--dry-run", "down")
    assert (code, err) == (0, "")
    assert (mac.everything(), mac.prompts, mac.as_root()) == (before, 0, [])
    assert mac.run(["/bin/sh"], user=0, stdin=plan).returncode == 0
    assert (mac.addresses, mac.loaded, list(mac.path(DAEMONS).iterdir())) == (["127.0.0.1"], {}, [])


# ---- wherever it is called from


def test_it_works_from_any_directory_and_through_links(laptop: Make) -> None:
    mac = laptop()
    mac.path("/Users/alice/link").symlink_to(HOST_ALIAS)
    mac.path("/Users/alice/deep").mkdir()
    mac.path("/Users/alice/deep/relative").symlink_to("../my app's repo/.localdev/host-alias")
    mac.path("/Users/alice/chain").symlink_to("deep/relative")
    places = (
        ("/", [HOST_ALIAS]),
        (f"{REPO}/.localdev", ["./host-alias"]),
        (f"{REPO}/.localdev/alias", ["../host-alias"]),
        ("/Users/alice", ["/bin/sh", "link"]),
        ("/Users/alice", ["./link"]),
        ("/Users/alice", ["deep/relative"]),
        (f"{REPO}/.localdev", ["/bin/sh", "host-alias"]),
        ("/", ["/Users/alice/chain"]),
    )
    missing = (3, "", f"host-alias: {IP} is not on lo0 and nothing adds it at boot. Run: make dev-alias\n")

    def check() -> list[tuple[int, str, str]]:
        done = [mac.run([*command, "check"], cwd=cwd) for cwd, command in places]
        return [(one.returncode, one.stdout, one.stderr) for one in done]

    assert check() == [missing] * len(places)
    cwd, command = places[-1]
    assert mac.run([*command, "up"], cwd=cwd, user=0).returncode == 0
    assert_is_installed(mac)
    assert check() == [(0, "", "")] * len(places)


@pytest.mark.parametrize(
    "env",
    [
        {"HOME": None, "TERM": None, "USER": None, "TMPDIR": "/nowhere", "LC_ALL": "tr_TR.UTF-8"}
        | {"IFS": "0123456789./ ", "CDPATH": "/:/Users", "ENV": "/nowhere", "BASH_ENV": "/nowhere"}
        | {"ip": "10.1.1.1", "label": "x", "job": "ready", "address": "present", "installed": "/etc/passwd"}
        | {"dry_run": "yes", "ask": "-n", "here": "/", "verb": "down", "claimed": IP, "tries": "0", "code": "0"},
        {"LC_ALL": "de_DE.ISO8859-1", "LANG": "ja_JP.SJIS"},
    ],
    ids=["all at once", "locale"],
)
def test_the_environment_changes_nothing(mac: Laptop, env: dict[str, str | None]) -> None:
    code, out, err = mac.say("up", env=env)
    assert (code, out) == (0, "")
    assert last_line(err) == f"host-alias: {IP} is on lo0, now and after every reboot."
    assert_is_installed(mac)
    code, out, err = mac.say("up", env=env)
    # bash itself complains of a locale that is not installed, before the script begins
    assert (code, out, re.sub(".*setlocale.*\n", "", err)) == (0, "", "")


def test_what_comes_first_in_the_path_never_runs_as_root(mac: Laptop) -> None:
    mac.decoys("ifconfig", "launchctl", "chown", "chmod", "route", "sudo", "install", "sed", "grep", "plutil")
    for name in ("sh", "rm", "mv", "sleep", "awk", "tee", "env"):
        mac.write(f"/usr/local/bin/{name}", "#!/bin/sh\nexit 97\n", 0o755, owner=0)
    for name in ("cat", "id", "printf", "test", "["):  # the person's own processes may be found by PATH
        where = "/usr/bin" if name in ("id", "printf") else "/bin"
        text = f'#!/bin/sh\n[ -w / ] && exit 97\nexec {where}/{name} "$@"\n'
        mac.write(f"/usr/local/bin/{name}", text, 0o755, owner=0)
    mac.install(edited(mac.plist))
    mac.bootout_drains = 2
    assert mac.say("up")[0] == 0
    assert_is_installed(mac)
    mac.bootout_drains = 0
    mac.fail("launchctl bootstrap", 5, FIVE, times=1)
    mac.run(["/bin/launchctl", "bootout", f"system/{LABEL}"], user=0)
    assert mac.say("up")[0] == 0
    assert mac.say("down", "--yes")[0] == 0
    assert mac.addresses == ["127.0.0.1"]
    assert not [call for call in mac.calls if call[0].startswith("/usr/local/")]


def test_with_the_host_gateway_nothing_is_looked_at(laptop: Make) -> None:
    mac = laptop()
    before = mac.everything()
    line = "host-alias: LOCALDEV_HOST=host-gateway: containers use Docker's host gateway, no alias is needed.\n"
    for verb in ("check", "up", "plan", "down", "status"):
        assert mac.say(verb, env={"LOCALDEV_HOST": "host-gateway"}) == (0, "", line)
    assert (mac.everything(), mac.calls) == (before, [])


@pytest.mark.parametrize("line", ["END_OF_FILE", "AS_ROOT"])
def test_a_plist_of_the_repo_cannot_end_what_root_reads(laptop: Make, line: str) -> None:
    mac = laptop()
    mac.path(f"{REPO}/.localdev/host-alias.plist").write_text(f"{mac.plist}{line}\ntouch /tmp/canary\n")
    for verb in ("plan", "up"):
        code, out, err = mac.say(verb, user=0)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "Restore it from git" in err
    assert not mac.path("/tmp/canary").exists()
    assert not mac.path("/private/tmp/canary").exists()


@pytest.mark.parametrize("state", ["missing", "of another address"])
def test_a_plist_of_the_repo_that_does_not_fit_the_conf_is_refused(laptop: Make, state: str) -> None:
    mac = laptop()
    ours = mac.path(f"{REPO}/.localdev/host-alias.plist")
    if state == "missing":
        ours.unlink()
    else:
        ours.write_text(mac.plist.replace(IP, "10.254.254.25"))
    for verb in ("check", "plan", "up", "status", "down"):
        code, out, err = mac.say(verb)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "host-alias.plist" in err
    assert mac.as_root() == []
