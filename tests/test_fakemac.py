"""The fake macOS answers as the real one: exact texts, exit codes, permissions and prompts."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from fakemac import FakeMac
from host import ALIAS_IP as IP
from needs import need_command, need_mac

pytestmark = pytest.mark.changes("tests/support/fakemac", "tests/mac", "tests/test_fakemac.py")


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    need_mac()


LABEL = "local.host-alias"
PLIST = f"/Library/LaunchDaemons/{LABEL}.plist"
JOB = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>local.host-alias</string>
  <key>ProgramArguments</key>
  <array>
    <string>/sbin/ifconfig</string>
    <string>lo0</string>
    <string>alias</string>
    <string>10.254.254.254</string>
    <string>netmask</string>
    <string>255.255.255.255</string>
  </array>
  <key>RunAtLoad</key>
  <true/>
</dict>
</plist>
"""
FIVE = "5: Input/output error\n"
NO_TERMINAL = (
    "sudo: a terminal is required to read the password; either use the -S option to read from standard input"
    " or configure an askpass helper\nsudo: a password is required\n"
)


@pytest.fixture
def mac(tmp_path):
    return FakeMac(tmp_path / "mac")


@pytest.fixture
def daemon(mac):
    """A Mac with the daemon's file in place, not loaded."""
    mac.write(PLIST, JOB, owner=0)
    return mac


def ran(mac, line, **options):
    """(exit code, standard output, standard error) of one line of shell."""
    done = mac.sh(line, **options)
    return done.returncode, done.stdout, done.stderr


def root(mac, line, **options):
    return ran(mac, line, user=0, **options)


# ---- the root file system


def test_alice_is_an_ordinary_user_and_the_kernel_knows(mac):
    assert ran(mac, "id -u; id -un; id -gn; pwd; uname; uname -srm") == (
        *(0, "501\nalice\nstaff\n/Users/alice\nDarwin\nDarwin 25.6.0 arm64\n", ""),
    )
    code, _, text = ran(mac, f"echo x > {PLIST}")
    assert code != 0 and "Permission denied" in text
    assert ran(mac, "cp /etc/passwd /Library/LaunchDaemons/x")[0] == 1
    assert root(mac, "touch /usr/bin/x")[0] == 1, "the system volume is read-only for root too"
    assert list(mac.path("/Library/LaunchDaemons").iterdir()) == []


def test_linux_is_not_to_be_seen(mac):
    absent = "timeout getent ip ss nproc flock tac setsid systemctl git docker"
    assert ran(mac, f"command -v {absent}")[1] == "" and ran(mac, "ls -d /proc /sys /home")[1] == ""


PROGRAM = """
import argparse, concurrent.futures, ctypes, dataclasses, http.client, ipaddress, json, queue, shlex, socket, ssl
import subprocess, tempfile, threading, zlib
print(subprocess.check_output(["/usr/bin/uname"], text=True).strip(), socket.getaddrinfo("localhost", 80)[0][4][0])
for name in ("nosuch", "web.app.localhost"):
    try:
        print(socket.getaddrinfo(name, 80))
    except socket.gaierror as error:
        print(error)
try:
    socket.create_connection(("127.0.0.1", int(__import__("sys").argv[1])), timeout=5)
except OSError as error:
    print(error)
"""


def test_python_runs_with_its_standard_library_and_sees_nothing_of_the_real_network(mac):
    with socket.create_server(("127.0.0.1", 0)) as real:
        done = mac.run(["python3", "-", str(real.getsockname()[1])], stdin=PROGRAM)
    unknown = "[Errno -2] Name or service not known"
    assert (done.stdout.splitlines(), done.stderr) == (
        ["Darwin ::1", unknown, unknown, "[Errno 111] Connection refused"],
        "",
    )
    assert mac.calls == [("/usr/bin/uname", [], 501)]


def test_make_runs_recipes_in_the_macs_shell(mac):
    need_command("make")
    mac.write("/Users/alice/Makefile", "x:\n\t@uname; echo -n x\n")
    assert ran(mac, "make x") == (0, "Darwin\n-n x\n", "")


def test_no_mount_is_left_behind(mac):
    mac.sh("true")
    assert str(mac.root) not in Path("/proc/self/mountinfo").read_text()


def test_sw_vers_tells_the_version(mac):
    text = "ProductName:\t\tmacOS\nProductVersion:\t\t26.6.2\nBuildVersion:\t\t25G83\n"
    assert ran(mac, "sw_vers; sw_vers -productVersion") == (0, text + "26.6.2\n", "")


def test_sh_is_bash_in_posix_mode_with_apples_echo(mac):
    script = r'echo -n x; echo "a\tb"; case $(set -o) in *posix*on*) echo posix;; esac; printf %s "$0 $1"'
    assert mac.sh(script, "one").stdout == "-n x\na\tb\nposix\nsh one"
    assert mac.run(["/bin/bash", "-c", r'echo -n "a\tb"']).stdout == r"a\tb"
    mac.write("/Users/alice/x", '#!/bin/sh\nset -e\n. ./missing\necho "not reached"\n', 0o755)
    assert ran(mac, "./x")[:2] == (1, "")
    assert mac.run(["/bin/sh", "-s", "--", "one two"], stdin='printf "%s" "$1"').stdout == "one two"


def test_the_shell_that_was_asked_for_is_sh(tmp_path):
    assert ran(FakeMac(tmp_path / "mac", shell=need_command("dash")), "echo ${BASH_VERSION-none}")[1] == "none\n"


# ---- ifconfig


def test_ifconfig_lists_addresses_as_the_real_one(mac):
    mac.add_alias(IP, "255.255.255.255")
    head = "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 16384\n"
    head += "\toptions=1203<RXCSUM,TXCSUM,TXSTATUS,SW_TIMESTAMP>\n\tinet 127.0.0.1 netmask 0xff000000\n"
    alias = f"\tinet {IP} netmask 0xffffffff\n"
    v6 = "\tinet6 ::1 prefixlen 128 \n\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x1 \n"
    whole = head + v6 + alias + "\tnd6 options=201<PERFORMNUD,DAD>\n"
    assert ran(mac, "ifconfig lo0") == (0, whole, "")
    assert ran(mac, "ifconfig lo0 inet") == (0, head + alias, "")
    for everything in (ran(mac, "ifconfig"), ran(mac, "ifconfig -a")):
        assert everything[1].startswith(whole) and "\tinet 10.0.2.15 netmask" in everything[1]
        assert "\tinet 110.254.254.254 --> " in everything[1]
    assert ran(mac, "ifconfig -l") == (0, "lo0 gif0 stf0 en0 utun0\n", "")
    assert ran(mac, "ifconfig nosuch0") == (1, "", "ifconfig: interface nosuch0 does not exist\n")


def test_inet_lines_end_with_a_space_up_to_13(mac):
    mac.macos = "13.7.1"
    assert "\tinet 127.0.0.1 netmask 0xff000000 \n" in ran(mac, "ifconfig lo0 inet")[1]


DENIED = "ifconfig: ioctl (SIOC{}): permission denied\n"
HOME = {"127.0.0.1": "0xff000000"}


@pytest.mark.parametrize(
    ("line", "code", "text", "after"),
    [
        (f"alias {IP}", 0, "", {**HOME, IP: "0xff000000"}),
        ("alias 169.254.1.1", 0, "", {**HOME, "169.254.1.1": "0xffff0000"}),
        ("alias 172.16.0.1", 0, "", {**HOME, "172.16.0.1": "0xffff0000"}),
        ("alias 192.168.9.9", 0, "", {**HOME, "192.168.9.9": "0xffffff00"}),
        (f"alias {IP}/32", 0, "", {**HOME, IP: "0xffffffff"}),
        (f"alias {IP} netmask 255.255.255.255", 0, "", {**HOME, IP: "0xffffffff"}),
        (f"alias {IP} netmask 0xffffffff up", 0, "", {**HOME, IP: "0xffffffff"}),
        (f"alias {IP} 255.255.255.255", 0, "", {**HOME, IP: "0xff000000"}),
        ("alias 169.254", 0, "", {**HOME, "169.0.0.254": "0xffff0000"}),
        ("alias 010.0.0.1", 0, "", {**HOME, "8.0.0.1": "0xff000000"}),
        ("alias", 0, "", HOME),
        ("-alias", 0, "", {}),
        (IP, 0, "", {IP: "0xff000000"}),
        (f"-alias {IP}", 1, "ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address\n", HOME),
        ("-alias 127.0.0.1", 0, "", {}),
        (f"-alias {IP}/32", 1, f"ifconfig: {IP}/32: bad value\n", HOME),
        (f"alias {IP}/33", 1, f"ifconfig: {IP}/33: bad value\n", HOME),
        ("alias foo", 1, "ifconfig: foo: bad value\n", HOME),
        ("alias 1.2.3.999", 1, "ifconfig: 1.2.3.999: bad value\n", HOME),
        ("alias ''", 1, "ifconfig: : bad value\n", HOME),
        ("alias 0.0.0.0", 1, "ifconfig: ioctl (SIOCAIFADDR): Invalid argument\n", HOME),
        ("alias 255.255.255.255", 1, "ifconfig: ioctl (SIOCAIFADDR): Invalid argument\n", HOME),
        ("alias 224.0.0.1", 1, "ifconfig: ioctl (SIOCAIFADDR): Invalid argument\n", HOME),
    ],
)
def test_ifconfig_takes_or_refuses_a_change_as_the_real_one(mac, line, code, text, after):
    assert root(mac, f"/sbin/ifconfig lo0 {line}") == (code, "", text)
    assert mac.masks == after


def test_ifconfig_add_is_idempotent_and_changes_a_mask_only_when_given(mac):
    mac.prior_aliases(3)
    mac.add_alias(IP)
    assert root(mac, f"ifconfig lo0 alias {IP}") == (0, "", "") and mac.masks[IP] == "0xff000000"
    assert root(mac, f"ifconfig lo0 alias {IP}/32") == (0, "", "") and mac.masks[IP] == "0xffffffff"
    assert root(mac, f"ifconfig lo0 alias {IP}") == (0, "", "") and mac.masks[IP] == "0xffffffff"
    assert mac.addresses == ["127.0.0.1", "10.200.0.1", "10.200.0.2", "10.200.0.3", IP]


@pytest.mark.parametrize("user", [501, 0])
def test_ifconfig_refuses_who_may_not_change_lo0(mac, user):
    mac.lo0_denied = user == 0  # a management profile denies even root
    assert ran(mac, f"ifconfig lo0 alias {IP}", user=user) == (1, "", DENIED.format("AIFADDR"))
    assert ran(mac, "ifconfig lo0 -alias 127.0.0.1", user=user) == (1, "", DENIED.format("DIFADDR"))
    assert ran(mac, f"ifconfig lo0 alias {IP} up", user=user) == (1, "", "ifconfig: up: permission denied\n")
    assert mac.masks == HOME


def test_an_alias_can_vanish_though_ifconfig_exits_0(mac):
    mac.alias_vanishes = True
    assert root(mac, f"ifconfig lo0 alias {IP}") == (0, "", "") and mac.masks == HOME


def test_a_closed_pipe_kills_silently(mac):
    assert ran(mac, "for i in 1 2 3; do ifconfig | head -n 1 >/dev/null; done; ifconfig -l | grep -q lo0") == (
        0,
        "",
        "",
    )


# ---- sudo


def test_sudo_without_a_terminal_asks_nobody(mac):
    assert ran(mac, "sudo -n true") == (1, "", "sudo: a password is required\n")
    assert ran(mac, "sudo true") == (1, "", NO_TERMINAL)
    mac.sudo = "ticket-cached"
    assert ran(mac, "sudo -n id -u") == (0, "0\n", "")
    assert ran(mac, "sudo -k && sudo -n true")[0] == 1
    mac.sudo = "ok"
    assert ran(mac, "sudo sh -c 'exit 7'") == (7, "", "")
    assert ran(mac, "sudo nosuch") == (1, "", "sudo: nosuch: command not found\n")
    mac.sudo = "absent"
    assert ran(mac, "sudo true")[0] == 127
    assert mac.prompts == 0


def test_sudo_reads_the_password_from_standard_input(mac):
    line = "sudo -S -p 'for %p: ' -- sh -c 'cat; id -u'"
    assert ran(mac, line, stdin="secret\nrest\n") == (0, "rest\n0\n", "for alice: ")
    assert mac.prompts == 1


def test_sudo_keeps_path_and_home_and_nothing_else(mac):
    mac.sudo = "ok"
    _, out, _ = ran(mac, "sudo B=2 env", env={"A": "1", "PATH": "/tmp:/bin:/usr/bin"})
    lines = out.splitlines()
    assert {"PATH=/tmp:/bin:/usr/bin", "HOME=/Users/alice", "USER=root", "B=2", "SUDO_USER=alice"} <= set(lines)
    assert "A=1" not in lines
    assert ran(mac, "sudo -H sh -c 'echo $HOME'")[1] == "/var/root\n"


def test_sudo_asks_once_on_a_terminal_while_standard_input_feeds_the_command(mac):
    child = mac.spawn(
        ["/bin/sh", "-c", "sudo /bin/sh -s -- 'a b' <<'E'\nprintf '<%s %s>' \"$1\" \"$(id -u)\"\nE\nsudo id -u"]
    )
    child.expect_exact("Password:")
    child.sendline("secret")
    child.expect_exact("<a b 0>")
    child.expect_exact("0\r\n")
    child.wait()
    assert child.exitstatus == 0 and mac.prompts == 1 and mac.ticket is True


def test_sudo_gives_up_after_three_wrong_passwords(mac):
    child = mac.spawn(["sudo", "touch", "/Library/LaunchDaemons/x"])
    for attempt in range(3):
        child.expect_exact("Password:")
        child.sendline("wrong")
        if attempt < 2:
            child.expect_exact("Sorry, try again.")
    child.expect_exact("sudo: 3 incorrect password attempts")
    child.wait()
    assert (child.exitstatus, mac.prompts) == (1, 3) and not mac.path("/Library/LaunchDaemons/x").exists()


def test_sudo_interrupted_gives_the_echo_back(mac):
    child = mac.spawn(["/bin/bash", "-c", "trap : INT; sudo true; echo rc $?; stty -a"])
    child.expect_exact("Password:")
    child.sendintr()
    child.expect_exact("rc 1\r\n")
    child.expect(" echo ")
    child.close()


@pytest.mark.parametrize(
    ("macos", "text"),
    [
        ("26.6.2", "alice is not in the sudoers file.\r\nThis incident has been reported to the administrator."),
        ("13.7.1", "alice is not in the sudoers file.  This incident will be reported."),
    ],
)
def test_sudo_reports_who_is_not_in_sudoers(mac, macos, text):
    mac.macos, mac.sudo = macos, "not-sudoer"
    child = mac.spawn(["sudo", "true"])
    child.expect_exact("Password:")
    child.sendline("secret")
    child.expect_exact(text)
    child.wait()
    assert child.exitstatus == 1 and mac.ticket is False


# ---- launchd


def test_bootstrap_runs_the_job_as_root(daemon):
    assert root(daemon, f"launchctl bootstrap system {PLIST}") == (0, "", "")
    assert daemon.masks == {**HOME, IP: "0xffffffff"}
    assert daemon.calls[-1] == ("/sbin/ifconfig", ["lo0", "alias", IP, "netmask", "255.255.255.255"], 0)
    code, out, err = ran(daemon, f"launchctl print system/{LABEL}")
    assert (code, err) == (0, "") and "\truns = 1\n\tlast exit code = 0\n" in out and "\tstate = not running\n" in out
    assert daemon.warnings == []
    assert root(daemon, f"launchctl list {LABEL} | grep LastExit")[1] == '\t"LastExitStatus" = 0;\n'
    assert f"-\t0\t{LABEL}\n" in root(daemon, "launchctl list")[1]
    assert ran(daemon, f"launchctl list {LABEL}")[0] == 113
    assert root(daemon, f"launchctl bootout system/{LABEL}") == (0, "", "")
    assert IP in daemon.addresses, "leaving launchd does not take the address away"


def test_print_of_an_absent_service_exits_113(mac):
    text = f'Bad request.\nCould not find service "{LABEL}" in domain for system\n'
    assert ran(mac, f"launchctl print system/{LABEL}") == (113, "", text)


def _chmod(mode):
    return lambda mac: mac.path(PLIST).chmod(mode)


@pytest.mark.parametrize(
    ("spoil", "plain", "rich"),
    [
        (_chmod(0o666), 5, "122: Path had bad ownership/permissions"),
        (_chmod(0o664), 5, "122: Path had bad ownership/permissions"),
        (lambda mac: os.chown(mac.path(PLIST), 501, 0), 5, "122: Path had bad ownership/permissions"),
        (lambda mac: mac.path(PLIST).unlink(), 5, "108: Invalid path"),
        (lambda mac: mac.write(PLIST, JOB.replace("</dict>", ""), owner=0), 5, "109: Invalid property list"),
        (lambda mac: mac.write(PLIST, JOB.replace("Label<", "Lable<"), owner=0), 5, "110: Missing service identifier"),
        (
            lambda mac: mac.write(PLIST, JOB.replace(LABEL, "com.apple.x"), owner=0),
            140,
            "140: Service name is reserved",
        ),
        (lambda mac: mac.quarantine(PLIST), 155, "155: Path is quarantined"),
        (lambda mac: root(mac, f"launchctl disable system/{LABEL}"), 5, "119: Service is disabled"),
        (lambda mac: root(mac, f"launchctl bootstrap system {PLIST}"), 5, "37: Operation already in progress"),
    ],
)
def test_bootstrap_refuses_what_launchd_would_not_load(daemon, spoil, plain, rich):
    spoil(daemon)
    runs = len(daemon.calls)
    code, out, err = root(daemon, f"launchctl bootstrap system {PLIST}")
    assert (code, out) == (plain, "") and (plain != 5 or err == f"Bootstrap failed: {FIVE}")
    daemon.richer_errors = True
    code, out, err = root(daemon, f"launchctl bootstrap system {PLIST}")
    assert (code, out) == (int(rich.split(":")[0]), "") and err.startswith(f"Bootstrap failed: {rich}")
    assert len(daemon.calls) == runs + 2, "nothing was run"


def test_launchctl_lets_an_ordinary_user_change_nothing(daemon):
    root(daemon, f"launchctl bootstrap system {PLIST}")
    for line, text in (
        (f"bootout system/{LABEL}", "Boot-out failed: 1: Operation not permitted\n"),
        (f"enable system/{LABEL}", "Could not enable service: 1: Operation not permitted\n"),
        (f"kickstart -k system/{LABEL}", f'Could not kickstart service "{LABEL}": 1: Operation not permitted\n'),
        (f"bootstrap system {PLIST}", "Bootstrap failed: 1: Operation not permitted\n"),
    ):
        assert ran(daemon, f"launchctl {line}") == (1, "", text)


def test_bootout_of_what_is_not_loaded_fails(daemon):
    assert root(daemon, f"launchctl bootout system/{LABEL}") == (3, "", "Boot-out failed: 3: No such process\n")
    assert root(daemon, f"launchctl bootout system {PLIST}") == (5, "", f"Boot-out failed: {FIVE}")


def test_legacy_load_and_unload_exit_0_on_failure(daemon):
    daemon.path(PLIST).chmod(0o666)
    text = f"Load failed: {FIVE}Try running `launchctl bootstrap` as root for richer errors.\n"
    assert root(daemon, f"launchctl load {PLIST}") == (0, "", text) == ran(daemon, f"launchctl load -w {PLIST}")
    daemon.path(PLIST).chmod(0o644)
    text = f"Unload failed: {FIVE}Try running `launchctl bootout` as root for richer errors.\n"
    assert root(daemon, f"launchctl unload {PLIST}") == (0, "", text)
    assert root(daemon, f"launchctl load {PLIST}") == (0, "", "") and LABEL in daemon.loaded


def test_a_job_that_drains_cannot_be_loaded_until_it_is_gone(daemon):
    daemon.bootout_drains = 2
    root(daemon, f"launchctl bootstrap system {PLIST}")
    assert root(daemon, f"launchctl bootout system/{LABEL}") == (0, "", "")
    assert root(daemon, f"launchctl bootout system/{LABEL}")[0] == 36
    assert root(daemon, f"launchctl bootstrap system {PLIST}")[0] == 5
    assert [ran(daemon, f"launchctl print system/{LABEL}")[0] for _ in range(3)] == [0, 113, 113]
    assert root(daemon, f"launchctl bootstrap system {PLIST}")[0] == 0


def test_print_disabled_lists_what_was_disabled_or_enabled(mac):
    assert root(mac, "launchctl disable system/a && launchctl disable system/b && launchctl enable system/b")[0] == 0
    assert ran(mac, "launchctl print-disabled system") == (
        *(0, '\tdisabled services = {\n\t\t"a" => disabled\n\t\t"b" => enabled\n\t}\n', ""),
    )


def test_kickstart_runs_the_definition_in_memory(daemon):
    assert root(daemon, f"launchctl kickstart -k system/{LABEL}")[0] == 113
    root(daemon, f"launchctl bootstrap system {PLIST}")
    daemon.write(PLIST, JOB.replace(IP, "10.9.9.9"), owner=0)
    daemon.remove_alias(IP)
    assert root(daemon, f"launchctl kickstart -k system/{LABEL}") == (0, "", "")
    assert daemon.addresses == ["127.0.0.1", IP] and daemon.loaded[LABEL]["runs"] == 2


def test_a_job_that_cannot_run_loads_all_the_same(daemon):
    daemon.write(PLIST, JOB.replace("/sbin/ifconfig", "/sbin/nosuch"), owner=0)
    assert root(daemon, f"launchctl bootstrap system {PLIST}") == (0, "", "")
    assert daemon.loaded[LABEL]["exit"] == 78 and daemon.addresses == ["127.0.0.1"]


def test_a_late_alias_is_not_listed_at_first(daemon):
    daemon.alias_late = 2
    root(daemon, f"launchctl bootstrap system {PLIST}")
    assert [IP in ran(daemon, "ifconfig lo0 inet")[1] for _ in range(3)] == [False, False, True]


def test_a_command_fails_as_often_as_it_was_told(mac):
    mac.fail("launchctl bootstrap", 125, "Bootstrap failed: 125: no", times=1)
    assert root(mac, "launchctl bootstrap system /x") == (125, "", "Bootstrap failed: 125: no\n")
    assert root(mac, "launchctl bootstrap system /x")[0] == 5


def test_reboot_restores_the_alias(daemon):
    daemon.sudo = "ticket-cached"
    daemon.prior_aliases(1)
    daemon.reboot()
    assert daemon.addresses == ["127.0.0.1", IP] and LABEL in daemon.loaded and daemon.ticket is False


@pytest.mark.parametrize(
    "spoil",
    [
        _chmod(0o666),
        lambda mac: os.chown(mac.path(PLIST), 501, 0),
        lambda mac: mac.quarantine(PLIST),
        lambda mac: mac.path(PLIST).rename(mac.path(PLIST + ".off")),
        lambda mac: root(mac, f"launchctl disable system/{LABEL}"),
        lambda mac: setattr(mac, "btm_denied", [LABEL]),
        lambda mac: root(mac, f"mv {PLIST} /var/root/p && ln -s /var/root/p {PLIST}"),
    ],
)
def test_reboot_does_not_start_what_launchd_would_not(daemon, spoil):
    spoil(daemon)
    daemon.reboot()
    assert daemon.addresses == ["127.0.0.1"] and daemon.loaded == {}


# ---- property lists


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (JOB.replace("</dict>", ""), "Close tag on line 19 does not match open tag dict"),
        (JOB.replace("</dict>\n</plist>", ""), "Encountered unexpected EOF"),
        (JOB.replace("<key>Label</key>", ""), "Found non-key inside <dict> at line 6"),
        (JOB.replace("<true/>", ""), "Value missing for key inside <dict> at line 18"),
        (JOB.replace("<true/>", "<yes/>"), "Encountered unknown tag yes on line 17"),
        (JOB.replace("lo0", "a & b"), "Encountered unknown ampersand-escape sequence at line 10"),
        (JOB.replace("lo0", "&nbsp;"), "Encountered unknown ampersand-escape sequence at line 10"),
        ("hello", "Property List error: Unexpected character h at line 1 / JSON error: "),
        (
            None,
            "file does not exist or is not readable or is not a regular file (Error Domain=NSCocoaErrorDomain Code=260",
        ),
    ],
)
def test_plutil_lint_complains_on_standard_output(mac, text, reason):
    if text is not None:
        mac.write("/Users/alice/x.plist", text)
    code, out, err = ran(mac, "plutil -lint x.plist")
    assert (code, err) == (1, "") and out.startswith(f"x.plist: {reason}")


def test_plutil_checks_and_reads_plists(mac):
    mac.write("/Users/alice/x.plist", JOB.replace('"-//Apple//DTD PLIST 1.0//EN"', "-//Apple//DTD"))
    assert ran(mac, "plutil -lint x.plist; plutil -lint -s x.plist; plutil -s x.plist") == (0, "x.plist: OK\n", "")
    assert ran(mac, "plutil -extract Label raw x.plist") == (0, f"{LABEL}\n", "")
    assert ran(mac, "plutil -extract ProgramArguments.3 raw -o - x.plist") == (0, f"{IP}\n", "")
    assert ran(mac, "plutil -extract RunAtLoad raw x.plist") == (0, "true\n", "")
    code, out, err = ran(mac, "plutil -extract No raw x.plist")
    assert (code, err) == (1, "") and out.endswith("No value at that key path or invalid key path: No\n")
    assert '  "RunAtLoad" => true\n' in ran(mac, "plutil -p x.plist")[1]
    assert ran(mac, "plutil -convert xml1 -o - x.plist | plutil -lint -") == (0, "-: OK\n", "")


# ---- files


def test_install_sets_owner_and_mode_only_where_it_may(mac):
    mac.write("/Users/alice/x", "text")
    target = "/Library/LaunchDaemons/x"
    text = "install: /Users/alice/y: chown/chgrp: Operation not permitted\n"
    assert ran(mac, "install -o root -g wheel -m 644 x /Users/alice/y") == (71, "", text)
    assert not mac.path("/Users/alice/y").exists()
    assert ran(mac, f"install -m 644 x {target}") == (71, "", f"install: {target}: Permission denied\n")
    mac.quarantine("/Users/alice/x")
    assert root(mac, f"install -S -o root -g wheel -m 644 /Users/alice/x {target}") == (0, "", "")
    about = mac.path(target).stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (0, 0, 0o644)
    assert ran(mac, f"stat -f '%Su:%Sg %Lp %OLp %z %HT' {target}")[1] == "root:wheel 644 0644 4 Regular File\n"
    assert ran(mac, f"xattr {target}")[1] == "com.apple.quarantine\n", "install copies the quarantine"
    assert root(mac, f"xattr -d com.apple.quarantine {target}; xattr -p com.apple.quarantine {target}") == (
        *(1, "", f"xattr: {target}: No such xattr: com.apple.quarantine\n"),
    )
    assert ran(mac, "install -D x y")[0] == 64
    assert ran(mac, "install -g nosuch x y") == (67, "", "install: unknown group nosuch\n")
    assert ran(mac, "install x y -m 600")[0] == 64, "options end at the first operand"


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("stat -c %U x", 1, "stat: illegal option -- c\n"),
        ("stat -f %p nosuch", 1, "stat: nosuch: stat: No such file or directory\n"),
        ("sed -i s/a/b/ x", 1, "sed: -i may not be used with stdin\n"),
        ("sed -i s/a/b/ file", 1, 'sed: 1: "file": invalid command code f\n'),
        ("sed s/a/b/ nosuch", 1, "sed: "),
        ("sed --version", 1, "sed: illegal option -- -\n"),
        ("chown root x", 1, "chown: x: Operation not permitted\n"),
        ("chown :nosuch x", 1, "chown: nosuch: illegal group name\n"),
        ("chmod 644 /etc/passwd", 1, "chmod: Unable to change file mode on /etc/passwd: Operation not permitted\n"),
        ("cp --preserve x y", 64, "cp: illegal option -- -\n"),
        ("grep -P a x", 2, "grep: invalid option -- P\n"),
        ("date -d yesterday", 1, "date: illegal option -- d\n"),
        ("mktemp -p /tmp", 1, "mktemp: illegal option -- p\n"),
        ("readlink nosuch", 1, ""),
    ],
)
def test_bsd_tools_refuse_what_only_gnus_know(mac, line, code, text):
    mac.write("/Users/alice/x", "a\n")
    done = ran(mac, line)
    assert (done[0], done[1]) == (code, "") and done[2].startswith(text)
    assert mac.path("/Users/alice/x").read_text() == "a\n"


def test_bsd_tools_work_as_on_a_mac(mac):
    mac.write("/Users/alice/x", "a\n")
    assert ran(
        mac, "sed -i '' s/a/b/ x && sed -i.bak -e s/b/c/ x && cat x x.bak; echo abc | sed -n -E 's/(b)/<\\1>/p'"
    ) == (*(0, "c\nb\na<b>c\n", ""),)
    assert ran(mac, "mktemp -t pre")[1].startswith("/var/folders/alice/T/pre.")
    made = ran(mac, "mktemp /tmp/x.XXXXXX")[1].strip()
    assert len(made) == len("/tmp/x.XXXXXX") and mac.path(made).stat().st_mode & 0o777 == 0o600
    assert ran(mac, "mktemp /tmp/x.XXXXXX.plist; mktemp /tmp/x.XXXXXX.plist") == (
        *(1, "/tmp/x.XXXXXX.plist\n", "mktemp: mkstemp failed on /tmp/x.XXXXXX.plist: File exists\n"),
    )
    assert ran(mac, "chmod 600 x; chmod u+x x; stat -f %Sp x")[1] == "-rwx------\n"
    assert ran(mac, "printf 'a b\\n' | awk '$1 == \"a\" { print $2 }'; date +%Y | grep -c 20") == (0, "b\n1\n", "")


# ---- processes


def test_ps_shows_everybody_with_all_words(mac):
    mac.start(4200, "npm run dev", parent=4100)
    mac.listen(3000, command="node", pid=4242, line="node /Users/alice/my app/vite --port 3000", parent=4200)
    mac.listen(3000, "::1", command="node", pid=4242, line="node /Users/alice/my app/vite --port 3000", parent=4200)
    mac.listen(4000, user="bob", pid=77, command="puma")
    lines = [
        "    1     0 /sbin/launchd",
        "   77     1 puma",
        " 4200  4100 npm run dev",
        " 4242  4200 node /Users/alice/my app/vite --port 3000",
    ]
    for options in ("-axo pid=,ppid=,command=", "-A -o pid= -o ppid= -o command=", "-axwwo pid=,ppid= -ocommand="):
        assert ran(mac, f"ps {options}") == (0, "\n".join(lines) + "\n", "")
    assert ran(mac, "ps -p 4242 -o ppid=,comm=,user=") == (0, " 4200 node             alice\n", "")
    assert ran(mac, "ps -p 1,77 -o uid,command") == (0, "  UID COMMAND\n    0 /sbin/launchd\n  502 puma\n", "")
    assert ran(mac, "ps -p 5 -o ppid=,command=") == (1, "", "")


def test_ps_ends_lines_where_the_screen_does(mac):
    mac.start(5, "node " + "x" * 200)
    assert [len(ran(mac, f"ps -p 5 -o pid=,command= {more}")[1]) for more in ("", "-w", "-ww")] == [80, 132, 212]
    assert len(ran(mac, "COLUMNS=300 ps -p 5 -o pid=,command=")[1]) == 212
    mac.start(6, "node a\tb\033[31m")
    assert ran(mac, "ps -ww -p 6 -o command=")[1] == "node a^Ib^[[31m\n"


def test_ps_says_what_it_does_not_know(mac):
    assert ran(mac, "ps -axo nosuch=") == (1, "", "ps: nosuch: keyword not found\n")
    assert ran(mac, "ps aux") == (70, "", "fakemac: not modelled: ps aux\n")
    assert ran(mac, "ps -ef") == (70, "", "fakemac: not modelled: ps -ef\n")


# ---- network


def test_lsof_shows_a_user_only_their_own(mac):
    mac.listen(3000, command="node helper app")
    mac.listen(3000, "127.0.0.1", command="node helper app")
    mac.listen(4000, user="bob", pid=77)
    table = "COMMAND   PID  USER   FD   TYPE             DEVICE SIZE/OFF NODE NAME\n"
    code, out, _ = ran(mac, "lsof -nP -iTCP:3000 -sTCP:LISTEN")
    assert code == 0 and out.startswith(table + "node\\x20h 12345 alice   23u  IPv6")
    assert [line.split(" TCP ")[1] for line in out.splitlines()[1:]] == ["*:3000 (LISTEN)", "127.0.0.1:3000 (LISTEN)"]
    assert ran(mac, "lsof -nP -iTCP:4000 -sTCP:LISTEN") == (1, "", "") == root(mac, "lsof -nP -iTCP:5000 -sTCP:LISTEN")
    assert root(mac, "lsof -nP -iTCP:4000 -sTCP:LISTEN -t") == (0, "77\n", "")
    assert ran(mac, "lsof -nP -iTCP:3000 -sTCP:LISTEN -FpcLn")[1] == (
        "p12345\ncnode helper app\nLalice\nf23\nn*:3000\nf24\nn127.0.0.1:3000\n"
    )


@pytest.mark.parametrize(
    ("macos", "header", "process"),
    [
        ("15.3.2", "(state)     rhiwat shiwat    pid   epid state  options", "77"),
        ("15.7.1", "(state)          rxbytes      txbytes  rhiwat  shiwat    pid   epid state  options", "77"),
        (
            "26.6.2",
            "(state)          rxbytes      txbytes  rhiwat  shiwat          process:pid    state  options",
            "my app:77",
        ),
    ],
)
def test_netstat_shows_everybody(mac, macos, header, process):
    mac.macos = macos
    mac.listen(3000, user="bob", pid=77, command="my app")
    mac.listen(3001, "::1")
    first, second, *rows = ran(mac, "netstat -anv -p tcp")[1].splitlines()
    assert first == "Active Internet connections (including servers)" and header in second
    assert (
        rows[0].split()[0::3][:2] == ["tcp46", "*.3000"]
        and rows[0].split()[5] == "LISTEN"
        and f" {process} " in rows[0]
    )
    assert rows[1].split()[3] == "::1.3001"
    # Clients are in the listing, too, on this machine's loopback interface and on another one.
    assert [row.split()[3:6] for row in rows[2:]] == [
        ["10.0.2.15.52011", "10.0.2.99.3000", "ESTABLISHED"],
        ["127.0.0.1.52012", "127.0.0.1.3001", "CLOSE_WAIT"],
    ]


def test_netstat_and_route_tell_the_same_routes(mac):
    mac.add_alias(IP, "255.255.255.255")
    mac.cover("10.0.0.0/8")
    table = ran(mac, "netstat -rn -f inet")[1]
    assert table.startswith(
        "Routing tables\n\nInternet:\nDestination        Gateway            Flags               Netif Expire\n"
    )
    assert "default            10.0.2.2           UGScg                 en0       \n" in table
    assert f"{IP}     {IP}     UH                    lo0       \n" in table
    assert "169.254            link#7             UCS                   en0      !\n" in table
    columns = " recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire\n"
    numbers = "   49152     49152         0         0         0         0     16384         0 \n"
    text = f"   route to: {IP}\ndestination: {IP}\n  interface: lo0\n      flags: <UP,HOST,DONE,LOCAL>\n"
    assert ran(mac, f"route -n get {IP}") == (0, text + columns + numbers, "")
    assert "destination: 10.0.0.0\n       mask: 255.0.0.0\n  interface: utun0\n" in ran(mac, "route -n get 10.1.1.1")[1]
    assert "destination: default\n       mask: default\n    gateway: 10.0.2.2\n" in ran(mac, "route -n get 9.9.9.9")[1]
    assert ran(mac, "route -n get nonsense") == (68, "", "route: bad address: nonsense\n")
    assert ran(mac, "route add 1.2.3.4 5.6.7.8") == (77, "", "route: must be root to alter routing table\n")


def test_netstat_shortens_networks(mac):
    networks = ["10.254.0.0/16", "10.254.128.0/17", "0.0.0.0/1", "128.0.0.0/1", "172.16.0.0/12", "192.168.7.0/24"]
    for network in [*networks, "10.0.0.0/8", "10.0.0.0/24", "9.9.9.9/32"]:
        mac.cover(network)
    words = [line.split()[0] for line in ran(mac, "netstat -rn -f inet")[1].splitlines() if "utun0" in line]
    shown = ["10.254/16", "10.254.128/17", "0/1", "128.0/1", "172.16/12", "192.168.7"]
    assert words == [*shown, "10", "10/24", "9.9.9.9/32"]


def test_nc_reaches_who_listens_and_dscacheutil_resolves(mac):
    mac.listen(3000)
    mac.listen(4000, "127.0.0.1")
    mac.add_alias(IP)
    assert ran(mac, f"nc -z -G 2 -w 2 {IP} 3000") == (0, "", f"Connection to {IP} port 3000 [tcp/*] succeeded!\n")
    refused = f"nc: connectx to {IP} port 4000 (tcp) failed: Connection refused\n"
    assert ran(mac, f"nc -vz -G 2 {IP} 4000") == (1, "", refused) and ran(mac, f"nc -z {IP} 4000") == (1, "", "")
    assert ran(mac, "nc -z 127.0.0.1 4000")[0] == 0
    text = "name: localhost\nipv6_address: ::1\n\nname: localhost\nip_address: 127.0.0.1\n\n"
    assert ran(mac, "dscacheutil -q host -a name localhost; dscacheutil -q host -a name nosuch") == (0, text, "")


# ---- the API


def test_calls_are_logged_as_invoked_and_decoys_catch_the_careless(mac):
    mac.sudo = "ok"
    mac.decoys("ifconfig")
    assert ran(mac, "ifconfig lo0")[0] == 97 and ran(mac, "sudo /sbin/ifconfig lo0 inet")[0] == 0
    assert mac.calls == [
        ("/usr/local/bin/ifconfig", ["lo0"], 501),
        ("/usr/bin/sudo", ["/sbin/ifconfig", "lo0", "inet"], 501),
        ("/sbin/ifconfig", ["lo0", "inet"], 0),
    ]
    mac.forget_calls()
    assert mac.calls == []


STEPS = "ifconfig lo0 alias 10.1.1.1; cat >/tmp/text; ifconfig lo0 alias 10.1.1.2"


@pytest.mark.parametrize(
    ("step", "when", "text", "last"),
    [
        (1, "before", None, []),
        (1, "after", None, ["10.1.1.1"]),
        (2, "before", "", ["10.1.1.1"]),
        (2, "middle", "1234", ["10.1.1.1"]),
        (2, "after", "12345678", ["10.1.1.1"]),
        (3, "before", "12345678", ["10.1.1.1"]),
        (3, "after", "12345678", ["10.1.1.1", "10.1.1.2"]),
        (4, "before", "12345678", ["10.1.1.1", "10.1.1.2"]),
    ],
)
def test_everything_is_killed_at_the_step_of_root_that_was_asked_for(mac, step, when, text, last):
    mac.sudo = "ok"
    mac.trace("/bin/cat", "/sbin/ifconfig", "/bin/cat")
    mac.kill_at(step, when)
    # What alice calls is no step; neither her shell nor root's can clean up.
    line = f"trap 'echo trap' EXIT; ifconfig lo0 >/dev/null; printf 12345678 | sudo sh -c \"trap 'echo trap' EXIT; {STEPS}\""
    code, out, _ = ran(mac, line)
    killed = step < 4
    assert (code, out) == ((-9, "") if killed else (0, "trap\ntrap\n"))
    assert mac.addresses == ["127.0.0.1", *last]
    file = mac.path("/private/tmp/text")
    assert (file.read_text() if file.exists() else None) == text


def test_a_traced_tool_is_logged_and_can_fail_for_root_only(mac):
    mac.trace("/bin/ls")
    mac.fail("ls -d /", 3, "ls: no", root=True)
    assert ran(mac, "ls -d /") == (0, "/\n", "")
    assert root(mac, "/bin/ls -d /") == (3, "", "ls: no\n")
    assert root(mac, "ls -d /tmp") == (0, "/tmp\n", "")
    assert [call[1:] for call in mac.calls] == [(["-d", "/"], 501), (["-d", "/"], 0), (["-d", "/tmp"], 0)]


def test_late_commands_are_late(mac):
    mac.delay = 0.2
    start = time.monotonic()
    mac.sh("for i in 1 2 3 4 5 6 7 8; do ifconfig lo0 inet; done")
    assert 0.2 < time.monotonic() - start < 5


def test_a_disk_can_be_full_or_read_only(mac):
    write = "printf 'a%4095s' >/Library/LaunchDaemons/{name}"
    with mac.small_disk("/Library/LaunchDaemons", "4k"):
        assert root(mac, write.format(name="x"))[0] == 0
        code, _, err = root(mac, write.format(name="y"))
        assert code != 0 and "No space left on device" in err
        assert root(mac, "ls /Library/LaunchDaemons")[1] == "x\ny\n"
    with mac.read_only("/Library"):
        code, _, err = root(mac, write.format(name="x"))
        assert code != 0 and "Read-only file system" in err
    assert root(mac, "ls /Library/LaunchDaemons")[1] == ""
    assert root(mac, write.format(name="x")) == (0, "", "")


def test_what_was_put_into_the_mac_is_alices(mac, tmp_path):
    source = tmp_path / "repo"
    (source / "in").mkdir(parents=True)
    (source / "in/x").write_text('#!/bin/sh\necho "$PWD"; cat\n')
    (source / "in/x").chmod(0o755)
    mac.put(source, "/Users/alice/My Code/repo")
    done = mac.run(["in/x"], cwd="/Users/alice/My Code/repo", stdin="given")
    assert done.stdout == "/Users/alice/My Code/repo\ngiven"
    assert ran(mac, "touch new; mkdir a; stat -f %Su . in/x", cwd="/Users/alice/My Code/repo")[:2] == (
        0,
        "alice\nalice\n",
    )


def test_standard_streams_have_names(mac):
    assert ran(mac, "echo a | tee /dev/stderr; cat /dev/stdin", stdin="b") == (0, "a\nb", "a\n")


def test_what_is_not_modelled_says_so(mac):
    code, _, err = ran(mac, "plutil -replace a -string b x")
    assert code == 70 and err == "fakemac: not modelled: plutil -replace\n"


def test_it_is_fast_enough(tmp_path):
    FakeMac(tmp_path / "first")
    start = time.monotonic()
    mac = FakeMac(tmp_path / "mac")
    built = time.monotonic()
    assert built - start < 2 and sys.version_info >= (3, 11)
    mac.sh("for i in 1 2 3 4 5; do ifconfig lo0 inet; done")
    assert time.monotonic() - built < 5


# --- the script that asks a real Mac ----------------------------------------------------------------------------------

CONFIRM = Path(__file__).parent / "mac/confirm"
MAKE = "make is 3.81"


@pytest.fixture
def asked(mac):
    """Runs the script on the Mac: exit code, the facts that hold, those that do not with what was seen."""
    mac.sudo = "ok"
    mac.put(CONFIRM.parent, "/Users/alice/mac")

    def asked(script):
        mac.write("/Users/alice/mac/confirm", script, 0o755)
        done = mac.run(["/bin/sh", "/Users/alice/mac/confirm"])
        lines = done.stdout.splitlines()[1:]
        wrong = dict(line[4:].split(": ", 1) for line in lines if line.startswith("NO  "))
        return done.returncode, [line[4:] for line in lines if line.startswith("ok  ")], wrong

    return asked


def test_what_a_person_confirms_on_a_real_mac_holds_on_the_pretend_one(mac, asked):
    code, right, wrong = asked(CONFIRM.read_text())
    # make is this machine's own.
    assert set(wrong) <= {MAKE}
    assert code == len(wrong)
    assert len(right) + len(wrong) == CONFIRM.read_text().count("\nfact '")
    assert (mac.masks, mac.loaded) == ({"127.0.0.1": "0xff000000"}, {})
    assert list(mac.path("/Library/LaunchDaemons").iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("0xffffffff", "0xff000000", "ifconfig lists it with its mask"),
        ("chmod 0666", "chmod 0644", "a file that others may write is not loaded"),
        ('launchctl disable "', 'launchctl enable "', "a disabled job is not loaded"),
        ("'then it is unknown' 113", "'then it is unknown' 3", "then it is unknown"),
    ],
)
def test_it_says_what_does_not_hold_and_still_cleans_up(mac, asked, old, new, fact):
    text = CONFIRM.read_text()
    assert old in text
    code, _, wrong = asked(text.replace(old, new))
    assert code == 1
    assert fact in wrong
    assert (mac.masks, mac.loaded) == ({"127.0.0.1": "0xff000000"}, {})
    assert list(mac.path("/Library/LaunchDaemons").iterdir()) == []
