"""host-alias.conf is data, and the command line is checked: what is wrong ends with exit code 2 and one line that says where.

Nothing here can change this machine: verbs that would act run with LOCALDEV_HOST=host-gateway or are `plan`.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Render, Run
from needs import need_ip

GOOD = "label=local.host-alias.10.254.254.254\nip=10.254.254.254\ndomain=app.localhost\nweb_port=8080\n"
VERBS = ("check", "up", "plan", "down", "status")
Say = Callable[..., tuple[int, str, str]]
GATEWAY = {"LOCALDEV_HOST": "host-gateway"}


@pytest.fixture
def localdev(rendered: Render, tmp_path: Path) -> Path:
    """A .localdev/ of the test's own, in a path with a space and a quote."""
    return Path(shutil.copytree(rendered() / ".localdev", tmp_path / "my app's repo" / ".localdev"))


@pytest.fixture
def say(run: Run, localdev: Path) -> Say:
    """Runs host-alias; returns exit code, standard output, standard error."""

    def say(*words: str, **env: str) -> tuple[int, str, str]:
        done = run(localdev / "host-alias", *words, cwd=localdev.parent, env=env)
        return done.returncode, done.stdout, done.stderr

    return say


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of every file below `folder`."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")
    }


def with_label(label: str) -> str:
    return f"label={label}\nip=10.254.254.254\n"


def with_ip(ip: str) -> str:
    return f"label=local.host-alias\nip={ip}\n"


# What stands in the file -> the line that is named. CANARY becomes a path that must not come into being.
BAD: dict[str, tuple[str, int]] = (
    {
        "command substitution as label": (with_label("$(touch CANARY)"), 1),
        "backticks as label": (with_label("`touch CANARY`"), 1),
        "command after a semicolon": (with_label("a.b; touch CANARY"), 1),
        "command after an and": (with_label("a.b && touch CANARY"), 1),
        "command substitution as ip": (with_ip("$(touch CANARY)"), 2),
        "backticks as ip": (with_ip("`touch CANARY`"), 2),
        "arithmetic with a command as ip": (with_ip("a[$(touch CANARY)].1.1.1"), 2),
        "a line that is a command": (f"touch CANARY\n{GOOD}", 1),
        "a command that looks like a key": (f"$(touch CANARY)=1\n{GOOD}", 1),
        "a pattern as a key": (f"*=1\n{GOOD}", 1),
        "PATH as a key": (f"{GOOD}PATH=/tmp\n", 5),
        "quotes around the label": (with_label('"local.host-alias"'), 1),
        "single quotes around the ip": (with_ip("'10.254.254.254'"), 2),
        "a space before =": ("label =a.b\nip=10.254.254.254\n", 1),
        "a space after =": ("label=a.b\nip= 10.254.254.254\n", 2),
        "a space before the key": (f" {GOOD}", 1),
        "a space at the end of the ip": (with_ip("10.254.254.254 "), 2),
        "a tab at the end of the label": (with_label("a.b\t"), 1),
        "a comment after the ip": (with_ip("10.254.254.254 # ours"), 2),
        "export before the key": (f"export {GOOD}", 1),
        "an upper case key": ("LABEL=a.b\nip=10.254.254.254\n", 1),
        "an unknown key": (f"{GOOD}colour=red\n", 5),
        "no key": (f"=a.b\n{GOOD}", 1),
        "the label twice": (f"{GOOD}label=a.b\n", 5),
        "the ip twice": (f"{GOOD}ip=10.254.254.254\n", 5),
        "the domain twice": (f"{GOOD}domain=app.localhost\n", 5),
        "no label": ("ip=10.254.254.254\n", 1),
        "no ip": ("label=a.b\n", 1),
        "an empty label": (with_label(""), 1),
        "an empty ip": (with_ip(""), 2),
        "a line without =": (f"{GOOD}\n# fine\nip\n", 7),
        "a merge conflict": (f"# fine\n<<<<<<< before updating\n{GOOD}", 2),
        "nothing": ("", 0),
        "only comments": ("# nothing\n", 1),
        "CRLF": (GOOD.replace("\n", "\r\n"), 1),
        "CRLF in an empty line": (f"\r\n{GOOD}", 1),
        "a byte order mark": (f"\ufeff{GOOD}", 1),
        "an escape sequence as a line": (f"\033[31mred\033[0m\n{GOOD}", 1),
        "an escape sequence as a key": (f"\033]0;title\007=1\n{GOOD}", 1),
        "an escape sequence as label": (with_label("a.b\033[2J"), 1),
        "an escape sequence as ip": (with_ip("\033[31m10.254.254.254"), 2),
        "a C1 control as label": (with_label("a.b\x9b2J"), 1),
        "Arabic digits as ip": (with_ip("١٠.254.254.254"), 2),
        "full-width digits as ip": (with_ip("10.254.254.25４"), 2),
        "a letter beyond ASCII as label": (with_label("lócal.host"), 1),
        "a dotless i as label": (with_label("local.hostalıas"), 1),
        "a NUL instead of a newline": ("label=a.b\0ip=10.254.254.254\n", 1),
        "a NUL in an octet that is too long without it": (with_ip("10.254.254.25\x00999"), 2),
    }
    | {
        f"ip {ip}": (with_ip(ip), 2)
        for ip in (
            *("127.0.0.1", "127.254.254.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
            *(
                "255.255.255.255",
                "10.0.0.0",
                "10.0.0.255",
                "010.0.0.1",
                "10.0.0.01",
                "10.00.0.1",
                "0x0a.0.0.1",
                "1.2.3",
            ),
            *("1.2.3.4.5", "10.254.254.254/32", "10.254.254.256", "300.1.1.1", "10.254.254.1000", "10..254.254"),
            *(".10.254.254.254", "10.254.254.254.", "10.254.254.99999999999999999999", "10.254.254.-1", "10.254.254.*"),
            *("167772161", "::1", "::ffff:10.254.254.254", "fe80::1", "localhost", "10,254,254,254", "10.254.254.254,"),
            *("10.254.254.254 10.254.254.253", "-4", "...", "...."),
        )
    }
    | {
        f"label {label[:30]}": (with_label(label), 1)
        for label in (
            *("../x", "../../etc/passwd", "a.b/c", "/a.b", "com.apple.x", "Com.Apple.x", "COM.APPLE.X", "-x.y", "x.-y"),
            *(
                "a..b",
                "a b.c",
                ".a.b",
                "a.b.",
                "ab",
                "a.b@c",
                "a.b:c",
                "a.b\\c",
                "a.b*",
                "a.b?",
                "a.[b]",
                "a.b~",
                "a.%b",
            ),
            *("a.b&c", "a.b|c", "a.b>c", "a.b'c", "1.b", "_a.b", "a.b,c", "a.b=c", "a.b#c", "a.b!c", "a." + "b" * 99),
        )
    }
)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_conf_is_refused_with_file_and_line_and_runs_nothing(
    name: str, localdev: Path, say: Say, tmp_path: Path
) -> None:
    text, line = BAD[name]
    canary = tmp_path / "canary"
    conf = localdev / "host-alias.conf"
    text = text.replace("CANARY", str(canary))
    conf.write_bytes(text.encode("latin-1" if "\x9b" in text else "utf-8"))
    before = snapshot(tmp_path)
    code, out, err = say("plan")
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"host-alias: {re.escape(str(conf))}:{line}: [ -~]+\n", err), err
    assert not canary.exists()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_reads_the_conf_before_anything_else(verb: str, localdev: Path, say: Say) -> None:
    (localdev / "host-alias.conf").write_text(with_ip("127.0.0.1"))
    code, out, err = say(verb, **GATEWAY)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "host-alias.conf:2: ip must be an address for an alias, e.g. 10.254.254.254" in err


@pytest.mark.parametrize("kind", ["missing", "a folder", "a link to nothing"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_conf_that_is_no_file_is_refused(kind: str, verb: str, localdev: Path, say: Say) -> None:
    conf = localdev / "host-alias.conf"
    conf.unlink()
    if kind == "a folder":
        conf.mkdir()
    elif kind == "a link to nothing":
        conf.symlink_to("nothing")
    assert say(verb, **GATEWAY) == (
        2,
        "",
        f"host-alias: {conf} is missing or unreadable. Restore it from git\n",
    )


@pytest.mark.parametrize(
    "text",
    {
        "the usual": GOOD,
        "another order": "ip=10.254.254.254\nlabel=a.b\n",
        "no newline at the end": GOOD.rstrip("\n"),
        "only ip in the last line, no newline": "label=a.b\nip=10.254.254.254",
        "comments and empty lines": f"\n# $(false) `false` label=x\n#ip=1\n\n{GOOD}\n",
        "upper case in the label": "label=co.cozy.add-lo0-alias-for-docker\nip=169.254.254.254\n",
        "an upper case label": with_label("Co.Cozy.Host-Alias_1"),
        "com.apples is not com.apple": with_label("com.apples.x"),
        "a digit after the dot": with_label("a.1"),
        "100 characters": with_label("a." + "b" * 98),
        "other known keys, whatever they hold": f"{with_label('a.b')}domain=$(false)\nweb_port=\ndatabases=a=`false`\n",
        "the link-local one": with_ip("169.254.254.254"),
        "the lowest": with_ip("1.0.0.1"),
        "the highest": with_ip("223.255.255.254"),
        "an octet of one digit": with_ip("10.0.0.1"),
        "126 is not 127": with_ip("126.0.0.1"),
        "128 is not 127": with_ip("128.0.0.1"),
        "22 is not 224": with_ip("22.4.0.1"),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_good_conf_is_accepted(text: tuple[str, str], localdev: Path, say: Say) -> None:
    (localdev / "host-alias.conf").write_text(text[1])
    code, out, err = say("check", **GATEWAY)
    assert (code, out) == (0, ""), err


def test_a_conf_that_is_a_link_to_a_file_is_read(localdev: Path, say: Say) -> None:
    conf = localdev / "host-alias.conf"
    conf.rename(localdev / "elsewhere.conf")
    conf.symlink_to("elsewhere.conf")
    assert say("check", **GATEWAY)[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        *([], [""], ["--dry-run"], ["-n", "-n"], ["start"], ["UP"], ["up "], ["up", "down"], ["up", "up"], ["up", ""]),
        *(
            ["up", "extra"],
            ["--force", "up"],
            ["-x"],
            ["--"],
            ["--", "up"],
            ["-nh"],
            ["look"],
            ["die"],
            ["main"],
            ["*"],
        ),
        *(["\033[2J"], ["$(false)"], ["up;down"], ["check", "--helpme"], ["--version"]),
    ],
    ids=repr,
)
def test_a_usage_error_is_one_line_and_exit_code_2(words: list[str], say: Say) -> None:
    code, out, err = say(*words, **GATEWAY)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"host-alias: [ -~]+ [Ss]ee --help\n", err), err


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["up", "--help"], ["--dry-run", "-h"]], ids=repr)
def test_help_goes_to_stdout_and_does_nothing(words: list[str], say: Say) -> None:
    code, out, err = say(*words)
    assert (code, err) == (0, "")
    assert out.startswith("host-alias gives ")
    assert all(len(line) <= 120 for line in out.splitlines())


def test_help_works_when_the_conf_is_broken(localdev: Path, say: Say) -> None:
    (localdev / "host-alias.conf").write_text("?")
    assert say("--help")[0] == 0


def test_help_names_every_verb_option_exit_code_and_variable_of_the_scripts(localdev: Path, say: Say) -> None:
    source = "".join(
        (localdev / name).read_text() for name in ("host-alias", "alias/common.sh", "alias/linux.sh", "alias/darwin.sh")
    )
    manual = say("--help")[1]
    alternatives = re.search(r"^\t\t(check \|[a-z| ]+)\)$", source, re.M)
    assert alternatives
    verbs = re.findall("[a-z]+", alternatives[1])
    assert sorted(verbs) == sorted(VERBS)
    assert re.findall(r"^  host-alias ([a-z]+) ", manual, re.M) == list(VERBS)
    assert {"-n", "--dry-run", "-h", "--help"} <= set(re.findall(r"(?<!\S)--?[a-z-]+", manual))
    used = set(re.findall(r"\bdie ([0-9])", source)) | set(re.findall(r"\b(?:return|exit) ([2-8])\b", source)) | {"0"}
    line = re.search(r"^exit codes: (.*)$", manual, re.M)
    assert line
    assert set(re.findall(r"\b[0-9]\b", line[1])) == used == set("01234")
    for variable in ("LOCALDEV_HOST", "NO_COLOR", "CI"):
        assert re.search(rf"\b{variable}\b", manual)
        assert f"${{{variable}:-" in source


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=repr)
@pytest.mark.parametrize("verb", VERBS)
def test_with_the_host_gateway_every_verb_says_so_and_does_nothing(verb: str, options: list[str], say: Say) -> None:
    assert say(verb, *options, **GATEWAY) == (
        0,
        "",
        "host-alias: LOCALDEV_HOST=host-gateway: containers use Docker's host gateway, no alias is needed.\n",
    )


@pytest.mark.parametrize(
    "value", ["10.254.254.254", "Host-Gateway", "host-gateway ", "host.docker.internal", "\033[2J"]
)
@pytest.mark.parametrize("verb", ["check", "plan", "status"])
def test_another_localdev_host_is_refused(verb: str, value: str, say: Say) -> None:
    assert say(verb, LOCALDEV_HOST=value) == (
        2,
        "",
        "host-alias: LOCALDEV_HOST can only be host-gateway. Unset it to use 10.254.254.254\n",
    )


def test_an_empty_localdev_host_counts_as_none(say: Say) -> None:
    need_ip()
    code, _, err = say("check", LOCALDEV_HOST="")
    assert code in (0, 3)
    assert "host-gateway" not in err
