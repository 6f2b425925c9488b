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
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pexpect
import pytest
import yaml
from copier import Settings, run_copy
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

import compose
import environment
import nginx
import pages
import proxy
import routes
import settings
import start
import urls
from box import SUDO, SYSTEMCTL, UNITS, USUAL_HOSTS, Box, HostsBox, need_box
from conftest import GOOD, LOCALDEV, TOOLS, Render, Run
from fakes import Repo
from fast_copier import COMMAND
from host import ALIAS_IP as IP
from host import LABEL
from laptop import HOST_ALIAS, PLIST, REPO, Laptop
from needs import NIGHTLY, examples, need_command, need_compose, need_namespaces
from questionnaire import QUESTIONS, Copier, unit
from routes import Route
from shells import scripts
from sites import CONF, compose_config, read_settings, site_of
from urls import Site
from versions import ANSWERS, commit, release

# Nothing is remembered and nothing is random: what failed once fails for everybody.
set_hypothesis_home_dir(os.devnull + "/none")
every_time = functools.partial(
    hypothesis.settings,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# --- what could mean something to somebody ----------------------------------------------------------------------------

WORDS = r"""
$(>canary) `>canary` ;>canary |id &&id & >canary <x ' " \ !! ~ ${IFS} $IFS $$ $@ * ? [a] {a,b} # --help -e - -- =
a=b AS_ROOT END_OF_FILE END_OF_BLOCK := ${X:-y} .PHONY: $(eval) ${file}
*a &a !!python/object:os.system --- ... null yes 0x1f 1e3 1.e5 .inf 2001-01-01 ] } [ { , | >
}; $uri ~^/ {$HOME} {http.request.uri} %n %i %% %s ${x} @/bin/sh +/bin/sh {# #} \n \x41 @up@
"""
NASTY = [
    # shell, make; YAML, JSON, XML; nginx, other templates, systemd, Jinja, printf
    *WORDS.split(),
    *("$(shell id)", "; touch canary", "include /etc/passwd"),
    *(": ", "- ", " #", "%YAML 1.2", "<b>", "]]>", "<!--", "-->", "&amp;", "<?x?>"),
    *("server {", "<% env `HOME` %>", '<!--# include file="x" -->', "{{ 7 * 7 }}", "{% raw %}"),
    # terminals, lines, encodings
    *("\x1b[2J", "\x1b]0;x\x07", "\x9b31m", "\n", "\r", "\r\n", "\t"),
    *"\0\x0b\x0c\x1c\x7f\x85\udcff",
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


HOWS = "as-it-is " * 3 + "alike " * 2 + "character " * 4 + "in instead before behind twice long digit"


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """One of `texts`, or one that is nearly so."""
    text, how = draw(texts), draw(st.sampled_from(HOWS.split()))
    places = st.integers(0, max(len(text) - 1, 0))
    at = draw(places)
    if how == "character":
        return text[:at] + draw(characters) + text[at + draw(st.integers(0, 1)) :]
    if how in ("in", "instead"):
        return text[:at] + draw(nasty) + text[at + (how == "instead") :]
    if how in ("before", "behind"):
        return draw(nasty) + text if how == "before" else text + draw(nasty)
    if how == "twice":
        return draw(st.sampled_from([text + text, text.upper(), f"{text} {text}"]))
    if how == "digit":  # of another script
        zero = draw(st.sampled_from([0xFF10, 0x660]))
        return text[:at] + re.sub("[0-9]", lambda found: chr(zero + int(found[0])), text[at:], count=1)
    if how == "long" and text:
        return text[:at] + text[at] * draw(st.sampled_from([2, 63, 64, 100, 190, 254])) + text[at:]
    for at in draw(st.lists(places, max_size=4)) if how == "alike" and text else []:
        like = next((some for some in LIKE if text[at] in some), text[at])
        text = text[:at] + draw(st.sampled_from(like)) + text[at + 1 :]
    return text


# --- answers ----------------------------------------------------------------------------------------------------------

# An answer that is found nowhere else in the files. A new question that takes free text needs one.
MARKS = {
    "project_slug": "zmarkz",
    "alias_ip": "10.91.92.93",
    "alias_label": "zmark.label",
    "native_services": "zmark:7001 ymark:7002",
    "web_domain": "zmarkz.test",
    "web_port": 7001,
}


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
    """Return the patterns for which the validator of question `name` searches."""
    return [one.replace(r"\\", "\\") for one in re.findall(r"regex_search\('([^']+)'\)", QUESTIONS[name]["validator"])]


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
        numbers = st.lists(st.integers(0, 256), min_size=4, max_size=4)
        good += [numbers.map(ip.format) for ip in (*["10.{0[0]}.{0[1]}.{0[2]}"] * 2, "{0[0]}.{0[1]}.{0[2]}.{0[3]}")]
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


def read_back(files: dict[str, Any], folder: Path) -> tuple[settings.Settings, list[Route]]:
    """Return what stack/ reads in the configuration and the seeded routes of `files`."""
    for name in ("host-alias.conf", "routes"):
        (folder / name).write_text("\n".join(files[f"template/.localdev/{name}.jinja"]))
    answers = settings.read(str(folder / "host-alias.conf"))
    return answers, routes.read(str(folder / "routes"), answers.domain)


def seeded(given: str, domain: str) -> list[tuple[str, int, str, str]]:
    """Return service, port, host and path of each seeded route of the services `given`; the first one has the domain, too."""
    pairs = [(name, int(port)) for name, port in (service.split(":") for service in given.split())]
    return [(*pair, domain, "/") for pair in pairs[:1]] + [(*pair, f"{pair[0]}.{domain}", "/") for pair in pairs]


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_is_refused_in_one_line_or_every_parser_sees_just_that(
    name: str, here: Copier, run: Run, tmp_path: Path
) -> None:
    question = QUESTIONS[name]
    choices = question.get("choices", ())
    allowed = list(choices.values()) if isinstance(choices, dict) else choices
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
        read, seeds = read_back(files, tmp_path)
        if allowed:
            assert set(given) <= set(allowed) if question.get("multiselect") else given in allowed
        elif question["type"] == "bool":
            assert given in (True, False)
        elif question["type"] == "int":
            assert given == int(value) == read.web_port
            mark, expected = marked[""]
            wanted = {str(mark): str(given), str(https_of(mark)): str(https_of(given))}
            assert files | readme == replaced(expected, wanted) | readme
        else:
            assert given == (value.decode() if isinstance(value, bytes) else str(value))
            accepted.add(given)
            field = {"alias_ip": read.ip, "alias_label": read.label, "web_domain": read.domain}
            assert field.get(name, given) == given
            if name == "native_services":
                found = [(route.service, route.port, route.host, route.path) for route in seeds]
                assert all(route.native for route in seeds) and found == seeded(given, read.domain)
                return
            mark, expected = marked[".localhost" if ".localhost" in marked and given.endswith(".localhost") else ""]
            wanted = {mark: given, chain(mark): chain(given)}
            wanted |= {chain(f"local.host-alias.{mark}"): chain(f"local.host-alias.{given}")}
            assert files == replaced(expected, wanted)

    check()
    print(f"{name}: {count['accepted']} of {count['all']} accepted")
    assert count["all"] > examples(700)
    assert count["accepted"] > (examples(20) if name in MARKS else 1)
    if free_text(name):
        assert count["all"] - count["accepted"] > examples(200)
        assert len(accepted) >= examples(30)
    if name in ("alias_ip", "alias_label"):
        ask = "is_label" if name == "alias_label" else "is_alias_address"
        script = f'. "$1"; while IFS= read -r value; do {ask} "$value" || printf "%s\\n" "$value"; done'
        text = "".join(f"{value}\n" for value in sorted(accepted))
        done = run("sh", "-euc", script, "sh", functions(tmp_path), cwd=tmp_path, input=text, check=True)
        assert (done.stdout, done.stderr) == ("", ""), "accepted here, refused by host-alias"


# Answers at the edge of what is accepted, for the parsers that are processes: the longest, and what YAML, systemd, nft or
# make may take for a word of their own.
DEFAULTS = {"alias_ip": IP, "web_domain": "none.localhost", "native_services": "", "web_port": "8080"}
NAMES = ("project_slug", "alias_label", "web_domain", "native_services")
LONG = ("a" * 40, "a." + "b" * 98, ".".join(["a" * 63] * 2 + ["b" * 62]), f"{'w' * 31}:65535 include:1")
EDGES: list[dict[str, str]] = [
    dict(zip(NAMES, ("2048", "table.ip", "1.e5", "default:80 host-alias:1 null:2"), strict=True)),
    dict(zip(NAMES, LONG, strict=True)) | {"databases": "[postgres, mysql, redis, mongodb]"},
    dict(zip(NAMES, ("null", "Nan.A_b-c.1e5", "null.true", ""), strict=True))
    | {"alias_ip": "203.0.113.254", "web_port": "65535"},
    dict(zip(NAMES, ("0x1f", "a-.b", "xn--bcher-kva.test", "proxy:80"), strict=True))
    | {"alias_ip": "169.254.254.254", "web_port": "1"},
    {"project_slug": "1-1", "alias_label": "X.service", "alias_ip": "10.0.0.1", "web_proxy": "none"},
]


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge["project_slug"][:5])
def test_every_program_takes_answers_at_the_edge_as_they_are(
    edge: dict[str, str], rendered: Render, run: Run, tmp_path: Path
) -> None:
    here = rendered(**edge)
    label, ip, domain, services, port = (
        (DEFAULTS | edge)[name] for name in ("alias_label", "alias_ip", "web_domain", "native_services", "web_port")
    )
    plist = plistlib.loads((here / ".localdev/host-alias.plist").read_bytes())
    assert (plist["Label"], plist["ProgramArguments"][3]) == (label, ip)

    need_command("systemd-analyze", "systemd")
    installed = tmp_path / f"{label}.service"
    shutil.copy(here / ".localdev/host-alias.service", installed)
    done = run("systemd-analyze", "verify", installed, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = unit(installed.read_text())
    assert ["/sbin/ip", "address", "replace", f"{ip}/32", "dev", "lo", "scope", "host"] in found["ExecStartPost"]
    need_namespaces()
    need_command("nft", "nftables")
    (tmp_path / "run").mkdir()
    guard = found["ExecStartPre"][0][-1].replace(f"cd /run/host-alias/{label}", f"cd {tmp_path}/run")
    load = ("unshare", "--net", "sh", "-euc", 'sh -euc "$1"; nft -j list ruleset', "sh", guard)
    nft = run(*load, cwd=here, check=True)
    tables = [one["table"] for one in json.loads(nft.stdout)["nftables"] if "table" in one]
    assert [(table["family"], table["name"]) for table in tables] == [(kind, label) for kind in ("ip", "arp", "bridge")]

    need_compose()
    config = json.loads(run("docker", "compose", "config", "--format", "json", cwd=here, check=True).stdout)
    assert config["name"] == edge["project_slug"]
    for service in config.get("services", {}).values():
        assert service["extra_hosts"] in ([f"host-alias={ip}"], [f"host-alias:{ip}"])
    if edge.get("web_proxy") != "none":
        published = [found["published"] for found in config["services"]["proxy"]["ports"]]
        assert published == [port, str(https_of(int(port)))]
        names = routes.hosts(routes.read(str(here / ".localdev/routes"), domain), domain)
        assert names == [domain, *(f"{service.split(':')[0]}.{domain}" for service in services.split())]

    # What our scripts print from the answers is shell: no word of it may be more than a word.
    for words in (("sh", ".localdev/host-alias", "plan"), ("python3", "-I", "-B", ".localdev/stack", "env")):
        (tmp_path / "said.sh").write_text(run(*words, cwd=here, check=True).stdout)
        done = run(TOOLS / "shellcheck", "--norc", "-s", "sh", "-e", "SC2034", tmp_path / "said.sh", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    plain = rendered()
    assert len({run("make", "-n", "dev-up", cwd=repo, check=True).stdout for repo in (here, plain)}) == 1
    assert [script.read_bytes() for script in scripts(here)] == [script.read_bytes() for script in scripts(plain)]


def test_by_command_line_and_data_file_a_hostile_answer_ends_in_one_line_of_ours(
    template: Path, copier: Run, tmp_path: Path
) -> None:
    # The questions' other bad answers: test_questions.py.
    for name, value in (("alias_label", "a.\x1b[2J"), ("alias_ip", "10.254.254.254\n")):
        given = [f"-d{name}={value}"]
        if name == "alias_ip":  # a file can hold a newline at the end, too
            given = ["--data-file", str(tmp_path / "data.yml")]
            (tmp_path / "data.yml").write_text(json.dumps({name: value}))
        done = copier("copy", "--trust", "--defaults", *given, template, tmp_path / "app", cwd=tmp_path)
        assert done.returncode == 1
        assert "\x1b" not in done.stderr
        last = done.stderr.rstrip("\n").split("\n")[-1]
        assert re.fullmatch(rf"ValueError: Validation error for question '{name}': [ -~]*Type [ -~]+", last)
        assert not (tmp_path / "app").exists()


def test_at_the_prompt_a_hostile_answer_is_refused_and_the_next_one_counts(
    plain_template: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "copy", "--trust", "--skip-tasks", str(plain_template), str(tmp_path / "app")],
        # Nobody answers where the cursor is: each question would wait a second for that.
        env=clean_env | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        dimensions=(40, 160),
        timeout=30,
    )
    hostile = {
        "Short name of this project": ("$(id)", "Type 1-40 of a-z", "2048"),
        "run natively": ("web:80;id", "Type name:port pairs", "web:80"),
        "Which databases": None,
        "Which web proxy": None,
        "Under which domain": ("{{x}}.test", "Type a domain", "shop.test"),
        "On which port of 127.0.0.1": ("80`id`", "Invalid input", "80"),
        "At which address should containers": ("10.254.254.２５４", "Type four numbers 0-255", "10.8.0.253"),
        # A warning is in place, before the next answer.
        "Name of the job": ("a.b%n", "Type reverse-DNS", "a.b"),
        "Should a GitHub workflow": None,
    }
    for question, typed in hostile.items():
        child.expect(question)
        if question == "Name of the job":
            child.expect("Warning: VPNs often use this range: the alias hides whoever has 10.8.0.253 there")
            child.expect("local.host-alias.10.8.0.253")
        if typed:
            bad, message, good = typed
            # Ctrl-E, Ctrl-U: the whole line.
            child.send(f"\x05\x15{bad}\r")
            child.expect(message)
            child.send(f"\x05\x15{good}")
        child.send("\r")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    given = yaml.safe_load((tmp_path / "app" / ANSWERS).read_text())
    wanted = {"project_slug": "2048", "alias_ip": "10.8.0.253", "alias_label": "a.b", "web_domain": "shop.test"}
    wanted |= {"native_services": "web:80", "web_port": 80}
    assert {name: given[name] for name in wanted} == wanted


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


def test_an_update_with_a_hostile_recorded_answer_ends_in_one_line_and_changes_nothing(
    here: Copier, repo: Render, copier: Run, run: Run
) -> None:
    for name, answer in HOSTILE_ANSWERS.items():
        with pytest.raises(ValueError) as refusal:
            here.ask(**{name: answer})  # the way in which an update takes what is recorded
        assert re.fullmatch("[ -~]+", str(refusal.value))
        assert name in str(refusal.value) or "invalid literal" in str(refusal.value)

    own = repo()
    recorded = yaml.safe_load((own / ANSWERS).read_text())
    for name in HOSTILE_ANSWERS if NIGHTLY else ["alias_label"]:
        (own / ANSWERS).write_text(yaml.safe_dump(recorded | {name: HOSTILE_ANSWERS[name]}))
        commit(own, run)
        done = copier("update", "--trust", "--defaults", "-a", ANSWERS, cwd=own)
        assert done.returncode == 1
        assert "\x1b" not in done.stderr
        last = done.stderr.rstrip("\n").split("\n")[-1]
        assert re.fullmatch("ValueError: [ -~]+", last) and (name in last or "invalid literal" in last)
        assert run("git", "status", "--porcelain", cwd=own, check=True).stdout == ""


def test_a_recorded_answer_that_a_new_version_refuses_is_not_replaced_in_silence(
    own_template: Path, copier: Run, run: Run, tmp_path: Path
) -> None:
    here, given = tmp_path / "app", {"alias_ip": "10.9.9.9", "alias_label": "a.label"}
    run_copy(
        str(own_template), here, given, defaults=True, unsafe=True, quiet=True, skip_tasks=True, settings=Settings()
    )
    commit(here, run)
    # The next version knows better about both.
    release(own_template, run, "v1.1.0", {"copier.yml": ("'^(0|127|", "'^(0|127|10[.]9|")})
    release(own_template, run, "v1.2.0", {"copier.yml": ("'^com[.]apple[.]'", "'^a[.]label'")})
    done = copier("update", "--trust", "--defaults", "-a", ANSWERS, cwd=here, check=True)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Changed: ")]
    assert "alias_ip 10.9.9.9 -> 10.254.254.254" in line
    assert "alias_label a.label -> local.host-alias.10.254.254.254" in line
    assert "On every machine: make dev-up" in line


# --- routes -----------------------------------------------------------------------------------------------------------

DOMAIN = "shop.localhost"
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


def without_comment(line: str) -> str:
    return re.sub(r"(^|[ \t])#.*", "", line.removesuffix("\r")).strip(" \t")


def expected(number: int, line: str) -> list[Route]:
    """Return what an accepted `line` says, word by word."""
    if not without_comment(line):
        return []
    service, target, *where = re.split(r"[ \t]+", without_comment(line))
    container, _, port = f"host-alias:{target}".rpartition(":")
    container = container.removeprefix("host-alias:")
    found = []
    for place in where or [f"{service}."]:
        host, slash, path = place.partition("/")
        host = host.lower() if host else DOMAIN
        host += DOMAIN if host.endswith(".") else ""
        path = f"/{path}" if slash else "/"
        found.append(Route(number, service, container, int(port), host, path.removesuffix("/") or "/"))
    return found


def spoiled_lines() -> list[str]:
    """Return good lines with each character that there may be in each place of theirs."""
    forms = ["s{0}{1}x 3000", "s{0} 30{1}00", "s{0} c{1}x:80", "s{0} 3000 h{0}{1}x.test", "s{0} 3000 h{0}.test{1}"]
    forms += ["s{0} 3000 /p{0}{1}x", "s{0} 3000 /p{0}{1}", "s{0} 3000 {1}/p{0}"]
    every = [*map(chr, range(1, 256)), *NASTY]
    return [form.format(f"{at}z{number}", text) for at, text in enumerate(every) for number, form in enumerate(forms)]


def test_a_line_of_routes_is_refused_in_one_line_or_arrives_as_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join([*spoiled_lines(), *generated(lines_of_routes, 3000)]).split("\n")
    refused_count = accepted_count = 0
    file = tmp_path / "routes"
    for begin in range(0, len(lines), 500):
        batch = lines[begin : begin + 500]
        file.write_bytes("\n".join(batch).encode(errors="surrogateescape"))
        with pytest.raises(routes.RoutesError) as caught:
            routes.read(str(file), DOMAIN)
        refused = set()
        for message in str(caught.value).split("\n"):
            found = re.fullmatch(r"([0-9]+): [ -~]{10,400}", message.removeprefix(f"{file}:"))
            assert found, message
            refused.add(int(found[1]))
        kept = ["" if number in refused else line for number, line in enumerate(batch, 1)]
        wanted = [route for number, line in enumerate(kept, 1) for route in expected(number, line)]
        site = site_of(tmp_path, "")
        file.write_bytes("\n".join(kept).encode(errors="surrogateescape"))
        site = Site(site.settings, routes.read(str(file), DOMAIN), site.ports, has_https=False)
        assert site.routes == wanted
        refused_count += len(refused)
        accepted_count += len({route.line for route in wanted})
        assert_everybody_sees(site, run, tmp_path, monkeypatch)
    print(f"{accepted_count} lines accepted, {refused_count} refused")
    assert refused_count > examples(500)
    assert accepted_count > examples(300)


def assert_everybody_sees(site: Site, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the routes of `site`, and nothing else, are in whatever else follows from them."""
    all_hosts = list(dict.fromkeys([DOMAIN, *(route.host for route in site.routes)]))
    assert site.hosts == all_hosts
    rows = [line.split() for line in urls.table(site).splitlines()]
    looked_for = {route: f"{IP if route.native else route.upstream}:{route.port}" for route in site.routes}
    assert rows[:-1] == [
        [route.service, f"http://{route.host}:8080{route.path}", looked_for[route]] for route in site.routes
    ]
    old = {"1": {"shop_default": {"old.test"}}}
    monkeypatch.setattr(compose, "names_in_networks", lambda words, found: old)
    stack = SimpleNamespace(words=[], config=compose_config(site.settings))
    given = start.new_names(stack, SimpleNamespace(id="1"), site.hosts)
    inside = {host for host in all_hosts if not host.startswith("*") and not f".{host}".endswith(".localhost")}
    assert given == ({"shop_default": {"proxy", *inside}} if inside else {})
    done = run("sh", "-euc", f"{environment.lines(environment.variables(site))}\nenv -0", cwd=folder, check=True)
    seen = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert seen["PROXY_HOSTS"].split(",") == ["host-alias", *(host.removeprefix("*") for host in all_hosts)]
    assert_nginx_sees(nginx.configuration(site), site.routes)
    assert_nginx_takes(site, run, folder)
    assert_pages_show(pages.made(site, str(LOCALDEV / "proxy/pages")), site.routes)


def assert_nginx_sees(text: str, found: list[Route]) -> None:
    """Check that nginx's configuration `text` has a server for each host and in it just the places of the routes `found`."""
    assert {line.split()[0] for line in text.splitlines() if line[0] not in " }"} <= {"map", "upstream", "server"}
    servers = {}
    # The first one is for strangers, the last one for the project's other names.
    for block in re.findall(r"^server \{\n(.*?)^\}$", text, re.M | re.S)[1:]:
        (name,) = re.findall(r"^    server_name (.+);$", block, re.M)
        places = re.findall(r"^    location ([^\n]+) \{\n(.*?)^    \}$", block, re.M | re.S)
        servers[name] = {where: dict(re.findall(r"^        set (\S+) (.+);$", body, re.M)) for where, body in places}
        assert len(servers[name]) == len(places)
    assert len(servers) == 1 + len({route.host for route in found})
    for route in found:
        name = route.host if route.host[0] != "*" else "~^[^.]+" + route.host[1:].replace(".", "[.]") + "$"
        address = f"{route.upstream}:{route.port}"
        wanted = {"$service": route.service, "$port": str(route.port), "$container": f'"{route.upstream}"'}
        wanted |= {"$container": '""'} if route.native else {"$upstream": f"http://{address}"}
        for where in ["/"] if route.path == "/" else [f"= {route.path}", f"{route.path}/"]:
            assert wanted.items() <= servers[name][where].items()
    upstreams = dict(re.findall(r"^upstream (\S+) \{\n    server (\S+);$", text, re.M))
    assert upstreams == {route.service: f"host-alias:{route.port}" for route in found if route.native}


def assert_nginx_takes(site: Site, run: Run, folder: Path) -> None:
    """Check that nginx itself takes all that its container gets, where that can be read and nobody knows host-alias."""
    live = folder / "live"
    shutil.rmtree(live, ignore_errors=True)
    for name, contents in proxy.Configuration(site, str(LOCALDEV), None).files.items():
        text = contents.decode().replace("/srv/localdev/live/", f"{live}/").replace(" /tmp/", f" {folder}/")
        (live / name).parent.mkdir(parents=True, exist_ok=True)
        (live / name).write_text(text.replace("server host-alias:", "server 127.0.0.1:"))
    (live / "resolver.conf").write_text("resolver 127.0.0.11 valid=1s;\n")
    # A shell may have 1024 files, and nginx warns that its connections are more.
    allow = ("sh", "-euc", 'ulimit -n 4096; exec "$@"', "sh")
    done = run(*allow, need_command("nginx"), "-e", "stderr", "-c", live / "check.conf", "-t", "-q", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def assert_pages_show(made: dict[str, str], found: list[Route]) -> None:
    """Check that the proxy's own pages show services and URLs as they are."""
    # What the proxy fills in when it is asked is not there yet.
    dashboard, page = (re.sub(r"<!--#.*?-->", "", made[f"dashboard.{kind}"]) for kind in ("json", "html"))
    shown = json.loads(dashboard)
    names = {route.service for route in found}
    assert {service["name"] for service in shown["services"]} == names
    addresses = {f"http://{route.host}:8080{route.path}" for route in found}
    assert {url for service in shown["services"] for url in service["urls"]} == addresses
    parser = html.parser.HTMLParser()
    seen: list[str] = []
    parser.handle_data = seen.append  # type: ignore[method-assign]
    parser.feed(page)
    assert addresses | names <= set(seen)


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


def test_the_extremes_are_seen_by_everybody(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path, EXTREMES)
    assert site.routes == [
        route for number, line in enumerate(EXTREMES.splitlines(), 1) for route in expected(number, line)
    ]
    assert_everybody_sees(site, run, tmp_path, monkeypatch)


def test_the_hosts_file_gets_the_extremes_as_they_are(repo: Render, tmp_path: Path, clean_env: dict[str, str]) -> None:
    need_box()
    box = HostsBox(repo(web_domain=DOMAIN), tmp_path, clean_env)
    (box.source / ".localdev/routes").write_text(EXTREMES)
    code, _, err = box("add", "--yes")
    assert code == 0, err
    names = " ".join(host for host in site_of(tmp_path, EXTREMES).hosts if not host.startswith("*"))
    block = f"# >>> localdev {DOMAIN}\n127.0.0.1 {names}\n# <<< localdev {DOMAIN}\n"
    assert box.text() == USUAL_HOSTS + block.encode()
    box.close()


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


def functions(folder: Path) -> Path:
    """Return a file in `folder` with the functions of host-alias, which does nothing when a shell reads it."""
    text, main, _ = (LOCALDEV / "host-alias").read_text().rpartition('find_here "$0"')
    assert main
    (folder / "functions.sh").write_text(text.replace("set -eu\n", ""))
    return folder / "functions.sh"


READ_CONF = """
. "$1"
for file in conf.*; do
	(read_conf "$file" && printf '%s' "$label|$ip") >"said.${file#conf.}" 2>"error.${file#conf.}" || echo "$?" >"code.${file#conf.}"
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
    run(*shell.split(), "-uc", READ_CONF, "sh", functions(tmp_path), cwd=tmp_path, env={"LC_ALL": "C"}, check=True)
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
        assert said.decode(errors="surrogateescape") == f"{found['label']}|{found['ip']}"
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{2,99}", found["label"])
        assert re.fullmatch(r"([1-9][0-9]{0,2}[.])([0-9]{1,3}[.]){2}[0-9]{1,3}", found["ip"])
    print(f"{accepted} of {len(texts)} accepted")
    assert len(texts) / 10 < accepted < len(texts) * 9 / 10
    assert not list(tmp_path.glob("canary"))


def test_what_stack_reads_in_a_configuration_is_what_it_says_or_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "host-alias.conf"
    accepted = 0
    # A carriage return is no end of a line for the shell.
    for text in [*some_confs(), "label=a.b\nip=10.1.1.1\n# \rip=10.6.6.6"]:
        text += "\n" + CONF.split("\n", 2)[2]
        file.write_bytes(text.encode(errors="surrogateescape"))
        lines = [line.rstrip("\r") for line in text.split("\n")]
        found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        try:
            read = settings.read(str(file))
        except settings.SettingsError as error:
            assert re.fullmatch("(:[0-9]+: |)[ -~]{10,300}", str(error).removeprefix(str(file))), error
            continue
        accepted += 1
        assert (read.label, read.ip, read.domain) == (found["label"], found["ip"], DOMAIN), text
        assert (read.web_port, read.https_port) == (8080, 8443), text
        assert read.databases == dict(word.split("=", 1) for word in found.get("databases", "").split(" ") if word)
    assert len(some_confs()) / 10 < accepted < len(some_confs())


# --- variables --------------------------------------------------------------------------------------------------------

VALUES = [value for value in NASTY if "\0" not in value and value]
VALUES += ["9" * 400, "x" * 20000, "80 80", "0", "65536", "-1", "080"]
PORTS = {"http": "LOCALDEV_HTTP_PORT", "https": "LOCALDEV_HTTPS_PORT", "redis": "REDIS_PORT"}
STACK = ("python3", "-I", "-B", ".localdev/stack")


def test_a_published_port_is_refused_in_one_line_or_printed_as_it_is(tmp_path: Path) -> None:
    answers = read_settings(tmp_path, databases="redis=redis://h:${REDIS_PORT:-6379}/0")
    for name, variable in PORTS.items():
        for value in [*VALUES, "1", "81", "65535"]:
            config = compose_config(answers, **{name: value})
            if value.isascii() and value.isdigit() and value[0] != "0" and len(value) < 6 and int(value) < 65536:
                ports = settings.published(answers, config)
                shown = environment.lines(environment.variables(Site(answers, [], ports, has_https=False)))
                assert {"http": ports.http, "https": ports.https, "redis": ports.databases["redis"]}[name] == int(value)
                assert name != "redis" or f"redis://h:{value}/0'" in shown
            else:
                with pytest.raises(settings.PortError) as caught:
                    settings.published(answers, config)
                text = rf"{variable} is [ -~]{{1,63}}, which is no port\. Give it a number [ -~]+"
                assert re.fullmatch(text, str(caught.value)), value


def test_localdev_host_is_refused_in_one_line_whatever_it_is(rendered: Render, run: Run) -> None:
    line = "host-alias: LOCALDEV_HOST can only be host-gateway. Unset it to use 10.254.254.254\n"
    for value in VALUES:
        done = run("sh", ".localdev/host-alias", "plan", cwd=rendered(), env={"LOCALDEV_HOST": value})
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_a_line_of_dotenv_is_data_and_runs_nothing(repo: Render, run: Run) -> None:
    need_compose()
    here = repo(databases="[redis]")
    before = {path.name for path in here.iterdir()}
    line = st.builds("{}={}".format, st.sampled_from(list(PORTS.values())), noise)
    for lines in generated(st.lists(st.one_of(noise, line), max_size=4), 60):
        (here / ".env").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
        for verb in ("urls", "env"):
            done = run(*STACK, verb, cwd=here, errors="replace")
            assert done.returncode in (0, 1), lines
            assert not done.returncode or done.stdout == ""
            for said in done.stderr.removesuffix("\n").split("\n") if done.returncode else []:
                assert re.fullmatch("localdev: .{10,}", said) and said.isprintable(), lines
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
    "PYTHONPATH": "evil",
    "PYTHONSTARTUP": "evil/settings.py",
    "PYTHONINSPECT": "",
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


def test_the_environment_changes_nothing_of_what_is_printed(
    repo: Render, run: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    here = Repo(repo(databases="[redis]"), tmp_path, clean_env)
    (here.here / "canary.sh").write_text("touch canary\n")
    (here.here / "evil").mkdir()
    for name in ("settings", "json", "sitecustomize"):
        (here.here / f"evil/{name}.py").write_text("open('canary', 'w')\n")
    alias = (".localdev/host-alias", "status")
    commands: list[tuple[str, ...]] = [(*STACK, "urls"), (*STACK, "env"), (*STACK, "hosts", "--", "add")]
    commands += [("make", "-s", "dev-urls"), ("dash", *alias), ("bash", *alias), ("busybox", "ash", *alias)]
    env = here.env | {"XDG_STATE_HOME": str(tmp_path)}
    for words in commands:
        need_command(words[0])
        # This shell reads the file in ENV where it is not interactive, too.
        own = {"ENV", "BASH_ENV"} if words[0] != "busybox" else set()
        changed = {name: value for name, value in HOSTILE_ENVIRONMENT.items() if name not in own}
        plain, hostile = (run(*words, cwd=here.here, env=env | more) for more in ({}, changed))
        # A temporary file has the number of the process in its name.
        said, wanted = (
            (done.returncode, done.stdout, re.sub(r"localdev[.][0-9]+", "localdev.N", done.stderr))
            for done in (hostile, plain)
        )
        assert said == wanted, words
    assert not list(here.here.rglob("canary"))


def test_words_of_make_reach_the_command_as_words_and_the_shell_runs_none(
    repo: Render, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    """ARGS is words for a shell, like all that one types: what is quoted in them stays quoted."""
    here = Repo(repo(), tmp_path, clean_env)
    here.write("docker", f'printf "%s\\n" "$@" >>{shlex.quote(str(tmp_path / "calls"))}\n')
    for value in (
        "$(touch canary)",
        "`touch canary`",
        "a;touch canary",
        "*",
        "a b",
        "\x1b[2J",
        "#x",
        "--help",
        "\u05d0",
    ):
        done = here.make("dev-logs", f"ARGS={shlex.quote(value).replace('$', '$$')}")
        assert (done.returncode, here.calls()) == (0, ["compose", "logs", "--follow", "--tail", "100", value])
    assert not list(here.here.rglob("canary"))


# --- as root ----------------------------------------------------------------------------------------------------------
# That a hostile PATH runs nothing and that the plan has only absolute paths: test_host_alias_linux.py, test_hosts.py.

# What root's commands may be called, where somebody else would put a program of that name.
COMMANDS = "awk cat chmod chown cksum head ifconfig id ip iptables launchctl ls mkdir mv nft rm sed sh sleep sudo systemctl tail xargs"
EVIL = '#!/bin/sh\n[ "$(/usr/bin/id -u)" -ne 0 ] || /bin/touch /mnt/canary\nexit 1\n'
TRACED = "trace=execve,/open,/^link,/rename,/symlink,/unlink,/chmod,/mkdir,/^v?fork,/^clone"


@pytest.fixture(params=["host-alias", "hosts"])
def box(
    request: pytest.FixtureRequest, repo: Render, tmp_path: Path, clean_env: dict[str, str]
) -> Iterator[tuple[Box, tuple[str, ...], list[str]]]:
    """A box with a sudo, the words that make a script become root in it, and the files that come into being."""
    need_box(firewall=request.param == "host-alias")
    if request.param == "host-alias":
        made = Box(repo(), tmp_path, clean_env)
        # Without the unit's own process, for which strace would wait.
        made.fake_systemd(SYSTEMCTL.replace("sh /run/systemd/main.sh", 'tee "$(directory "$1")/alone"'))
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
    trace = (*f"strace -f -qq -s 4096 -e signal=none -e {TRACED} -u nobody -o".split(), tmp_path / "trace")
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
for name in host-alias host-alias.conf host-alias.service host-alias.plist routes alias/*.sh stack/*.py; do
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
