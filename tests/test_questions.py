"""The questions of copier.yml: what is accepted, what is refused and with which words, before anything is written."""

import itertools
import re
from pathlib import Path
from typing import Any

import copier as copier_api
import pytest
import yaml

from conftest import GOOD, PROJECT
from questionnaire import Copier

# Question, a word of the message, values that get it. Every message says what to type instead.
BAD = [
    ("project_slug", "Type", ["My-App", "my_app", "-a", "a-", "", "a" * 41, "my app", "é", "a.b", "a\n", "$(id)", "a%i"]),
    ("alias_ip", "Type four", [
        *("", "localhost", "10.254.254", "10.254.254.254.1", "10.254.254.256", "10.254.254.254/32", "010.254.254.254"),
        *("10.254.254.254 ", " 10.254.254.254", "10.254.254.254\n", "１０.254.254.254", "10.254.254.٢٥٤", "1e1.2.3.4"),
        *("0x0a.1.2.3", "$(id)", "10.254.254.-1", "::1"),
    ]),
    ("alias_ip", "cannot", ["0.1.2.3", "127.0.0.1", "224.1.1.1", "255.255.255.255", "240.0.0.1", "10.1.2.0", "10.1.2.255"]),
    ("alias_ip", "VPNs", ["172.16.0.1", "172.31.1.1", "192.168.1.2", "100.64.0.1", "100.127.1.1", "198.18.0.1"]),
    ("alias_ip", "reserved", [f"169.254.{end}" for end in ("169.254", "170.2", "0.1", "255.1", "1.1", "73.152", "1.2", "171.9")]),
    ("alias_ip", "Container", [f"10.{end}" for end in ("0.2.2", "42.0.1", "88.0.1", "96.0.1", "111.1.1", "244.1.1", "255.255.254")]),
    ("alias_ip", "public", ["8.8.8.8", "11.1.1.1", "172.15.0.1", "192.0.0.8", "193.1.2.3"]),
    ("alias_label", "reverse", [
        *("", "nodots", "a..b", ".a.b", "a.b.", "-a.b", "a.-b", "a.b-", "9a.b", "a b.c", "a/b.c", "../x.y", "a.b\n", "a.b;id"),
        *("a.$(id)", "a.b%n", "a.&b", "a.<b>", "é.b", "a.b\u200b", "a." + "b" * 99),
    ]),
    ("alias_label", "Apple", ["com.apple.x", "COM.Apple.host-alias"]),
    ("alias_label", "another address", ["local.host-alias.10.254.254.253", "local.host-alias.10.254.254.25"]),
    ("native_services", "pairs", [
        *("web", "web:", ":3000", "web:0", "web:65536", "web:03000", "Web:3000", "web=3000", "web:3000,api:1", "web:３０００"),
        *("web:3000\napi:1", "web:3000\tx:1", "a_b:1", "web:3000;", "9a:1", "w" * 32 + ":1", "web-:3000"),
    ]),
    ("native_services", "once", ["web:1 web:2"]),
    ("web_domain", "domain", [
        *("", "localhost", "Shop.test", "shop.test.", ".test", "a..b", "-a.test", "a-.test", "a_b.c", "shop.test\n"),
        *("shop.test:80", "http://shop.test", "*.test", "é.test", "{{ 7 * 7 }}.test", "x." + "y" * 64, "x." * 96 + "y"),
    ]),
    ("web_domain", "slow", ["shop.local"]),
    ("web_domain", "name, not", ["127.0.0.1", "a.1", "shop.0x1f", "shop.0x"]),
    ("web_port", "1 to 65535", ["0", "65536", "-1"]),
    ("web_proxy", "choice", ["apache"]),
    ("databases", "choice", ["[oracle]"]),
]  # fmt: skip


def typed(name: str, value: str) -> Any:
    """Return `value` as the command line's -d makes it."""
    return yaml.safe_load(value) if name in ("web_port", "databases") else value


def generate(plain_template: Path, destination: Path, answers: dict[str, str]) -> dict[str, Any]:
    """Copy the template with answers given as on the command line, without starting a process; return what is recorded."""
    data = {name: typed(name, value) for name, value in answers.items()}
    copier_api.run_copy(
        str(plain_template), destination, data=data, defaults=True, unsafe=True, quiet=True, skip_tasks=True
    )
    return yaml.safe_load((destination / ".copier-answers.localdev.yml").read_text())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Copier:
    return Copier(tmp_path_factory.mktemp("copier"))


def test_good_answers_are_accepted_and_recorded(here: Copier) -> None:
    for values in itertools.zip_longest(*GOOD.values()):
        answers = {name: typed(name, value) for name, value in zip(GOOD, values, strict=True) if value is not None}
        if answers.get("web_proxy") == "none":  # then these are not asked for
            answers = {name: value for name, value in answers.items() if name not in ("web_domain", "web_port")}
        here.ask(**answers)
        recorded = here.files()["template/{{ _copier_conf.answers_file }}.jinja"]
        assert {name: recorded[name] for name in answers} == answers


def test_bad_answers_are_refused_with_what_to_type_before_anything_is_written(
    here: Copier, plain_template: Path, tmp_path: Path
) -> None:
    written = set()
    for name, word, values in BAD:
        for value in values:
            with pytest.raises(ValueError, match=word) as refusal:
                here.ask(**{name: typed(name, value)})
            if word != "choice":
                message = str(refusal.value).removeprefix(f"Validation error for question '{name}': ")
                assert len(message) < 80 and "\n" not in message, message
                assert re.search(r"\bType ", message), f"it does not say what to type: {message}"
        if name not in written:
            written.add(name)
            with pytest.raises(ValueError, match=word):
                generate(plain_template, tmp_path / "app", {name: values[0]})
            assert not (tmp_path / "app").exists(), f"something was written for {name}={values[0]!r}"


def test_the_slug_comes_from_the_folder_and_passes_its_own_validator(plain_template: Path, tmp_path: Path) -> None:
    slugs = {"my-app": "my-app", "My App's Repo!": "my-app-s-repo", "__x__": "x", "ünïcode": "n-code", "日本": "app"}
    slugs |= {"a" * 39 + "-b": "a" * 39, "---": "app", "9 lives": "9-lives"}
    for folder, slug in slugs.items():
        assert generate(plain_template, tmp_path / folder, {})["project_slug"] == slug


def test_an_address_that_does_not_work_everywhere_is_warned_about(
    plain_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vpn = "VPNs often use this range: the alias hides whoever has {ip} there"
    for ip, warning in (
        ("169.254.254.254", "Colima, Lima, Podman machine and OrbStack do not reach {ip}"),
        *((ip, vpn) for ip in ("10.8.0.2", "10.80.1.1")),
        *((ip, None) for ip in ("10.254.254.254", "10.28.0.5", "10.2.1.1", "10.128.0.2", "203.0.113.8")),
    ):
        data = {"alias_ip": ip}
        copier_api.run_copy(str(plain_template), tmp_path / ip, data=data, defaults=True, unsafe=True, skip_tasks=True)
        said = re.findall("^Warning: (.*)$", capsys.readouterr().err, re.M)
        assert said == ([warning.format(ip=ip)] if warning else []), ip
        assert "alias_warning" not in (tmp_path / ip / ".copier-answers.localdev.yml").read_text()


def test_the_end_sums_up_what_there_is_and_what_needs_root(
    plain_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (answers, stack) in enumerate(
        (
            ({}, "nginx at http://app.localhost:8080"),
            (
                {"web_port": "80", "databases": "[postgres, redis]", "web_domain": "shop.test"},
                "nginx at http://shop.test, postgres, redis",
            ),
            ({"web_proxy": "none", "databases": "[mysql]"}, "mysql"),
            ({"web_proxy": "none"}, "no containers yet"),
        )
    ):
        app = tmp_path / str(number) / "app"
        data = {name: typed(name, value) for name, value in answers.items()}
        copier_api.run_copy(str(plain_template), app, data=data, defaults=True, unsafe=True, skip_tasks=True)
        assert [line.split(maxsplit=1) for line in capsys.readouterr().err.splitlines() if line][-4:] == [
            ["Stack:", stack],
            ["Root:", "only for 10.254.254.254 and its job at boot: sh .localdev/host-alias plan"],
            ["Next:", f"cd {app} && make dev-up"],
            ["Later:", "make dev-update (copier update --trust -a .copier-answers.localdev.yml)"],
        ]


def test_what_is_asked_and_said_fits_in_a_terminal_of_80_columns() -> None:
    config = yaml.safe_load((PROJECT / "copier.yml").read_text())
    said = {name: text for name, text in config.items() if name.startswith("_message")}
    said |= {name: question["help"] for name, question in config.items() if "help" in question}
    assert len(said) == 13
    # Copier's mark stands before a question's first line; prompt_toolkit cuts what is longer.
    wide = [(name, line) for name, text in said.items() for line in text.splitlines() if len(line) > 80 - 3]
    assert not [(name, line) for name, line in wide if "{" not in line]


def test_every_question_has_help_with_consequence_and_every_setting_a_reason() -> None:
    text = (PROJECT / "copier.yml").read_text()
    config = yaml.safe_load(text)
    for name, question in config.items():
        if name.startswith("_") or question.get("when") is False:  # never asked
            continue
        first, blank, *rest = question["help"].splitlines()
        assert first.endswith("?"), name
        assert blank == "", name
        assert rest, name
        assert "default" in question, f"{name}: an update would ask for it"
        if question["type"] == "str" and "choices" not in question:
            assert "\\\\Z" in question["validator"], f"{name} is free text"
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"_(?!migrations|message_after_copy)[a-z_]+:", line):
            assert lines[number - 1].startswith("#"), f"line {number + 1} has no reason beside it: {line}"
    assert {f"_message_{when}_{what}" for when in ("before", "after") for what in ("copy", "update")} <= set(config)


def test_https_gets_a_port_of_its_own_that_follows_the_first(here: Copier) -> None:
    for web_port, https_port in ((80, 443), (8080, 8443), (65172, 65535), (65535, 65172)):
        here.ask(web_port=web_port)
        assert f"https_port={https_port}" in here.files()["template/.localdev/host-alias.conf.jinja"]
