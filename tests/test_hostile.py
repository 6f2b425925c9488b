"""Hostile answers, routes, configuration and environments: refused in one line, or every parser sees exactly that value.

Thousands of generated values, the same in every run. What starts no process sees all of them; what does sees the extremes.
"""

import collections
import functools
import hashlib
import html.parser
import json
import os
import plistlib
import re
import shlex
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pexpect
import pytest
import yaml
from copier._main import Worker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from box import SUDO, UNITS, Box, HostsBox, need_box
from conftest import GOOD, LOCALDEV, PROJECT, TOOLS, Render, Run
from host import ALIAS_IP as IP
from host import LABEL
from laptop import HOST_ALIAS, PLIST, REPO, Laptop
from needs import examples, need_command, need_compose, need_namespaces
from shells import scripts
from versions import ANSWERS, commit

# Nothing is remembered and nothing is random: what failed once fails for everybody.
set_hypothesis_home_dir(os.devnull + "/none")
every_time = functools.partial(
    settings,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# --- what could mean something to somebody ----------------------------------------------------------------------------

NASTY = [
    # shell, make
    *[
        "$(>canary)",
        "`>canary`",
        ";>canary",
        "|id",
        "&&id",
        "&",
        ">canary",
        "<x",
        "'",
        '"',
        "\\",
        "!!",
        "~",
        "${IFS}",
        "$IFS",
        "$$",
        "$@",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "#",
        "--help",
        "-e",
        "-",
        "--",
        "=",
    ],
    *["a=b", "AS_ROOT", "END_OF_FILE", "END_OF_BLOCK", ":=", "${X:-y}", ".PHONY:", "$(eval)", "${file}"],
    *("$(shell id)", "; touch canary", "include /etc/passwd"),
    # YAML, JSON, XML
    *[
        "*a",
        "&a",
        "!!python/object:os.system",
        "---",
        "...",
        "null",
        "yes",
        "0x1f",
        "1e3",
        "1.e5",
        ".inf",
        "2001-01-01",
        "]",
        "}",
        "[",
        "{",
        ",",
        "|",
        ">",
    ],
    *(": ", "- ", " #", "%YAML 1.2", "<b>", "]]>", "<!--", "-->", "&amp;", "<?x?>"),
    # nginx, other templates, systemd, Jinja, awk, printf
    *[
        "};",
        "$uri",
        "~^/",
        "{$HOME}",
        "{http.request.uri}",
        "%n",
        "%i",
        "%%",
        "%s",
        "${x}",
        "@/bin/sh",
        "+/bin/sh",
        "{#",
        "#}",
        "\\n",
        "\\x41",
        "@up@",
    ],
    *("server {", "<% env `HOME` %>", '<!--# include file="x" -->', "{{ 7 * 7 }}", "{% raw %}"),
    # terminals, lines, encodings
    *(
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\x9b31m",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\0",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x7f",
        "\x85",
        "\udcff",
    ),
    *"\u2028\u2029\u00a0\u3000\u200b\u202e\ufeff\u05d0\u0130\u0131\u017f\u212a\uff11\u0661\uff41\u00e9\u0301\U0001f4a9",
    # paths, names
    *["..", "../", "/", "//", "/etc/passwd", ".", ":", "@", "localhost", "com.apple.x", "A", "_", "0"],
    *(" ", "  ", ""),
]
nasty = st.sampled_from(NASTY)
noise = st.one_of(
    nasty,
    st.text(max_size=20),
    st.lists(nasty, max_size=4).map("".join),
    st.sampled_from(["a", "1", ".", "-", "a.", "\u202e", "$(id)", "a:1 "]).flatmap(
        lambda text: st.sampled_from([64, 255, 4096, 20000]).map(lambda times: text * times)
    ),
)


# One character that is often the whole difference.
characters = st.sampled_from(
    [*string.punctuation, *" \t\x0b\x0c\r\x1b\x7f", "\uff11", "\u0661", "\u017f", "\u212a", "\u0131"]
)
LIKE = ("0123456789", "abcdefxyz", "AEFXZ")


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """One of `texts`, or one that is nearly so."""
    text = draw(texts)
    hows = (
        ["as it is"] * 3
        + ["alike"] * 2
        + ["character"] * 4
        + ["in", "instead", "before", "behind", "twice", "long", "digit"]
    )
    how = draw(st.sampled_from(hows))
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    if how == "character":
        return text[:at] + draw(characters) + text[at + draw(st.integers(0, 1)) :]
    if how in ("in", "instead"):
        return text[:at] + draw(nasty) + text[at + (how == "instead") :]
    if how == "before":
        return draw(nasty) + text
    if how == "behind":
        return text + draw(nasty)
    if how == "twice":
        return draw(st.sampled_from([text + text, text.upper(), f"{text} {text}"]))
    if how == "digit":  # of another script
        digits = [at for at, character in enumerate(text) if character in LIKE[0]]
        at = draw(st.sampled_from(digits or [0]))
        return (
            text[:at] + chr(draw(st.sampled_from([0xFF10, 0x660])) + int(text[at])) + text[at + 1 :] if digits else text
        )
    if how == "long" and text:
        return text[:at] + text[at] * draw(st.sampled_from([2, 63, 64, 100, 190, 254])) + text[at:]
    if how == "alike":
        for at in draw(st.lists(st.integers(0, max(len(text) - 1, 0)), max_size=4)) if text else []:
            like = next((some for some in LIKE if text[at] in some), text[at])
            text = text[:at] + draw(st.sampled_from(like)) + text[at + 1 :]
    return text


# --- answers ----------------------------------------------------------------------------------------------------------

QUESTIONS: dict[str, dict[str, Any]] = {
    name: question
    for name, question in yaml.safe_load((PROJECT / "copier.yml").read_text()).items()
    if not name.startswith("_") and question.get("when") is not False
}
# An answer that is found nowhere else in the files. A new question that takes free text needs one.
MARKS = {
    "project_slug": "zmarkz",
    "alias_ip": "10.91.92.93",
    "alias_label": "zmark.label",
    "native_services": "zmark:7001 ymark:7002",
    "web_domain": "zmarkz.test",
    "web_port": 7001,
}
SEARCHED: dict[str, list[str]] = {}


class Copier:
    """Copier's own questionnaire and templates, in this process: what an answer becomes without writing a file."""

    def __init__(self, folder: Path) -> None:
        source = folder / "source"
        for name in ("template", "containers"):
            shutil.copytree(PROJECT / name, source / name)
        shutil.copy(PROJECT / "copier.yml", source)
        self.worker = Worker(str(source), folder / "my app", defaults=True, quiet=True, unsafe=True)
        env = self.worker.jinja_env
        # Compiling the validators anew for each answer would take most of the time.
        env.from_string = functools.cache(env.from_string)
        self.names = [path.relative_to(source).as_posix() for path in sorted((source / "template").rglob("*.jinja"))]

    def ask(self, recorded: dict[str, Any] | None = None, **answers: Any) -> dict[str, Any]:
        """Return all answers when `answers` are given as data; raises what Copier raises for a bad one."""
        self.worker.data = answers
        self.worker.subproject.__dict__["last_answers"] = recorded or {}
        self.worker._ask()
        return {name: self.worker.answers.combined[name] for name in QUESTIONS}

    def files(self) -> dict[str, Any]:
        """Return what parsers see in the files that the last answers give."""
        context = self.worker._render_context()
        env = self.worker.jinja_env
        return {name: seen_in(name, env.get_template(name).render(context)) for name in self.names}


def seen_in(name: str, text: str) -> Any:
    """Return what the parser of the file `name` sees in `text`."""
    text.encode()
    name = name.removesuffix(".jinja")
    if name.endswith(".plist"):
        return plistlib.loads(text.encode())
    if name.endswith((".yaml", ".yml")) or "answers_file" in name:
        return yaml.load(text, yaml.CSafeLoader)
    if name.endswith(".service"):
        return unit(text)
    if name.endswith((".conf", "/routes")):
        return [line for line in text.split("\n") if line and not line.startswith("#")]
    assert name.endswith(".md"), f"{name} has no parser here"
    return text.split("\n")


def unit(text: str) -> dict[str, list[list[str]]]:
    """Return the words of each setting of a unit, as systemd splits them; what it would fill in is no longer literal."""
    found: dict[str, list[list[str]]] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        key, _, value = line.partition("=")
        value = re.sub(r"(?<!%)%([^%])", r"<specifier \1>", value)
        if key.startswith("Exec"):
            value = re.sub(r"(?<![$])[$]([{\w])", r"<variable \1>", value)
        found.setdefault(key, []).append(shlex.split(value))
    assert [key for key in found if key.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    return found


def replaced(seen: Any, values: dict[str, str]) -> Any:
    """Return `seen` with each key of `values` in it replaced."""
    if isinstance(seen, dict):
        return {replaced(key, values): replaced(value, values) for key, value in seen.items()}
    if isinstance(seen, list):
        return [replaced(value, values) for value in seen]
    if isinstance(seen, int) and str(seen) in values:
        return int(values[str(seen)])
    if not isinstance(seen, str):
        return seen
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], seen)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Copier:
    return Copier(tmp_path_factory.mktemp("copier"))


def patterns(name: str) -> list[str]:
    """Return the patterns for which the validator of question `name` searches in a good answer."""
    if not SEARCHED:
        with tempfile.TemporaryDirectory() as folder:
            copier = Copier(Path(folder))
            search = copier.worker.jinja_env.filters["regex_search"]
            for question in QUESTIONS:
                found = SEARCHED.setdefault(question, [])

                def note(
                    value: str, pattern: str, *more: Any, found: list[str] = found, question: str = question
                ) -> Any:
                    if value and value in str(MARKS.get(question)):
                        found.append(pattern)
                    return search(value, pattern, *more)

                copier.worker.jinja_env.filters["regex_search"] = note
                copier.worker.jinja_env.cache.clear()
                copier.ask(**({question: MARKS[question]} if question in MARKS else {}))
    return SEARCHED[name]


def https_of(port: int) -> int:
    """Return the port of HTTPS that belongs to the port of HTTP."""
    return port + 363 if port <= 65172 else port - 363


def chain(label: str) -> str:
    """Return the name that the unit gives its chain of iptables, which allows no long ones."""
    return f"host-alias-{hashlib.sha1(label.encode()).hexdigest()}"[:28]


def free_text(name: str) -> bool:
    """Is `name` a question that takes any text?"""
    return QUESTIONS[name]["type"] == "str" and "choices" not in QUESTIONS[name]


def answers(name: str) -> st.SearchStrategy[Any]:
    """Answers to the question `name`: good ones, such that are nearly good, and anything that a data file can hold."""
    other = st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=9), st.dates(), st.lists(noise)),
        *(st.dictionaries(noise, noise, max_size=2), st.lists(st.integers(), max_size=2)),
    )
    question = QUESTIONS[name]
    if "choices" in question:
        choices = question["choices"]
        good = st.sampled_from(list(choices.values()) if isinstance(choices, dict) else choices)
        if question.get("multiselect"):
            chosen = st.lists(st.one_of(good, mutated(good)), max_size=5)
            good = st.one_of(st.lists(good, max_size=5), chosen, chosen.map(lambda some: f"[{', '.join(some)}]"))
            return st.one_of(good, good, noise, other)
        return st.one_of(good, good, mutated(good), noise, other)
    if question["type"] == "int":
        numbers = st.one_of(
            st.integers(-9, 65600), st.sampled_from([0, 1, 80, 443, 5432, 65172, 65173, 65535, 65536, 2**64])
        )
        texts = numbers.map(str)
        digits = texts.map(lambda text: text.translate({ord("0") + n: 0xFF10 + n for n in range(10)}))
        return st.one_of(numbers, texts, mutated(texts), digits, noise, other)
    if question["type"] == "bool":
        words = st.sampled_from(["yes", "no", "true", "false", "on", "off", "y", "n", "1", "0"])
        return st.one_of(st.booleans(), words, mutated(words), noise, other)
    assert question["type"] == "str", f"say what {name} may be"
    assert name in MARKS, f"give {name} a mark"
    good = [st.sampled_from(GOOD.get(name, [MARKS[name]])), st.one_of(*(st.from_regex(one) for one in patterns(name)))]
    if name == "alias_ip":
        numbers = st.lists(st.integers(0, 256), min_size=3, max_size=3)
        good.append(numbers.map("10.{0[0]}.{0[1]}.{0[2]}".format))
    if " " in MARKS[name]:
        good.append(st.lists(st.from_regex(patterns(name)[0]), max_size=6).map("  ".join))
    good = st.sampled_from(good).flatmap(lambda texts: texts)
    return st.one_of(mutated(good), mutated(good), mutated(good), noise, other)


def check_refusal(name: str, value: Any, error: Exception) -> None:
    """Check the words of a refusal. Where Copier's own come first, they may be many but do nothing to a terminal."""
    said = str(error)
    if free_text(name) and isinstance(value, str):
        message = said.removeprefix(f"Validation error for question '{name}': ")
        assert re.fullmatch(r"[ -~]*\bType [ -~]+", message) and len(message) < 80, message
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e]", said), said


def assert_services(files: dict[str, Any], given: str) -> None:
    """Check that the seeded routes and the names of the proxy are those of the services `given`."""
    services = [service.split(":") for service in given.split()]
    domain = MARKS["web_domain"]
    lines = files["template/.localdev/routes.jinja"]
    first = services[:1] and [["/", f"{services[0][0]}."]]
    assert [line.split() for line in lines] == [
        [name, port, *(first[0] if number == 0 else [])] for number, (name, port) in enumerate(services)
    ]
    proxy = files["template/.localdev/names.yaml.jinja"]["services"]["proxy"]
    assert proxy["networks"]["default"]["aliases"] == [domain, *(f"{name}.{domain}" for name, _ in services)]


def assert_routes_are_read(here: Copier, accepted: set[str], run: Run, folder: Path) -> None:
    """Check that routes.awk takes the seeded routes of all `accepted` services as they are."""
    for given in sorted(accepted):
        services = [service.split(":") for service in given.split()]
        here.ask(native_services=given)
        (folder / "host-alias.conf").write_text("\n".join(here.files()["template/.localdev/host-alias.conf.jinja"]))
        (folder / "routes").write_text("\n".join(here.files()["template/.localdev/routes.jinja"]))
        options = ("-v", "want=table", "-f", LOCALDEV / "routes.awk", "host-alias.conf", "routes")
        done = run("mawk", *options, cwd=folder)
        seen = [line.split("\t")[1:] for line in done.stdout.splitlines()]
        places = [(name, port, f"{name}.my-app.localhost") for name, port in services]
        bare = [(*places[0][:2], "my-app.localhost")] if places else []
        assert seen == [[name, "host-alias", port, host, "/"] for name, port, host in bare + places], done.stderr


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_is_refused_in_one_line_or_every_parser_sees_just_that(
    name: str, here: Copier, run: Run, tmp_path: Path
) -> None:
    question = QUESTIONS[name]
    count = collections.Counter[str]()
    readme = {"template/.localdev/README.md.jinja": []}  # it leaves port 80 out
    accepted = set()
    marked = {}
    if free_text(name) or question["type"] == "int":
        for end in ("", ".localhost") if name == "web_domain" else ("",):
            mark = f"{MARKS[name].removesuffix(end and '.test')}{end}" if end else MARKS[name]
            here.ask(**{name: mark})
            marked[end] = (mark, here.files())

    @every_time(max_examples=examples(800))
    @hypothesis.given(answers(name))
    def check(value: Any) -> None:
        count["all"] += 1
        try:
            given = here.ask(**{name: value})[name]
        except Exception as error:
            check_refusal(name, value, error)
            return
        count["accepted"] += 1
        files = here.files()
        if "choices" in question:
            choices = question["choices"]
            allowed = list(choices.values()) if isinstance(choices, dict) else choices
            assert set(given) <= set(allowed) if question.get("multiselect") else given in allowed
        elif question["type"] == "bool":
            assert given in (True, False)
        elif question["type"] == "int":
            assert given == int(value)
            mark, expected = marked[""]
            wanted = {str(mark): str(given), str(https_of(mark)): str(https_of(given))}
            assert files | readme == replaced(expected, wanted) | readme
        else:
            assert given == (value.decode() if isinstance(value, bytes) else str(value))
            accepted.add(given)
            if name == "native_services":
                here.ask(native_services=given, web_domain=MARKS["web_domain"])
                assert_services(here.files(), given)
                return
            mark, expected = marked[".localhost" if ".localhost" in marked and given.endswith(".localhost") else ""]
            wanted = {mark: given, chain(mark): chain(given)}
            wanted |= {chain(f"local.host-alias.{mark}"): chain(f"local.host-alias.{given}")}
            assert files == replaced(expected, wanted)

    check()
    print(f"{name}: {count['accepted']} of {count['all']} accepted")
    assert count["all"] > examples(700)
    assert count["accepted"] > (examples(20) if name in MARKS else 2)
    if free_text(name):
        assert count["all"] - count["accepted"] > examples(200)
        assert len(accepted) > examples(30)
    if name == "native_services":
        assert_routes_are_read(here, accepted, run, tmp_path)
    if name in ("alias_ip", "alias_label"):
        ask = "is_label" if name == "alias_label" else "is_alias_address"
        script = f'. "$1"; while IFS= read -r value; do {ask} "$value" || printf "%s\\n" "$value"; done'
        done = run(
            *("sh", "-euc", script, "sh", LOCALDEV / "sh/common.sh"),
            cwd=tmp_path,
            input="".join(f"{value}\n" for value in sorted(accepted)),
            check=True,
        )
        assert (done.stdout, done.stderr) == ("", ""), "accepted here, refused by host-alias"


# Answers at the edge of what is accepted, for the parsers that are processes: the longest, and what YAML, systemd, nft or
# make may take for a word of their own.
EDGES: list[dict[str, str]] = [
    {
        "project_slug": "2048",
        "alias_label": "table.ip",
        "web_domain": "1.e5",
        "native_services": "default:80 host-alias:1 null:2",
    },
    {
        "project_slug": "a" * 40,
        "alias_label": "a." + "b" * 98,
        "web_domain": ".".join(["a" * 63] * 2 + ["b" * 62]),
        "native_services": f"{'w' * 31}:65535 include:1",
        "databases": "[postgres, mysql, redis, mongodb]",
    },
    {
        "project_slug": "null",
        "alias_label": "Nan.A_b-c.1e5",
        "alias_ip": "203.0.113.254",
        "web_domain": "null.true",
        "native_services": "",
        "web_port": "65535",
    },
    {
        "project_slug": "0x1f",
        "alias_label": "a-.b",
        "alias_ip": "169.254.254.254",
        "web_domain": "xn--bcher-kva.test",
        "native_services": "proxy:80",
        "web_port": "1",
    },
    {"project_slug": "1-1", "alias_label": "X.service", "alias_ip": "10.0.0.1", "web_proxy": "none"},
]


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge["project_slug"][:5])
def test_every_program_takes_answers_at_the_edge_as_they_are(
    edge: dict[str, str], rendered: Render, run: Run, tmp_path: Path
) -> None:
    here = rendered(**edge)
    label = edge["alias_label"]
    ip = edge.get("alias_ip", "10.254.254.254")
    plist = plistlib.loads((here / ".localdev/host-alias.plist").read_bytes())
    assert (plist["Label"], plist["ProgramArguments"][3]) == (label, ip)

    need_command("systemd-analyze", "systemd")
    installed = tmp_path / f"{label}.service"
    shutil.copy(here / ".localdev/host-alias.service", installed)
    done = run("systemd-analyze", "verify", installed, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (guard, address) = unit(installed.read_text())["ExecStart"]
    assert address == ["/sbin/ip", "address", "replace", f"{ip}/32", "dev", "lo", "scope", "host"]
    (ruleset,) = re.findall(r'/usr/sbin/nft "([^"]*)"', guard[-1])
    need_namespaces()
    need_command("nft", "nftables")
    load = ("unshare", "--net", "sh", "-euc", 'nft "$1"; nft -j list ruleset', "sh", ruleset)
    nft = run(*load, cwd=here, check=True)
    made = {kind: item for one in json.loads(nft.stdout)["nftables"] for kind, item in one.items()}
    assert (made["table"]["name"], made["chain"]["table"]) == (label, label)

    need_compose()
    config = json.loads(run("docker", "compose", "config", "--format", "json", cwd=here, check=True).stdout)
    assert config["name"] == edge["project_slug"]
    for service in config.get("services", {}).values():
        assert service["extra_hosts"] in ([f"host-alias={ip}"], [f"host-alias:{ip}"])
    if edge.get("web_proxy") != "none":
        proxy = config["services"]["proxy"]
        published = edge.get("web_port", "8080")
        assert [port["published"] for port in proxy["ports"] if "published" in port] == [published]
        names = [service.split(":")[0] for service in edge["native_services"].split()]
        domain = edge["web_domain"]
        assert proxy["networks"]["default"]["aliases"] == [domain, *(f"{name}.{domain}" for name in names)]
        hosts = run(
            "awk", "-vwant=hosts", "-froutes.awk", "host-alias.conf", "routes", cwd=here / ".localdev", check=True
        )
        assert set(hosts.stdout.split()) == {domain, *(f"{name}.{domain}" for name in names)}

    # What our scripts print from the answers is shell: no word of it may be more than a word.
    for words in ((".localdev/host-alias", "plan"), (".localdev/sh/stack.sh", "env")):
        text = run("sh", *words, cwd=here, check=True).stdout
        (tmp_path / "said.sh").write_text(text)
        done = run(TOOLS / "shellcheck", "--norc", "-s", "sh", "-e", "SC2034", tmp_path / "said.sh", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    assert (
        run("make", "-n", "dev-up", cwd=here, check=True).stdout
        == run("make", "-n", "dev-up", cwd=rendered(), check=True).stdout
    )
    assert [script.read_bytes() for script in scripts(here) if "proxy" not in script.parts] == [
        script.read_bytes() for script in scripts(rendered()) if "proxy" not in script.parts
    ]


def test_by_command_line_and_data_file_a_hostile_answer_ends_in_one_line_of_ours(
    template: Path, copier: Run, tmp_path: Path
) -> None:
    for number, (name, value) in enumerate(
        [
            ("project_slug", "$(touch canary)"),
            ("alias_ip", "10.254.254.254\n"),
            ("alias_label", "a.\x1b[2J"),
            ("web_domain", "{{ 7 * 7 }}.test"),
            ("native_services", "web:３０００"),
        ]
    ):
        # Typed on the command line, and as any text in a file; a file can hold a newline at the end, too.
        if number % 2:
            given = ("--data-file", tmp_path / "data.yml")
            (tmp_path / "data.yml").write_text(json.dumps({name: value}))
        else:
            given = (f"-d{name}={value}",)
        done = copier("copy", "--trust", "--defaults", *given, template, tmp_path / "app", cwd=tmp_path)
        assert done.returncode == 1
        assert "\x1b" not in done.stderr
        last = done.stderr.rstrip("\n").split("\n")[-1]
        assert re.fullmatch(rf"ValueError: Validation error for question '{name}': [ -~]*Type [ -~]+", last)
        assert not (tmp_path / "app").exists() and not (tmp_path / "canary").exists()


def test_at_the_prompt_a_hostile_answer_is_refused_and_the_next_one_counts(
    template: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "copier", "copy", "--trust", "--skip-tasks", str(template), str(tmp_path / "app")],
        env=clean_env | {"TERM": "xterm"},
        encoding="utf-8",
        dimensions=(40, 160),
        timeout=30,
    )
    hostile = {
        "Short name": ("$(id)", "Type 1-40 of a-z", "2048"),
        "run natively": ("web:80;id", "Type name:port pairs", "web:80"),
        "Which databases": None,
        "Which web proxy": None,
        "Under which domain": ("{{x}}.test", "Type a domain", "shop.test"),
        "On which port": ("80`id`", "Invalid input", "80"),
        "At which address": ("10.254.254.２５４", "Type four numbers", "10.1.2.3"),
        "Name of the job": ("a.b%n", "Type reverse-DNS", "a.b"),
    }
    for question, typed in hostile.items():
        child.expect(question)
        if typed:
            bad, message, good = typed
            child.send("\x15" + "\x7f" * 60 + bad + "\r")
            child.expect(message)
            child.send("\x15" + "\x7f" * 60 + good)
        child.send("\r")
    while child.expect([r"\(y/N\)|\(Y/n\)", pexpect.EOF]) == 0:  # questions with two answers
        child.send("\r")
    child.close()
    assert child.exitstatus == 0
    given = yaml.safe_load((tmp_path / "app" / ANSWERS).read_text())
    for name, value in {
        "project_slug": "2048",
        "alias_ip": "10.1.2.3",
        "alias_label": "a.b",
        "web_domain": "shop.test",
    }.items():
        assert given[name] == value
    assert (given["native_services"], given["web_port"]) == ("web:80", 80)


HOSTILE_ANSWERS = {
    "project_slug": "a$(touch canary)",
    "alias_ip": "10.254.254.254/32; touch canary",
    "alias_label": "a.b\x1b[2J\n",
    "native_services": "web:3000 `id`:1",
    "databases": ["postgres", "{{ 7 * 7 }}"],
    "web_proxy": "../nginx",
    "web_domain": "shop.test\ntouch: canary",
    "web_port": "8080; touch canary",
}


@pytest.mark.parametrize("name", HOSTILE_ANSWERS)
def test_an_update_with_a_hostile_recorded_answer_ends_in_one_line_and_changes_nothing(
    name: str, repo: Render, copier: Run, run: Run
) -> None:
    here = repo()
    recorded = here / ANSWERS
    recorded.write_text(yaml.safe_dump(yaml.safe_load(recorded.read_text()) | {name: HOSTILE_ANSWERS[name]}))
    commit(here, run)
    done = copier("update", "--trust", "--defaults", "-a", recorded.name, cwd=here)
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    last = done.stderr.rstrip("\n").split("\n")[-1]
    assert re.fullmatch("ValueError: [ -~]+", last) and (name in last or "invalid literal" in last)
    assert run("git", "status", "--porcelain", cwd=here, check=True).stdout == ""


def test_a_recorded_answer_that_a_new_version_refuses_is_not_replaced_in_silence(
    own_template: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    here = tmp_path / "app"
    given = ("-dalias_ip=10.9.9.9", "-dalias_label=a.label")
    copier("copy", "--trust", "--defaults", "-q", *given, own_template, here, cwd=tmp_path, check=True)
    commit(here, run)
    # The next version knows better about both.
    questions = own_template / "copier.yml"
    text = questions.read_text().replace("'^(0|127|", "'^(0|127|10[.]9|").replace("'^com[.]apple[.]'", "'^a[.]label'")
    assert text.count("10[.]9|") == text.count("'^a[.]label'") == 1
    questions.write_text(text)
    commit(own_template, run)
    run("git", "tag", "v1.1.0", cwd=own_template, check=True)
    done = copier("update", "--trust", "--defaults", "-a", ANSWERS, cwd=here, check=True)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Changed: ")]
    assert "alias_ip 10.9.9.9 -> 10.254.254.254" in line
    assert "alias_label a.label -> local.host-alias.10.254.254.254" in line
    assert "On every machine: make dev-up" in line


# --- routes -----------------------------------------------------------------------------------------------------------

DOMAIN = "shop.localhost"
CONF = f"label=a.b\nip=10.254.254.254\ndomain={DOMAIN}\nweb_port=8080\nhttps_port=8443\ndatabases=\n"
AWKS = ("mawk", "gawk", "busybox awk", "original-awk")
# Routes are refused when two have the same name or place, so most have a number.
number = st.integers(0, 99999)
matching = functools.partial(st.from_regex, fullmatch=True)
names = st.one_of(
    *[st.builds("{}{}".format, matching("[a-z][a-z0-9-]{0,9}"), number)] * 4,
    st.sampled_from(["default", "web", "host-alias", "w" * 63]),
)
targets = st.one_of(
    *[st.integers(1, 65535).map(str)] * 2,
    st.sampled_from(["0", "1", "65535", "65536", "080", "8080 "]),
    st.builds("{}:{}".format, matching("[a-z0-9][a-z0-9_.-]{0,9}"), st.integers(1, 65535)),
)
paths = st.one_of(
    st.just("/"),
    st.builds("/{}{}".format, number, matching("(/[A-Za-z0-9._~-]{1,6}){0,4}/?")),
    matching("(/[a-z]{1,4}){1,2}/?"),
)
hosts = st.one_of(
    *[st.builds("{}{}.{}".format, st.sampled_from(["", "*.a", "B"]), number, st.sampled_from(["", "test", "b.c"]))] * 3,
    matching(r"(\*\.)?[a-z0-9][a-z0-9-]{0,8}(\.[a-zA-Z0-9]{1,5}){1,3}"),
    matching(r"(\*\.)?[a-z0-9]{1,8}\."),
    st.sampled_from([".".join(["a" * 63] * 3 + ["b" * 61]), "1.e5", "0x1f.e5", "*.t."]),
)
places = st.one_of(paths, hosts, st.builds("{}{}".format, hosts, paths))
words = st.one_of(names, targets, places, noise)
good_lines = st.builds(
    lambda name, target, where, blank: blank.join([name, target, *where]),
    *(names, targets, st.lists(places, max_size=3), st.sampled_from([" ", "\t", "   "])),
)
lines_of_routes = st.one_of(
    good_lines,
    good_lines,
    mutated(good_lines),
    st.builds("{} {} {}".format, names, targets, mutated(places)),
    st.builds("{} {} {}".format, names, mutated(targets), places),
    st.builds("{} {} {}".format, mutated(names), targets, places),
    st.lists(words, max_size=4).map(" ".join),
)


def generated(texts: st.SearchStrategy[str], number: int) -> list[str]:
    """Return `number` of `texts` by night and a tenth by day, the same ones every time."""
    found: list[str] = []

    @every_time(max_examples=examples(number))
    @hypothesis.given(texts)
    def note(text: str) -> None:
        found.append(text)

    note()
    return found


def expected_rows(number: int, line: str) -> list[list[str]]:
    """Return what an accepted `line` says, word by word: line, service, container, port, host, path."""
    service, target, *where = re.split(r"[ \t]+", re.sub(r"(^|[ \t])#.*", "", line.removesuffix("\r")).strip(" \t"))
    container, _, port = f"host-alias:{target}".rpartition(":")
    rows = []
    for place in where or [f"{service}."]:
        host, slash, path = place.partition("/")
        host = host.lower() if host else DOMAIN
        host += DOMAIN if host.endswith(".") else ""
        path = f"/{path}" if slash else "/"
        container = container.removeprefix("host-alias:")
        rows.append([str(number), service, container, port, host, path if path == "/" else path.removesuffix("/")])
    return rows


def spoiled_lines() -> list[str]:
    """Return good lines with each character that there may be in each place of theirs."""
    forms = ["s{0}{1}x 3000", "s{0} 30{1}00", "s{0} c{1}x:80", "s{0} 3000 h{0}{1}x.test", "s{0} 3000 h{0}.test{1}"]
    forms += ["s{0} 3000 /p{0}{1}x", "s{0} 3000 /p{0}{1}", "s{0} 3000 {1}/p{0}"]
    every = [*map(chr, range(1, 256)), *NASTY]
    return [form.format(f"{at}z{number}", text) for at, text in enumerate(every) for number, form in enumerate(forms)]


def looked_for(container: str, port: str) -> str:
    """Return where people look for a service."""
    return f"{'10.254.254.254' if container == 'host-alias' else container}:{port}"


class Routes:
    """A folder with routes and configuration, and the programs that read them."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self.start = run
        self.write(CONF)

    def write(self, conf: str | None = None, routes: str | bytes | None = None) -> None:
        if conf is not None:
            (self.folder / "host-alias.conf").write_bytes(conf.encode(errors="surrogateescape"))
        if routes is not None:
            text = routes if isinstance(routes, bytes) else routes.encode(errors="surrogateescape")
            (self.folder / "routes").write_bytes(text)

    def __call__(self, want: str, *more: str | Path, awk: str = "mawk", **env: str) -> tuple[int, str, str]:
        """Run routes.awk and what else is told; return exit code, output and errors."""
        options = ["-v", f"want={want}", "-v", "resolver=127.0.0.11", "-f", LOCALDEV / "routes.awk"]
        programs = [word for word in more if str(word).endswith(".awk")]
        sources = [word for word in more if word not in programs]
        words = [*awk.split(), *options, *(part for one in programs for part in ("-f", one))]
        done = self.start(
            *(*words, "host-alias.conf", "routes", *sources),
            cwd=self.folder,
            env={"LC_ALL": "C"} | env,
            errors="replace",
        )
        return done.returncode, done.stdout, done.stderr

    def proxy(self) -> str:
        """Return the proxy's configuration; its pages are in the folder pages."""
        shutil.rmtree(self.folder / "pages", ignore_errors=True)
        (self.folder / "pages/up").mkdir(parents=True)
        programs = [LOCALDEV / "proxy/nginx/nginx.awk", LOCALDEV / "proxy/pages.awk"]
        sources = sorted((LOCALDEV / "proxy/pages").iterdir())
        code, out, err = self("proxy", "into=pages", *programs, *sources)
        assert (code, err) == (0, "")
        return out


def test_a_line_of_routes_is_refused_in_one_line_or_arrives_as_it_is(run: Run, tmp_path: Path) -> None:
    routes = Routes(tmp_path, run)
    lines = "\n".join([*spoiled_lines(), *generated(lines_of_routes, 3000)]).split("\n")
    refused_count = accepted_count = 0
    for begin in range(0, len(lines), 150):
        # NUL is another test's: awks differ in it.
        batch = [line.replace("\0", "") for line in lines[begin : begin + 150]]
        routes.write(routes="\n".join(batch))
        code, out, err = routes("table")
        assert (code, out) == (1, "")
        for awk in AWKS:
            need_command(awk.split()[0])
            assert routes("table", awk=awk) == (code, out, err), awk
        refused = set()
        for message in err.split("\n")[:-1]:
            found = re.fullmatch(r"routes:([0-9]+): [ -~]{10,400}", message)
            assert found, message
            refused.add(int(found[1]))
        kept = ["" if number in refused else line for number, line in enumerate(batch, 1)]
        wanted = [
            row
            for number, line in enumerate(kept, 1)
            if re.sub(r"(^|[ \t])#.*", "", line).strip(" \t\r")
            for row in expected_rows(number, line)
        ]
        routes.write(routes="\n".join(kept))
        for awk in AWKS:
            code, out, err = routes("table", awk=awk)
            assert (code, err) == (0, ""), awk
            assert [line.split("\t") for line in out.splitlines()] == wanted, awk
        refused_count += len(refused)
        accepted_count += len({row[0] for row in wanted})
        assert_everybody_sees(routes, wanted)
    print(f"{accepted_count} lines accepted, {refused_count} refused")
    assert refused_count > examples(500)
    assert accepted_count > examples(300)


def assert_everybody_sees(routes: Routes, rows: list[list[str]]) -> None:
    """Check that these `rows` of the table, and nothing else, are in whatever else follows from routes."""
    all_hosts = list(
        dict.fromkeys([*([] if DOMAIN in {row[4] for row in rows} else [DOMAIN]), *(row[4] for row in rows)])
    )
    assert routes("hosts")[1].splitlines() == all_hosts
    urls = [line.split() for line in routes("urls")[1].splitlines()]
    assert urls[:-1] == [
        [service, f"http://{host}:8080{path}", looked_for(container, port)]
        for _, service, container, port, host, path in rows
    ]
    proxy = yaml.load(routes("names")[1], yaml.CSafeLoader)["services"]["proxy"]
    inside = [host for host in all_hosts if not host.startswith("*") and not f".{host}".endswith(".localhost")]
    assert (proxy["networks"]["default"]["aliases"] if proxy else []) == inside
    _, out, _ = routes("env", LOCALDEV / "sh/env.awk")
    done = routes.start("sh", "-euc", f"{out}\nenv -0", cwd=routes.folder, check=True)
    seen = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert seen["PROXY_HOSTS"].split(",") == ["host-alias", *(host.removeprefix("*") for host in all_hosts)]
    assert_nginx_sees(routes.proxy(), rows)
    assert_pages_show(routes.folder / "pages", rows)


def nginx_tree(text: str) -> list[tuple[list[str], Any]]:
    """Return nginx's directives, as nginx splits them into words: [(words, block or None), ...]."""
    words = re.findall(r'#[^\n]*|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[{};]|[^\s;{}"\'#][^\s;{}]*', text)
    stack: list[list[tuple[list[str], Any]]] = [[]]
    directive: list[str] = []
    for word in words:
        if word.startswith("#"):
            continue
        if word == "{":
            block: list[tuple[list[str], Any]] = []
            stack[-1].append((directive, block))
            stack.append(block)
        elif word in (";", "}"):
            if word == "}":
                assert not directive
                stack.pop()
            else:
                stack[-1].append((directive, None))
        else:
            directive.append(word.strip("\"'"))
            continue
        directive = []
    assert len(stack) == 1 and not directive
    return stack[0]


def assert_nginx_sees(text: str, rows: list[list[str]]) -> None:
    """Check that nginx's configuration `text` has a server for each host and in it just the places of `rows`."""
    tree = nginx_tree(text)
    assert {words[0] for words, _ in tree} <= {"resolver", "map", "upstream", "server"}
    found = {}
    for words, block in tree:
        if words != ["server"]:
            continue
        (name,) = [inner[1] for inner, _ in block if inner[0] == "server_name"]
        assert {inner[0] for inner, _ in block} <= {"server_name", "listen", "include", "location"}
        found[name] = {
            tuple(inner[1:]): {tuple(each[:2]): each[2:] for each, _ in places}
            for inner, places in block
            if inner[0] == "location"
        }
    assert len(found) == 1 + len({row[4] for row in rows})
    for _, service, container, port, host, path in rows:
        name = host if host[0] != "*" else "~^[^.]+" + host[1:].replace(".", "[.]") + "$"
        for where in [("/",)] if path == "/" else [("=", path), (f"{path}/",)]:
            place = found[name][where]
            assert place["set", "$service"] == [service]
            assert place["set", "$port"] == [port]
            assert place["set", "$container"] == ["" if container == "host-alias" else container]
            if container != "host-alias":
                assert place["set", "$upstream"] == [f"http://{container}:{port}"]
    upstreams = {words[1]: block for words, block in tree if words[0] == "upstream"}
    native = {service: port for _, service, container, port, *_ in rows if container == "host-alias"}
    assert {name: block[0][0] for name, block in upstreams.items()} == {
        service: ["server", f"host-alias:{port}"] for service, port in native.items()
    }


def assert_pages_show(pages: Path, rows: list[list[str]]) -> None:
    """Check that the proxy's own pages show services and URLs as they are."""
    # What the proxy fills in when it is asked is not there yet.
    text = re.sub(r"<!--#.*?-->", "", (pages / "dashboard.json").read_text())
    shown = json.loads(text)
    assert {service["name"] for service in shown["services"]} == {row[1] for row in rows}
    urls = {f"http://{host}:8080{path}" for *_, host, path in rows}
    assert {url for service in shown["services"] for url in service["urls"]} == urls
    page = html.parser.HTMLParser()
    seen: list[str] = []
    page.handle_data = seen.append  # type: ignore[method-assign]
    page.feed(re.sub(r"<!--#.*?-->", "", (pages / "dashboard.html").read_text()))
    assert {url for url in urls if url not in seen} == set()
    assert {row[1] for row in rows} <= set(seen)


# The longest of everything, words of nginx's own, and what YAML or a shell would take for something else.
LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])
EXTREMES = f"""\
web 3000 / {LONGEST} x{LONGEST[1:]}/y *.t. *.{LONGEST[2:]} 1.e5 0x1f.e5 1.1.1.1
{"w" * 63} 65535 /{"p" * 200} /A/b.c~d_e-f/ /if /server
default 80
host-alias 5 x.
unix {"c" * 63}:1
proxy 4 null. true.
localhost a_b.c:9
include 7 acme.t.
set default:8
"""


def extreme_rows() -> list[list[str]]:
    """Return what EXTREMES says, word by word."""
    return [row for number, line in enumerate(EXTREMES.splitlines(), 1) for row in expected_rows(number, line)]


def moved(text: str, folder: Path) -> str:
    """Return nginx's configuration with the paths that it has in its container led into `folder`, where it can be read."""
    text = text.replace("/.localdev/proxy/custom/", f"{folder}/custom/").replace(
        "/.localdev/proxy/", f"{LOCALDEV}/proxy/"
    )
    return text.replace("/tmp/live/", f"{folder}/live/").replace("server host-alias:", "server 127.0.0.1:")


def test_the_extremes_are_read_by_every_awk_and_seen_by_everybody(run: Run, tmp_path: Path) -> None:
    routes = Routes(tmp_path, run)
    routes.write(routes=EXTREMES)
    for awk in AWKS:
        need_command(awk.split()[0])
        assert [line.split("\t") for line in routes("table", awk=awk)[1].splitlines()] == extreme_rows()
    assert_everybody_sees(routes, extreme_rows())


def test_nginx_itself_takes_the_extremes(run: Run, tmp_path: Path) -> None:
    nginx = need_command("nginx")
    routes = Routes(tmp_path, run)
    routes.write(routes=EXTREMES)
    (tmp_path / "live").mkdir()
    (tmp_path / "nginx").mkdir()
    (tmp_path / "live/routes.conf").write_text(moved(routes.proxy(), tmp_path))
    for source in (LOCALDEV / "proxy/nginx").glob("*.conf"):
        text = moved(source.read_text(), tmp_path).replace(f"{LOCALDEV}/proxy/nginx", str(tmp_path / "nginx"))
        (tmp_path / "nginx" / source.name).write_text(re.sub("(pid|_temp_path) /tmp/", rf"\1 {tmp_path}/", text))
    conf = tmp_path / "live/routes.conf"
    conf.write_text(conf.read_text().replace(f"{LOCALDEV}/proxy/nginx", str(tmp_path / "nginx")))
    # A shell may have 1024 files, and nginx warns that its connections are more.
    allow = ("sh", "-euc", 'ulimit -n 4096; exec "$@"', "sh")
    done = run(*allow, nginx, "-e", "stderr", "-c", tmp_path / "nginx/nginx.conf", "-t", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- host-alias.conf --------------------------------------------------------------------------------------------------

KEYS = ("label", "ip", "domain", "web_port", "https_port", "databases")
labels = mutated(
    st.one_of(st.sampled_from(GOOD["alias_label"]), matching(r"[A-Za-z][a-z0-9-]{0,4}([.][A-Za-z0-9_]{1,4}){1,3}"))
)
addresses = mutated(
    st.one_of(
        st.sampled_from(GOOD["alias_ip"]),
        st.lists(st.integers(0, 256), min_size=4, max_size=4).map(lambda four: ".".join(map(str, four))),
    )
)
settings_of_conf = st.one_of(
    st.builds("label={}".format, labels),
    st.builds("ip={}".format, addresses),
    st.builds("{}={}".format, st.sampled_from(KEYS), noise),
    st.builds("{}{}{}".format, mutated(st.sampled_from(KEYS)), st.sampled_from(["=", " = ", ":", ""]), noise),
    st.just("# $(touch canary)"),
    noise,
)
confs = st.one_of(
    st.builds("label={}\nip={}\n".format, labels, addresses),
    st.builds("label={}\nip={}\n{}".format, labels, st.sampled_from(GOOD["alias_ip"]), settings_of_conf),
    st.builds("label={}\n{}\nip={}\n".format, st.sampled_from(GOOD["alias_label"]), settings_of_conf, addresses),
    st.lists(settings_of_conf, max_size=4).map("\n".join),
)


@functools.cache
def some_confs() -> list[str]:
    """Return the configurations that every shell reads."""
    return generated(confs, 2500)


READ_CONF = """
program=host-alias
. "$1"
for file in conf.*; do
	(read_conf "$file" && printf '%s' "$label|$ip|$domain") >"said.${file#conf.}" 2>"error.${file#conf.}" || echo "$?" >"code.${file#conf.}"
done
"""


@pytest.mark.parametrize(
    ("shell", "number"), [("dash", 2500), ("bash --posix", 300), ("busybox ash", 300), ("mksh", 300)]
)
def test_a_configuration_is_refused_in_one_line_or_read_as_it_is(
    shell: str, number: int, run: Run, tmp_path: Path
) -> None:
    need_command(shell.split()[0])
    texts = some_confs()[:number]
    for each, text in enumerate(texts):
        (tmp_path / f"conf.{each}").write_bytes(text.encode(errors="surrogateescape"))
    run(
        *shell.split(), "-uc", READ_CONF, "sh", LOCALDEV / "sh/common.sh", cwd=tmp_path, env={"LC_ALL": "C"}, check=True
    )
    accepted = 0
    for each, text in enumerate(texts):
        said = (tmp_path / f"said.{each}").read_bytes()
        error = (tmp_path / f"error.{each}").read_bytes()
        if (tmp_path / f"code.{each}").exists():
            assert said == b""
            assert (tmp_path / f"code.{each}").read_text() == "2\n"
            assert re.fullmatch(rb"host-alias: conf[.][0-9]+:[0-9]+: [ -~]{10,120}\n", error), error
            continue
        accepted += 1
        assert error == b""
        # A shell cannot hold NUL. What it makes of the rest is what it checks, and what it uses.
        lines = text.replace("\0", "").split("\n")
        found = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        assert said.decode(errors="surrogateescape") == f"{found['label']}|{found['ip']}|{found.get('domain', '')}"
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{2,99}", found["label"])
        assert re.fullmatch(r"([1-9][0-9]{0,2}[.])([0-9]{1,3}[.]){2}[0-9]{1,3}", found["ip"])
    print(f"{accepted} of {len(texts)} accepted")
    assert len(texts) / 10 < accepted < len(texts) * 9 / 10
    assert not list(tmp_path.glob("canary"))


# --- variables --------------------------------------------------------------------------------------------------------

VALUES = [value for value in NASTY if "\0" not in value and value] + [
    "9" * 400,
    "x" * 20000,
    "80 80",
    "0",
    "65536",
    "-1",
    "080",
]
PORTS = ("LOCALDEV_HTTP_PORT", "LOCALDEV_HTTPS_PORT", "REDIS_PORT")


def is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and 1 <= int(value) <= 65535


@pytest.mark.parametrize("name", PORTS)
def test_a_port_from_the_environment_is_refused_in_one_line_or_printed_as_it_is(
    name: str, run: Run, tmp_path: Path
) -> None:
    routes = Routes(tmp_path, run)
    routes.write(CONF.replace("databases=", "databases=redis=redis://h:${REDIS_PORT:-6379}/0"), "web 3000\n")
    more = [LOCALDEV / "sh/env.awk"] if name == "REDIS_PORT" else []
    want = {"LOCALDEV_HTTP_PORT": "urls", "LOCALDEV_HTTPS_PORT": "https_port", "REDIS_PORT": "env"}[name]
    for value in VALUES:
        code, out, err = routes(want, *more, **{name: value})
        if is_port(value):
            assert (code, err) == (0, "")
            shown = {"urls": f":{value}/", "https_port": f"{value}\n", "env": f"redis://h:{value}/0"}[want]
            # A URL leaves port 80 out.
            assert shown in out or (want == "urls" and int(value) == 80)
        else:
            assert (code, out) == (1, "")
            assert re.fullmatch(
                rf"localdev: {name} is [ -~]{{1,63}}, which is no port\. Give it a number [ -~]+\n", err
            )


def test_localdev_host_is_refused_in_one_line_whatever_it_is(rendered: Render, run: Run) -> None:
    line = "host-alias: LOCALDEV_HOST can only be host-gateway. Unset it to use 10.254.254.254\n"
    for value in VALUES:
        done = run("sh", ".localdev/host-alias", "plan", cwd=rendered(), env={"LOCALDEV_HOST": value})
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with stand-ins for what make's targets call; they write their words down, one a line, in the file calls."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("docker", "podman", "copier"):
        (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >>{shlex.quote(str(tmp_path / "calls"))}\n')
        (folder / name).chmod(0o755)
    (folder / "ss").write_text("#!/bin/sh\n")
    (folder / "ss").chmod(0o755)
    return folder


def test_a_line_of_dotenv_is_data_and_runs_nothing(repo: Render, run: Run, tools: Path) -> None:
    here = repo(databases="[redis]")
    before = {path.name for path in here.iterdir()}
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "LOCALDEV_HOST": "host-gateway"}
    texts = generated(
        st.lists(st.one_of(noise, st.builds("{}={}".format, st.sampled_from(PORTS), noise)), max_size=4), 60
    )
    for lines in texts:
        (here / ".env").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
        for verb in ("urls", "env", "up docker compose"):
            done = run("sh", ".localdev/sh/stack.sh", *verb.split(), cwd=here, env=env, errors="replace")
            assert done.returncode in (0, 1)
            if done.returncode:
                assert done.stdout == ""
                assert all(re.fullmatch("localdev: [ -~]{10,300}", line) for line in done.stderr.splitlines()), lines
        (here / ".env").unlink()
        assert {path.name for path in here.iterdir()} == before, lines


HOSTILE_ENVIRONMENT = {
    "IFS": "0123456789./=al -",
    "CDPATH": "/:/tmp",
    "ENV": "canary.sh",
    "BASH_ENV": "canary.sh",
    "LC_ALL": "C.UTF-8",
    "PS4": "$(touch canary)",
    "POSIXLY_CORRECT": "1",
    "GREP_OPTIONS": "-v",
    "AWKPATH": "/tmp",
    "MAKEFILES": "",
    "TERM": "$(touch canary)",
    "NO_COLOR": "`touch canary`",
    "CI": "$(touch canary)",
    "COMPOSE_PROJECT_NAME": "$(touch canary)\x1b[2J",
    "COMPOSE_FILE": "",
    "TMPDIR": "$(touch canary)",
    "HOME": "/nonexistent/$(touch canary)",
    "PWD": "$(touch canary)",
    "OLDPWD": "`touch canary`",
}


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox ash"])
def test_the_environment_changes_nothing_of_what_the_scripts_print(
    shell: str, repo: Render, run: Run, tmp_path: Path
) -> None:
    need_command(shell.split()[0])
    here = repo(databases="[redis]")
    (here / "canary.sh").write_text("touch canary\n")
    own = {"ENV", "BASH_ENV"} if shell != "busybox ash" else set()
    for script, verb in (("stack.sh", "urls"), ("stack.sh", "env"), ("hosts.sh", "add"), ("../host-alias", "status")):
        words = (*shell.split(), f".localdev/sh/{script}", verb)
        plain = run(*words, cwd=here)
        hostile = run(
            *words, cwd=here, env={name: value for name, value in HOSTILE_ENVIRONMENT.items() if name not in own}
        )
        assert (hostile.returncode, hostile.stdout, hostile.stderr) == (plain.returncode, plain.stdout, plain.stderr), (
            verb
        )
    assert not list(here.rglob("canary"))


def test_words_of_make_reach_the_command_as_words_and_the_shell_runs_none(
    rendered: Render, run: Run, tools: Path, tmp_path: Path
) -> None:
    """ARGS is words for a shell, like all that one types: what is quoted in them stays quoted."""
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "LOCALDEV_HOST": "host-gateway"}
    for value in [
        "$(touch canary)",
        "`touch canary`",
        "a;touch canary",
        "*",
        "a b",
        "\x1b[2J",
        "#x",
        "--help",
        "\u05d0",
    ]:
        (tmp_path / "calls").unlink(missing_ok=True)
        given = shlex.quote(value).replace("$", "$$")
        run("make", "dev-logs", f"ARGS={given}", cwd=rendered(), env=env, check=True)
        calls = (tmp_path / "calls").read_text().splitlines()
        assert calls == ["docker", "compose", "logs", "--follow", "--tail", "100", value]
    assert not list(rendered().rglob("canary"))


# --- as root ----------------------------------------------------------------------------------------------------------
# That a hostile PATH runs nothing and that the plan has only absolute paths: test_host_alias_linux.py, test_hosts.py.

# What root's commands may be called, where somebody else would put a program of that name.
COMMANDS = "awk cat chmod chown cksum head ifconfig id ip iptables launchctl ls mkdir mv nft rm sed sh sleep sudo systemctl tail xargs"
EVIL = '#!/bin/sh\n[ "$(/usr/bin/id -u)" -ne 0 ] || /bin/touch /mnt/canary\nexit 1\n'
TRACED = "trace=execve,/open,/^link,/rename,/symlink,/unlink,/chmod,/mkdir,/^v?fork,/^clone"


@pytest.fixture(params=["host-alias", "hosts.sh"])
def box(
    request: pytest.FixtureRequest, repo: Render, tmp_path: Path, clean_env: dict[str, str]
) -> Iterator[tuple[Box, tuple[str, ...], list[str]]]:
    """A box with a sudo, the words that make a script become root in it, and the files that come into being."""
    need_box(firewall=request.param == "host-alias")
    if request.param == "host-alias":
        made = Box(repo(), tmp_path, clean_env)
        made.fake_systemd()
        words, files = ("up",), [f"{UNITS}/{LABEL}.service"]
    else:
        made = HostsBox(repo(web_domain="shop.test"), tmp_path, clean_env)
        words, files = ("add", "--yes"), ["/etc/hosts"]
    made.fake_sudo("#!/bin/sh\n[ ! -e /mnt/meanwhile ] || sh /mnt/meanwhile\n" + SUDO.removeprefix("#!/bin/sh\n"))
    # Where the box has a new file system, anybody could write.
    made.root(f"for folder in {UNITS} /run; do [ ! -d $folder ] || chmod 755 $folder; done")
    yield made, words, files
    made.close()


def of_root(trace: str) -> Iterator[tuple[str, str]]:
    """Yield call and path of whatever the processes did that sudo started, but for what systemd does in reality."""
    lines = [line.split(None, 1) for line in trace.splitlines()]
    parent = {}
    for pid, text in lines:
        if found := re.match(r"(?:<\.\.\. )?(?:clone3?|v?fork)\b.*= ([0-9]+)$", text):
            parent[found[1]] = pid
    root: set[str] = set()
    systemd: set[str] = set()

    def descends(pid: str, of: set[str]) -> bool:
        while pid not in of and pid in parent:
            pid = parent[pid]
        return pid in of

    for pid, text in lines:
        if descends(pid, root) and not descends(pid, systemd):
            for path in re.findall(r'"((?:[^"\\]|\\.)*)"', re.sub(r'^(execve\("[^"]*").*', r"\1", text)):
                yield text.partition("(")[0], path
        if text.startswith('execve("/mnt/become"'):
            root.add(pid)
        if text.startswith(('execve("/bin/systemctl"', 'execve("/usr/bin/systemctl"')):
            systemd.add(pid)


def test_root_runs_and_opens_nothing_that_somebody_else_could_have_put_there(
    box: tuple[Box, tuple[str, ...], list[str]], tmp_path: Path
) -> None:
    made, words, files = box
    need_command("strace")
    evil = shlex.quote(EVIL)
    made.root(
        f"mkdir -m 777 /mnt/cwd /mnt/home /mnt/tmp; for name in {COMMANDS}; do for folder in cwd home tmp; do "
        f'printf %s {evil} >"/mnt/$folder/$name"; chmod 755 "/mnt/$folder/$name"; done; done; printf %s {evil} >/mnt/home/.profile'
    )
    env = {
        "HOME": "/mnt/home",
        "TMPDIR": "/mnt/tmp",
        "PATH": f"/mnt/cwd:.::{os.environ['PATH']}",
        "CDPATH": "/mnt/home",
        "ENV": "/mnt/home/.profile",
        "BASH_ENV": "/mnt/home/.profile",
        "IFS": "/",
        "LD_LIBRARY_PATH": "/mnt/home",
    }
    trace = (
        "strace",
        "-f",
        "-qq",
        "-s",
        "4096",
        "-e",
        "signal=none",
        "-e",
        TRACED,
        "-o",
        tmp_path / "trace",
        "-u",
        "nobody",
    )
    code, _, err = made.run(*trace, made.script, *words, env=env, cwd="/mnt/cwd")
    assert code == 0, err
    assert len(made.calls("sudo")) == 1
    assert "canary" not in made.root("ls /mnt")

    seen = list(of_root((tmp_path / "trace").read_text()))
    run = {path for call, path in seen if call == "execve"}
    assert {"/bin/sh", "/bin/cat", "/bin/mv"} <= run
    assert [path for path in run if not re.fullmatch(r"(/usr)?/s?bin/[a-z-]+", path)] == []
    paths = {path for _, path in seen}
    assert [path for path in paths if not path.startswith("/")] == []
    folders = "".join(f"{folder}\n" for path in paths for folder in Path(path).parents)
    (tmp_path / "folders").write_text(folders)
    tmp_path.chmod(0o755)
    look = 'while IFS= read -r folder; do [ ! -w "$folder" ] || printf "%s\\n" "$folder"; done'
    made.root(f"cp {tmp_path}/folders /mnt/folders; chmod 644 /mnt/folders")
    assert made.run("sh", "-euc", f"{look} </mnt/folders", user=True) == (0, "", "")
    # What it came for is among what was seen.
    assert any(path.startswith(str(Path(files[0]).parent)) for path in paths)


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("mask", ["0", "777"])
def test_nothing_is_left_that_others_may_write_whatever_the_umask(
    box: tuple[Box, tuple[str, ...], list[str]], mask: str, user: bool
) -> None:
    made, words, files = box
    before = made.root(f"find /etc /run $(ls -d {UNITS}) -xdev")
    code, _, err = made.run("sh", "-c", f'umask {mask}; exec "$@"', "sh", made.script, *words, user=user)
    assert code == 0, err
    for file in files:
        assert made.root(f"stat -c '%a %u:%g' {file}") == "644 0:0\n"
    writable = rf"find /etc /run $(ls -d {UNITS}) -xdev ! -type l \( -perm /022 -o ! -user root \)"
    assert [path for path in made.root(writable).splitlines() if path not in before.splitlines()] == []


# At the moment at which root is asked for, somebody puts other files in the place of the repo's.
SWAPS = r"""
cd /mnt/*/.localdev
for name in host-alias host-alias.conf host-alias.service host-alias.plist routes sh/common.sh sh/job.sh sh/linux.sh sh/hosts.sh; do
	sed 's/10[.]254[.]254[.]254/10.6.6.6/g; s/^web /evil /' "$name" >"$name.evil"
	printf '%s\n' 'ExecStart=/bin/touch /mnt/canary' '[ "$(id -u)" -ne 0 ] || touch /mnt/canary' >>"$name.evil"
	mv -f "$name.evil" "$name"
done
"""


def test_what_is_swapped_after_it_was_compared_does_not_reach_root(box: tuple[Box, tuple[str, ...], list[str]]) -> None:
    made, words, files = box
    made.root(f"chmod -R a+rwX {shlex.quote(str(made.repo))}")
    unit_before = (made.source / ".localdev/host-alias.service").read_text()
    made.root(f"printf %s {shlex.quote(SWAPS)} >/mnt/meanwhile")
    _, _, err = made(*words, user=True)
    assert len(made.calls("sudo")) == 1
    assert "10.6.6.6" in (made.source / ".localdev/host-alias.service").read_text(), "nothing was swapped"
    assert "canary" not in made.root("ls /mnt"), err
    installed = made.root(f"cat {files[0]}")
    if words == ("up",):
        assert installed == unit_before
        assert [address for address, *_ in made.addresses()] == ["10.254.254.254"]
    else:
        assert "evil" not in installed and "127.0.0.1 shop.test web.shop.test\n" in installed


def test_on_macos_what_is_swapped_after_it_was_compared_does_not_reach_root(rendered: Render, tmp_path: Path) -> None:
    mac = Laptop(tmp_path / "mac", rendered())
    child = mac.spawn([HOST_ALIAS, "up"], cwd=REPO, env={"NO_COLOR": "1"})
    child.expect("Password:")
    for name in ("host-alias.plist", "host-alias.conf"):
        path = f"{REPO}/.localdev/{name}"
        mac.write(path, mac.path(path).read_text().replace("10.254.254.254", "10.6.6.6"))
    child.sendline("secret")
    child.expect(pexpect.EOF)
    child.close()
    assert mac.path(PLIST).read_text() == mac.plist
    assert IP in mac.masks and "10.6.6.6" not in mac.masks
