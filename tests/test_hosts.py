"""dev-hosts: this project's block in /etc/hosts. This machine's own /etc/hosts is never seen.

On Linux in a box whose /etc is a folder of the test's, on macOS in a pretend Mac.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from box import SUDO_ASKS, USUAL_HOSTS, HostsBox, finish, hosts_text, need_box, on_terminal
from conftest import Render, Run
from laptop import REPO, Laptop
from needs import NIGHTLY, examples, linux_only

DOMAIN = "shop.test"
ANSWERS = {"web_domain": DOMAIN, "native_services": "web:3000 api:4000"}
NAMES = "shop.test web.shop.test api.shop.test"
OTHER = b"# >>> localdev other.test\n127.0.0.1 other.test\n# <<< localdev other.test\n"
# What make dev-hosts runs, but for its arguments.
COMMAND = ["/usr/bin/python3", "-I", "-B", ".localdev/stack", "hosts", "--"]
QUESTION = r"Run them\? \[y/N\] "


def block(names: str = NAMES, domain: str = DOMAIN) -> bytes:
    """Return the block of a project."""
    return f"# >>> localdev {domain}\n127.0.0.1 {names}\n# <<< localdev {domain}\n".encode()


BEGIN, ENTRY, END = block().splitlines(keepends=True)

NASTY = {
    "usual": USUAL_HOSTS,
    "empty": b"",
    "an empty line": b"\n",
    "no newline at the end": b"127.0.0.1 localhost\n10.0.0.1 a",
    "one line without a newline": b"127.0.0.1 localhost",
    "CRLF": b"127.0.0.1 localhost\r\n10.0.0.1 a\r\n",
    "CRLF, no newline at the end": b"127.0.0.1 localhost\r\n10.0.0.1 a\r",
    "CR alone": b"127.0.0.1 localhost\r10.0.0.1 a\r",
    "trailing blanks": b"127.0.0.1 localhost \t\n \n\t\n10.0.0.1 a  \n\n\n\n",
    "leading blanks": b"\n\n  127.0.0.1 localhost\n",
    "another project's block": USUAL_HOSTS + OTHER,
    "another project's block, broken": USUAL_HOSTS + OTHER.replace(b"<<<", b"<<"),
    "marks that look alike": b"# >>> localdev shop.test.example\n # <<< localdev shop.test\n## >>> localdev shop.test\n"
    b"# >>> localdev shop-test\n# <<< localdev shopXtest\n# >>> localdev\n",
    "shell's words": b"# `touch /mnt/canary` $(touch /mnt/canary) \\ \\n %s ' \"\nEND_OF_BLOCK\nAS_ROOT\ntouch /mnt/canary\n",
    "no UTF-8": b"\xef\xbb\xbf127.0.0.1 localhost \xff\xfe \xc3\x28\n# \xe9t\xe9\n",
    "NUL": b"127.0.0.1 localhost\n# \0 a\0\n10.0.0.1 a\n\0",
    "a long line": b"#" + b"x" * 70000 + b"\n10.0.0.1 a\n",
    "many lines": b"".join(b"0.0.0.0 ad%d.example\n" % number for number in range(20000)),
}

# The text, the line that is named, and what is wrong with it.
BROKEN = {
    "no end": (USUAL_HOSTS + BEGIN + ENTRY, 3, "below it"),
    "no end before more lines": (USUAL_HOSTS + BEGIN + ENTRY + b"10.0.0.1 mine\n", 3, "below it"),
    "no end before another project": (BEGIN + ENTRY + OTHER, 1, "below it, before the next project's mark"),
    "another project inside": (BEGIN + OTHER + END, 1, "below it, before the next project's mark"),
    "no begin": (USUAL_HOSTS + ENTRY + END, 4, "above it"),
    "reversed": (END + ENTRY + BEGIN, 1, "above it"),
    "two begins": (BEGIN + BEGIN + ENTRY + END, 1, "below it"),
    "two ends": (BEGIN + ENTRY + END + END, 4, "above it"),
    "twice": (block() + USUAL_HOSTS + block(), 6, "is here a second time"),
    "twice, CRLF": ((block() + block()).replace(b"\n", b"\r\n"), 4, "is here a second time"),
    "begin in the last line, without a newline": (USUAL_HOSTS + BEGIN.rstrip(b"\n"), 3, "below it"),
}


def with_block(text: bytes, added: bytes | None = None) -> bytes:
    """Return `text` with the block where it belongs: after the last whole line."""
    whole = text.rfind(b"\n") + 1
    return text[:whole] + (block() if added is None else added) + text[whole:]


# --- Linux ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def box(repo: Render, tmp_path: Path, clean_env: dict[str, str]) -> Iterator[HostsBox]:
    need_box()
    made = HostsBox(repo(**ANSWERS), tmp_path, clean_env)
    yield made
    made.close()


@linux_only
def test_whatever_is_in_the_file_stays_byte_for_byte(box: HostsBox) -> None:
    routes = box.source / ".localdev/routes"
    usual = routes.read_text()
    for name, original in NASTY.items():
        routes.write_text(usual)
        box.hosts.write_bytes(original)
        assert box("remove", "--yes") == (0, "", ""), name
        code, out, err = box("add", "--yes")
        assert (code, out) == (0, ""), name
        assert err.endswith(f"localdev: the hosts are in /etc/hosts: {NAMES}\n")
        assert box.text() == with_block(original), name
        assert box("add") == (0, "", ""), f"{name}: nothing to do, so nobody is asked"
        box.add_route("admin 5000 admin.example.test")
        assert box("add", "-y")[0] == 0, name
        assert box.text() == with_block(original, block(f"{NAMES} admin.example.test")), name
        code, out, err = box("remove", "--yes")
        assert (code, out) == (0, ""), name
        assert err.endswith("localdev: the hosts of shop.test are out of /etc/hosts.\n")
        assert box.text() == original, name
        assert box("remove") == (0, "", ""), name
    assert "canary" not in box.root("ls /mnt")


@linux_only
def test_a_block_is_replaced_where_it_is(box: HostsBox) -> None:
    for after in (b"10.9.9.9 later\n", b"10.9.9.9 later", b"\r\n \n", OTHER):
        box.hosts.write_bytes(USUAL_HOSTS + block("old.test") + after)
        assert box("add", "--yes")[0] == 0, after
        assert box.text() == USUAL_HOSTS + block() + after
        assert box("remove", "--yes")[0] == 0, after
        assert box.text() == USUAL_HOSTS + after


@linux_only
def test_a_block_that_an_editor_changed_is_still_ours(box: HostsBox) -> None:
    for changed in (
        block().replace(b"\n", b"\r\n"),
        block().replace(b"test\n", b"test \t\n"),
        block().replace(ENTRY, b""),
        block().replace(ENTRY, ENTRY + b"\n# mine\n"),
    ):
        box.hosts.write_bytes(changed + USUAL_HOSTS)
        assert box("add", "--yes")[0] == 0, changed
        assert box.text() == block() + USUAL_HOSTS
        box.hosts.write_bytes(USUAL_HOSTS + changed.rstrip(b"\n"))
        assert box("remove", "--yes")[0] == 0, changed
        assert box.text() == USUAL_HOSTS


@linux_only
def test_marks_that_do_not_belong_together_are_refused_with_their_line(box: HostsBox) -> None:
    for name, (text, number, problem) in BROKEN.items():
        box.hosts.write_bytes(text)
        for verb in ("add", "remove"):
            code, out, err = box(verb, "--yes")
            assert (code, out, err.count("\n")) == (1, "", 1), (name, verb)
            assert err.startswith(f'localdev: /etc/hosts:{number}: "# '), (name, verb)
            assert err.endswith(f"{problem}. Put it right, then try again; nothing was changed\n"), (name, verb)
            assert box.text() == text


@linux_only
def test_projects_keep_out_of_each_others_blocks(box: HostsBox) -> None:
    assert box("add", "--yes")[0] == 0
    for domain in ("my-shop.test", "shop.test.example", "shop.tes"):
        box.set_domain(domain)
        assert box("add", "--yes")[0] == 0
    assert box.text().count(b"# >>> localdev ") == 4
    for domain in (DOMAIN, "shop.tes", "my-shop.test"):
        box.set_domain(domain)
        before = box.text()
        assert box("remove", "--yes")[0] == 0
        names = f"{domain} web.{domain} api.{domain}"
        assert box.text() == before.replace(block(names, domain), b"")
    domain = "shop.test.example"
    assert box.text() == USUAL_HOSTS + block(f"{domain} web.{domain} api.{domain}", domain)


@linux_only
def test_four_projects_at_once_lose_no_byte(box: HostsBox, tmp_path: Path) -> None:
    domains = [f"shop{number}.test" for number in range(4)]
    for domain in domains:
        box.set_domain(domain)
        shutil.copytree(box.source / ".localdev", box.source / domain / ".localdev")
    blocks = {block(f"{domain} web.{domain} api.{domain}", domain) for domain in domains}

    def all_at_once(verb: str) -> None:
        begin = f'/usr/bin/python3 -I -B "{box.repo}/$one/.localdev/stack" hosts -- {verb} --yes 2>/dev/null || touch /mnt/bad'
        box.root(f"for one in {' '.join(domains)}; do {{ {begin}; }} & done; wait; [ ! -e /mnt/bad ]")

    for _ in range(examples(50)):
        all_at_once("add")
        text = box.text()
        assert text.startswith(USUAL_HOSTS)
        assert set(re.findall(rb"# >>>.*?<<<[^\n]*\n", text, re.S)) == blocks and len(text) == len(USUAL_HOSTS) + sum(
            map(len, blocks)
        )
        all_at_once("remove")
        assert box.text() == USUAL_HOSTS


@linux_only
def test_wildcards_are_left_out_and_named_in_one_line(box: HostsBox) -> None:
    (box.source / ".localdev/routes").write_text("web 3000 / *.tenant. *.example.test admin.example.test/x\n")
    err = box("add", "--yes")[2]
    line = "localdev: /etc/hosts knows no wildcards, so these are left out: *.tenant.shop.test *.example.test\n"
    assert err.startswith(line)
    assert box.text() == USUAL_HOSTS + block("shop.test admin.example.test")
    assert box("add") == (0, "", "")


@linux_only
def test_a_file_that_cannot_be_replaced_is_refused_with_what_to_add_where(box: HostsBox) -> None:
    entry = f"127.0.0.1 {NAMES}\n"

    def refused(problem: str, verb: str = "add") -> None:
        assert box(verb, "--yes") == (1, "", f"localdev: /etc/hosts is {problem}{entry}")

    box.root("mount --bind /etc/hosts /etc/hosts")
    refused("a mount of its own (as in a container) and cannot be replaced. In it, add the line: ")
    box.root("umount /etc/hosts")
    assert box.text() == USUAL_HOSTS
    target = box.hosts.rename(box.hosts.with_name("store"))
    refused("missing or unreadable. Make it, with your system's own lines and this one: ")
    assert box("remove") == (0, "", "") and not box.hosts.exists()
    box.hosts.symlink_to("store")
    refused("a link to what something else writes (NixOS: networking.extraHosts). There, add the line: ")
    assert box.hosts.is_symlink() and target.read_bytes() == USUAL_HOSTS
    target.write_bytes(USUAL_HOSTS + block())
    assert box("add") == (0, "", "")
    assert box("remove", "--yes")[0] == 1
    assert box.hosts.is_symlink() and target.read_bytes() == USUAL_HOSTS + block()


FAILING = {
    "a rename": ("mv", "Device or resource busy"),
    "a mode": ("chmod", "Operation not permitted"),
    "a full disk": ("tail", "No space left on device"),
}


@linux_only
@pytest.mark.parametrize("name", FAILING)
def test_a_failing_command_leaves_the_file_as_it_was(box: HostsBox, name: str) -> None:
    command, message = FAILING[name]
    box.replace(**{command: f"#!/bin/sh\necho '{command}: {message}' >&2\nexit 1\n"})
    box.mount_commands()
    code, out, err = box("add", "--yes")
    assert (code, out) == (1, "")
    assert f"{command}: {message}\n" in err
    assert err.endswith(
        "localdev: a command failed (its message is above); /etc/hosts is as it was. Try again: make dev-hosts\n"
    )
    assert box.text() == USUAL_HOSTS


@linux_only
def test_an_etc_that_cannot_be_written_and_commands_without_effect_are_no_success(box: HostsBox) -> None:
    box.root("mount -o remount,bind,ro /etc")
    code, _, err = box("add", "--yes")
    assert code == 1 and "Read-only file system" in err
    box.fake_sudo("#!/bin/sh\nexit 0\n")
    code, _, err = box("add", "--yes", user=True)
    assert code == 1
    assert err.endswith("localdev: the commands ran, yet the hosts are not in /etc/hosts. Try again: make dev-hosts\n")
    assert box.text() == USUAL_HOSTS


@linux_only
def test_what_a_killed_run_left_is_no_obstacle(box: HostsBox) -> None:
    left = box.hosts.with_name("hosts.localdev.4194304")
    left.write_text("half")
    left.chmod(0o600)
    os.chown(left, 65534, 65534)
    assert box("add", "--yes")[0] == 0
    assert box.text() == USUAL_HOSTS + block()


# --- who is asked, and who becomes root -------------------------------------------------------------------------------


@linux_only
@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_where_nobody_can_be_asked_the_commands_are_printed(box: HostsBox, user: bool) -> None:
    box.fake_sudo()
    code, out, err = box("add", user=user)
    assert (code, out) == (4, "")
    lines = err.splitlines()
    assert lines[0] == "localdev: /etc/hosts needs root to change. The commands:"
    assert lines[1] == f"{'sudo ' if user else ''}/bin/sh -eu <<'AS_ROOT'"
    assert f"\n{block().decode()}" in err
    assert lines[-1] == (
        "localdev: cannot ask here. Run the commands above in a terminal, or: make dev-hosts ARGS=--yes"
    )
    code, text = finish(on_terminal(box, "add", CI="1", user=user))
    assert code == 4 and "[y/N]" not in text
    assert (box.calls("sudo"), box.text()) == ([], USUAL_HOSTS)


@linux_only
@pytest.mark.parametrize(
    ("user", "answer", "answer_too"), [(False, "y", "YES"), (True, "Y", "yes")], ids=["root", "user"]
)
def test_a_yes_is_one_sudo(box: HostsBox, user: bool, answer: str, answer_too: str) -> None:
    box.fake_sudo()
    child = on_terminal(box, "add", user=user)
    child.expect(QUESTION)
    shown = child.before.replace("\r\n", "\n")
    assert block().decode() in shown
    assert re.search(r"^/bin/mv -f /etc/hosts[.]localdev[.][0-9]+ /etc/hosts$", shown, re.M)
    assert box.text() == USUAL_HOSTS
    child.sendline(answer)
    code, text = finish(child)
    assert code == 0, text
    assert box.calls("sudo") == (["/bin/sh -eu"] if user else [])
    assert box.text() == USUAL_HOSTS + block()
    child = on_terminal(box, "remove", user=user)
    child.expect(QUESTION)
    assert "shop.test web.shop.test" not in child.before
    child.sendline(answer_too)
    assert finish(child)[0] == 0
    assert box.text() == USUAL_HOSTS


@linux_only
def test_anything_else_is_a_no(box: HostsBox) -> None:
    box.fake_sudo()
    for answer in ("\n", "n\n", "no\n", "x\n", "yy\n", "y n\n", "\x04"):
        child = on_terminal(box, "add", NO_COLOR="1")
        child.expect(QUESTION)
        child.send(answer)
        code, text = finish(child)
        assert code == 1, answer
        assert text.endswith("localdev: nothing was changed\n"), answer
    child = on_terminal(box, "add")
    child.expect(QUESTION)
    child.sendintr()
    assert finish(child)[0] != 0
    assert (box.calls("sudo"), box.text()) == ([], USUAL_HOSTS)


@linux_only
def test_yes_asks_nobody_and_shows_the_commands(box: HostsBox) -> None:
    box.fake_sudo()
    code, text = finish(on_terminal(box, "add", "--yes"))
    assert code == 0
    assert "[y/N]" not in text
    assert block().decode() in text
    assert box.text() == USUAL_HOSTS + block()
    assert box("remove", "--yes", user=True, env={"CI": "1"})[0] == 0
    assert box.text() == USUAL_HOSTS
    assert box.calls("sudo") == ["/bin/sh -eu", "-n /bin/sh -eu"]


@linux_only
def test_no_sudo_and_a_sudo_that_refuses_change_nothing(box: HostsBox) -> None:
    box.mount_commands()
    code, _, err = box("add", "--yes", user=True)
    assert code == 4
    assert err.endswith("localdev: there is no sudo here. Run the commands above as root\n")
    box.fake_sudo(SUDO_ASKS)
    assert box("add", "--yes", user=True)[0] == 4
    child = on_terminal(box, "add", "--yes", NO_COLOR="1")
    child.expect("Password: ")
    child.sendline("wrong")
    code, text = finish(child)
    assert code == 1
    assert text.endswith(
        "localdev: sudo did not run the commands above; nothing was changed. Try again: make dev-hosts\n"
    )
    assert box.text() == USUAL_HOSTS


# --- nothing happens in between ---------------------------------------------------------------------------------------


@linux_only
@pytest.mark.parametrize(("command", "user"), [("head", True), ("tail", False), ("mv", True)])
def test_an_interrupted_run_leaves_the_file_whole_and_nothing_beside_it(
    box: HostsBox, command: str, user: bool
) -> None:
    box.replace(**{command: "#!/bin/sh\necho STOPPED >/dev/tty\nexec sleep 60\n"})
    box.fake_sudo()
    child = on_terminal(box, "add", "--yes", user=user, NO_COLOR="1")
    child.expect("STOPPED")
    assert list(box.hosts.parent.glob("hosts.localdev.*"))
    child.sendintr()
    code, text = finish(child)
    assert code == 1
    assert text.endswith(
        "localdev: interrupted. /etc/hosts is whole: as it was, or done. To see which: make dev-hosts\n"
    )
    assert box.text() == USUAL_HOSTS


@linux_only
def test_a_file_that_changes_after_it_was_shown_is_left_alone(box: HostsBox) -> None:
    box.fake_sudo()
    for changed in (USUAL_HOSTS + b"10.0.0.1 vpn\n", b"", USUAL_HOSTS + block("x.test"), b"::" + USUAL_HOSTS[2:]):
        box.hosts.write_bytes(USUAL_HOSTS)
        child = on_terminal(box, "add", NO_COLOR="1")
        child.expect(QUESTION)
        box.hosts.write_bytes(changed)
        child.sendline("y")
        code, text = finish(child)
        assert code == 1, changed
        assert "\n/etc/hosts has changed meanwhile\n" in text, changed
        assert box.text() == changed
    box.hosts.write_bytes(USUAL_HOSTS)
    child = on_terminal(box, "add", NO_COLOR="1")
    child.expect(QUESTION)
    box.add_route("evil 5000 evil.test")
    child.sendline("y")
    finish(child)
    assert box.text() == USUAL_HOSTS + block(), "root gets what was shown"


@linux_only
def test_the_printed_commands_have_absolute_paths_and_pasted_into_a_shell_do_it_once(box: HostsBox) -> None:
    words = ("/bin/sh -eu", "trap ", "umask 022", "{", "}", "/usr/bin/", "/bin/", "END_OF_BLOCK", "AS_ROOT", "[ ")
    for text in (USUAL_HOSTS, b"10.0.0.1 a", b"", block("old.test") + USUAL_HOSTS):
        box.hosts.write_bytes(text)
        plan = box.plan()
        commands = plan.replace(f"{block().decode()}", "").splitlines()
        assert [line for line in commands if not line.startswith(words)] == []
        assert "head -n 0" not in plan, "macOS's head refuses that"
        assert box.run("sh", "-c", plan) == (0, "", ""), text
        assert box("add") == (0, "", ""), text
        done = box.text()
        assert box.run("sh", "-c", plan) == (9, "", "/etc/hosts has changed meanwhile\n"), text
        assert box.text() == done


# --- wrong words and files --------------------------------------------------------------------------------------------


@linux_only
def test_wrong_words_are_one_line_and_exit_code_2(box: HostsBox) -> None:
    for words in ([], ["--yes"], ["up"], ["add", "--force"], [""]):
        code, out, err = box(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert err.startswith("localdev: "), words
    assert box.text() == USUAL_HOSTS


@linux_only
def test_a_domain_that_is_no_host_name_never_reaches_root(box: HostsBox) -> None:
    for domain in ("", "a b", "x'y", "../x", "$(x)", "-x", "a..b", "SHOP.test", "a/b"):
        box.set_domain(domain)
        for verb in ("add", "remove"):
            code, out, err = box(verb, "--yes")
            assert (code, out, err.count("\n")) == (2, "", 1), (domain, verb)
            assert "domain must be a host name" in err, (domain, verb)
    assert box.text() == USUAL_HOSTS


def test_without_a_proxy_no_name_leads_anywhere(rendered: Render, run: Run) -> None:
    done = run(*COMMAND, "add", cwd=rendered(web_proxy="none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ('localdev: this stack has no proxy. Add one: make dev-update ARGS="-d web_proxy=nginx"\n')


# --- macOS ------------------------------------------------------------------------------------------------------------


class HostsLaptop(Laptop):
    """A laptop whose /etc/hosts the test reads and writes."""

    def __init__(self, root: Path, repo: Path) -> None:
        """Make the Mac, whose /etc/hosts is empty."""
        super().__init__(root, repo)
        self.file = self.write("/private/etc/hosts", "", owner=0)

    def say(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """Run what make dev-hosts runs without a terminal."""
        done = self.run([*COMMAND, *words], cwd=REPO, **options)
        return done.returncode, done.stdout, done.stderr

    def text(self) -> bytes:
        """Return the hosts file, which must be as it should be."""
        return hosts_text(self.file)


@pytest.fixture
def mac(rendered: Render, tmp_path: Path) -> HostsLaptop:
    return HostsLaptop(tmp_path / "mac", rendered(**ANSWERS))


def test_on_macos_the_file_stays_byte_for_byte(mac: HostsLaptop) -> None:
    mac.sudo = "ok"
    # By day some of them: what reads the file is the same as on Linux.
    for name in [*NASTY] if NIGHTLY else [*NASTY][::4]:
        original = NASTY[name]
        mac.file.write_bytes(original)
        assert mac.say("add", "--yes")[0] == 0, name
        assert mac.text() == with_block(original), name
        assert mac.say("add") == (0, "", ""), name
        assert mac.say("remove", "--yes")[0] == 0, name
        assert mac.text() == original, name
        assert mac.say("remove") == (0, "", ""), name


def test_on_macos_a_yes_is_one_password_and_the_cache_is_flushed(mac: HostsLaptop) -> None:
    mac.file.write_bytes(USUAL_HOSTS)
    child = mac.spawn([*COMMAND, "add"], cwd=REPO)
    child.expect(QUESTION)
    assert block().decode() in child.before.replace("\r\n", "\n")
    assert mac.prompts == 0
    child.sendline("y")
    child.expect("Password:")
    child.sendline("secret")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert mac.prompts == 1
    assert mac.text() == USUAL_HOSTS + block()
    assert ("/usr/bin/dscacheutil", ["-flushcache"], 0) in mac.calls
    (new,) = [words[1] for name, words, user in mac.calls if (name, words[0], user) == ("/usr/sbin/chown", "0:0", 0)]
    assert re.fullmatch(r"/etc/hosts[.]localdev[.][0-9]+", new)
